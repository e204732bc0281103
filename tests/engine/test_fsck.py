"""The check of all keys finds what disagrees with the jobs' records, and mends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keyspace
import pytest
from driving import States, run_all, state_of

from tasks.engine import JobHuey, State
from tasks.engine.operating.checking import ROUND_EACH_MS, STEP_EACH_MS, Check


class Drift:
    """An instance with a job in every state, and ways to spoil it."""

    def __init__(self, huey: JobHuey) -> None:
        self.huey, self.states = huey, States(huey)
        self.call, self.keys = huey.storage.client.execute_command, huey.storage.keys
        self.once = huey.task(name="once", unique="{n}", index=("n",))(lambda n: n)
        self.ids = {state: self.states.make(state) for state in State if state is not State.ACTIVE}
        self.ids[State.ACTIVE] = self.states.make(State.ACTIVE)
        huey.lease._stop.set()  # no beat mends meanwhile
        self.unique = self.once.schedule((1,), delay=3600).id
        spec = {
            "id": "child",
            "q": "default",
            "t": "once",
            "p": 0,
            "m": 1,
            "by": "parent",
            "due": 2**42,
        }
        huey.storage.add([(spec, huey.serialize_task(self.once.s(2)))])

    def state_key(self, state: State) -> str:
        return self.keys.of("state", f"default:{state.value}")

    def index_key(self) -> str:
        return next(
            k.decode() for k in self.huey.storage.client.scan_iter(self.keys.of("index", "*"))
        )

    def unique_key(self) -> str:
        return next(
            k.decode() for k in self.huey.storage.client.scan_iter(self.keys.of("unique", "*"))
        )


@pytest.fixture
def drift(huey: JobHuey) -> Drift:
    return Drift(huey)


S = State
SPOILT: dict[str, Callable[[Drift], Any]] = {
    "a job that its state's set does not name":
        lambda d: [d.call("ZREM", d.state_key(s), d.ids[s]) for s in (S.FAILED, S.WAITING)],
    "a set that names a job in another state":
        lambda d: d.call("ZADD", d.state_key(S.COMPLETED), 1, d.ids[S.WAITING]),
    "a set that names a job that is gone":
        lambda d: [d.call("ZADD", key, 1, "nobody") for key in
                   (d.state_key(S.FAILED), d.keys.of("waiting", "default"), d.keys.one("due"),
                    d.keys.of("children", "parent"))],
    "a waiting job that no worker would find":
        lambda d: d.call("ZREM", d.keys.of("waiting", "default"), d.ids[S.WAITING]),
    "a scheduled job that would never come due":
        lambda d: [d.call("ZREM", d.keys.one("due"), d.ids[s]) for s in (S.SCHEDULED, S.RETRYING)],
    "an active job that no process holds":
        lambda d: d.call("DEL", d.keys.of("held", d.huey.lease.proc)),
    "a process that holds what is not its own":
        lambda d: d.call("HSET", d.keys.of("held", d.huey.lease.proc), d.ids[S.WAITING], "1-x"),
    "a process without a lease that holds jobs":
        lambda d: d.call("ZREM", d.keys.one("procs"), d.huey.lease.proc),
    "a job that its index does not name":
        lambda d: [d.call("ZREM", d.index_key(), d.unique),
                   d.call("ZREM", d.keys.of("children", "parent"), "child")],
    "a job without its unique key": lambda d: d.call("DEL", d.unique_key()),
    "a unique key held by no live job": lambda d: d.call("SET", d.keys.of("unique", "f" * 16), "nobody"),
    "envelope without a job": lambda d: d.call("SET", d.keys.of("envelope", "nobody"), "{}"),
    "attempts without a job": lambda d: d.call("RPUSH", d.keys.of("attempts", "nobody"), "lost"),
    "a live job whose envelope is gone":
        lambda d: d.call("DEL", d.keys.of("envelope", d.ids[S.WAITING])),
    "a job that is live and final":
        lambda d: d.call("COPY", d.keys.of("final", d.ids[S.COMPLETED]), d.keys.of("final", d.ids[S.WAITING])),
    "a job that lacks its queue, task or state":
        lambda d: d.call("HSET", d.keys.of("job", "nobody"), "n", "1"),
}  # fmt: skip


def test_nothing_is_wrong_with_a_healthy_instance(drift: Drift) -> None:
    assert drift.huey.commands.fsck() == {}
    assert keyspace.faults(keyspace.read(drift.huey)) == []


@pytest.mark.parametrize("what", SPOILT)
def test_drift_is_found_and_mended(drift: Drift, what: str) -> None:
    SPOILT[what](drift)
    spoilt = keyspace.read(drift.huey)
    assert what in drift.huey.commands.fsck(mend=False)
    assert keyspace.read(drift.huey).kinds == spoilt.kinds
    assert what in drift.huey.commands.fsck()
    assert drift.huey.commands.fsck() == {}
    assert keyspace.faults(keyspace.read(drift.huey)) == []


def test_what_was_found_is_kept_for_reading(drift: Drift) -> None:
    assert drift.huey.reads.fsck().last == []
    drift.call("ZREM", drift.keys.of("waiting", "default"), drift.ids[State.WAITING])
    drift.huey.commands.fsck()
    ((_, what, name),) = drift.huey.reads.fsck().last
    assert (what, name) == ("a waiting job that no worker would find", drift.ids[State.WAITING])


def test_a_job_that_was_lost_from_its_queue_runs(drift: Drift) -> None:
    drift.call("DEL", drift.keys.of("waiting", "default"))
    drift.huey.commands.fsck()
    assert run_all(drift.huey) == [drift.ids[State.WAITING]]
    assert state_of(drift.huey, drift.ids[State.WAITING]) is State.COMPLETED


def test_the_walk_goes_on_step_by_step_and_then_rests(huey: JobHuey) -> None:
    task = huey.task(name="many", index=("n",))(lambda n: n)
    huey.enqueue_many([task.s(n % 7) for n in range(900)])
    gone = [job_id.decode() for job_id in huey.storage.client.zrange(huey.storage.keys.of("waiting", "default"), 0, 3)]  # fmt: skip
    huey.storage.client.zrem(huey.storage.keys.of("waiting", "default"), *gone)
    check, now, steps = Check(huey.storage), huey.reads.now_ms(), 0
    while huey.reads.fsck().finished_at is None:
        assert check.step(now)
        assert not check.step(now + STEP_EACH_MS - 1)
        now, steps = now + STEP_EACH_MS, steps + 1
    assert steps > 5
    found = huey.reads.fsck()
    assert {name for _, _, name in found.last} == set(gone)
    assert found.checked > 900 * 4
    assert not check.step(now + STEP_EACH_MS)
    assert check.step(now + ROUND_EACH_MS)
    assert check.step(now - 2 * ROUND_EACH_MS), "the server's clock went back"
