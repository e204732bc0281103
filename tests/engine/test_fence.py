"""What an old owner says changes nothing; and every owner that is gone is found."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import keyspace
import pytest
import redis
from driving import state_of
from machine import plan
from waiting import wait_until

from tasks.engine import JobHuey, State
from tasks.engine.running.outcome import Outcome

Make = Callable[..., JobHuey]
EACH_MS = 4000  # from one sweep to the next; a longer silence would begin with a pause


@pytest.fixture
def work(huey: JobHuey) -> Any:
    return huey.task(name="work", retries=2)(lambda: "done")


def _later(huey: JobHuey, ms: int, died: tuple[str, ...] = ()) -> None:
    """Sweep as if it were `ms` later."""
    real = huey.storage.scripts.run

    def run(name: str, *args: Any) -> Any:
        return real(name, int(time.time() * 1000) + ms if name == "recover" else args[0], *args[1:])

    huey.storage.scripts.run = run  # type: ignore[method-assign]
    try:
        huey.lease.sweep(dict.fromkeys(died, "killed"))
    finally:
        huey.storage.scripts.run = real  # type: ignore[method-assign]


def test_a_late_commit_of_a_slot_leaves_the_newer_lease_of_its_own_process_alone(
    huey: JobHuey, make_huey: Make, work: Any
) -> None:
    other = make_huey(huey.name)
    job_id = work().id
    old = huey.dequeue().handed
    other.lease.sweep({huey.lease.proc: "killed"})
    huey.lease.beat()
    assert huey.dequeue().id == job_id
    spec, blobs = Outcome(old, to="completed", kind="completed", result=b"1").spec(0)
    assert huey.storage.finish_and_fetch([spec], blobs, None).statuses == ["gone"]
    assert keyspace.faults(keyspace.read(huey)) == []
    other.lease.sweep({huey.lease.proc: "killed"})
    assert (state_of(huey, job_id), huey.reads.job(job_id).recovered) == (State.WAITING, 2)


def test_a_process_that_takes_a_job_before_it_beats_again_is_found_when_it_dies(
    huey: JobHuey, make_huey: Make, work: Any
) -> None:
    other = make_huey(huey.name)
    job_id = work().id
    huey.lease.close()
    assert huey.storage.finish_and_fetch([], [], plan(1)).jobs[0].id == job_id
    for ms in range(0, 80_000, EACH_MS):
        _later(other, ms)
    assert (state_of(huey, job_id), huey.reads.job(job_id).recovered) == (State.WAITING, 1)
    assert [worker.state for worker in huey.reads.workers()] == []


def test_a_token_is_not_given_twice_also_after_a_failover_that_lost_the_last_writes(
    huey: JobHuey, make_huey: Make, work: Any
) -> None:
    other = make_huey(huey.name)
    work()
    saved = {key: huey.storage.client.dump(key) for key in huey.storage.client.scan_iter(huey.storage.keys.prefix + "*")}  # fmt: skip
    first = huey.storage.finish_and_fetch([], [], plan(1)).jobs[0]
    huey.storage.flush_all()
    for key, data in saved.items():
        huey.storage.client.restore(key, 0, data)
    second = other.storage.finish_and_fetch([], [], plan(1)).jobs[0]
    assert first.id == second.id
    assert first.token != second.token
    spec, blobs = Outcome(first, to="completed", kind="completed").spec(0)
    assert huey.storage.finish_and_fetch([spec], blobs, None).statuses == ["gone"]
    assert state_of(huey, first.id) is State.ACTIVE


def test_the_dead_are_found_after_the_servers_clock_stepped_back_an_hour(
    huey: JobHuey, make_huey: Make, work: Any
) -> None:
    other = make_huey(huey.name)
    job_id = work().id
    hour = int(time.time() * 1000) + 3_600_000
    ask = {
        "proc": huey.lease.proc,
        "ttl_ms": 1000,
        "running": {},
        "unsure_ms": 10**9,
        "expected_ms": 0,
        "late_ms": 0,
        "info": {},
    }
    assert huey.storage.finish_and_fetch([], [], plan(1)).jobs
    huey.storage.scripts.run("beat", hour, json.dumps(ask))  # its last one, before the step
    _later(other, 3_600_000)
    for ms in range(0, 80_000, EACH_MS):
        _later(other, ms)
    assert (state_of(huey, job_id), huey.reads.job(job_id).recovered) == (State.WAITING, 1)


def test_nobody_is_taken_for_dead_when_the_servers_clock_steps_forward_an_hour(
    huey: JobHuey, make_huey: Make, work: Any
) -> None:
    other, hour_ms = make_huey(huey.name), 3_600_000
    job_id = work().id
    token = huey.dequeue().handed.token
    ask = {"proc": huey.lease.proc, "ttl_ms": 10_000, "running": {job_id: token}, "begun": {}, "unsure_ms": 10**9, "expected_ms": 0, "late_ms": 0, "info": {}}  # fmt: skip
    _later(other, 0)
    for ms in range(hour_ms, hour_ms + 60_000, EACH_MS):
        _later(other, ms)
        _later(other, ms + 1000)  # two look before it beats
        huey.storage.scripts.run("beat", int(time.time() * 1000) + ms, json.dumps(ask))
    assert (state_of(huey, job_id), huey.reads.job(job_id).recovered) == (State.ACTIVE, 0)


def test_a_child_that_dies_in_the_hold_after_an_outage_takes_no_live_process_with_it(
    huey: JobHuey, make_huey: Make, work: Any
) -> None:
    other, third = make_huey(huey.name), make_huey(huey.name)
    ids = [work().id, work().id]
    assert huey.dequeue().id == ids[0]
    huey.lease.close = lambda: None  # type: ignore[method-assign]
    huey.lease._stop.set()
    third.lease.start()
    assert third.storage.finish_and_fetch([], [], plan(1)).jobs[0].id == ids[1]
    for ms in range(0, 33_000, EACH_MS):
        _later(other, ms)  # seen expired once, at the end
    suspects = huey.storage.call("ZRANGE", huey.storage.keys.one("suspects"), 0, -1)
    assert huey.lease.proc.encode() in suspects
    _later(other, 60_000, died=(third.lease.proc,))  # after an outage: nobody could beat
    assert state_of(huey, ids[1]) is State.WAITING
    assert state_of(huey, ids[0]) is State.ACTIVE


def test_a_chord_whose_member_fails_is_not_kept_for_ever(huey: JobHuey, work: Any) -> None:
    from huey import chord

    bad = huey.task(name="bad")(lambda: 1 / 0)
    end = huey.task(name="end")(lambda results: results)
    huey.enqueue(chord([work.s(), bad.s()], end.s()))
    for _ in range(2):
        huey.execute(huey.dequeue())
    space = keyspace.read(huey)
    assert [space.ttl["chord", name] > 0 for name in space.all("chord")] == [True]


def test_what_a_failing_call_took_is_held_and_comes_back(huey: JobHuey, work: Any) -> None:
    huey.lease.start()
    whole, broken = work().id, work().id
    huey.storage.client.set(huey.storage.keys.of("job", broken), "no hash")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        huey.storage.finish_and_fetch([], [], plan(2))
    held = huey.storage.client_hgetall(huey.storage.keys.of("held", huey.lease.proc))
    assert list(held) == [whole.encode()]
    assert state_of(huey, whole) is State.ACTIVE
    wait_until(lambda: _back_after_a_beat(huey, whole), what="a beat gives it back")


def _back_after_a_beat(huey: JobHuey, job_id: str) -> bool:
    huey.lease.beat()
    return state_of(huey, job_id) is State.WAITING


def test_what_a_failing_commit_kept_back_stays_held(
    huey: JobHuey, make_huey: Make, work: Any
) -> None:
    other = make_huey(huey.name)
    ids = [work().id, work().id]
    jobs = huey.storage.finish_and_fetch([], [], plan(2)).jobs
    huey.storage.client.set(huey.storage.keys.of("job", ids[0]), "no hash")
    specs = [Outcome(job, to="completed", kind="completed").spec(0)[0] for job in jobs]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        huey.storage.finish_and_fetch(specs, [], None)
    huey.storage.client.delete(huey.storage.keys.of("job", ids[0]))
    other.lease.sweep({huey.lease.proc: "killed"})
    assert state_of(huey, ids[1]) is State.WAITING
