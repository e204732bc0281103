"""A lock ends with the process that holds it and with nobody else; limits go by Redis's clock."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from consumers import Consumers
from driving import run_all, state_of
from huey.exceptions import RateLimitExceeded, TaskLockedException
from waiting import wait_until

from tasks.engine import JobHuey, State

AGE_S = 10**9  # a window of a rate that ends in 2033, so within no test


@pytest.fixture
def other(huey: JobHuey, make_huey: Callable[..., JobHuey]) -> JobHuey:
    """Return another process's view of the same jobs, with a lease of its own."""
    found = make_huey(huey.name)
    found.lease.start()
    return found


def test_a_lock_is_held_once_and_freed_at_the_end(huey: JobHuey, other: JobHuey) -> None:
    with huey.lock_task("disk"):
        assert other.is_locked("disk")
        with pytest.raises(TaskLockedException), other.lock_task("disk"):
            raise AssertionError("both hold it")
    assert not other.is_locked("disk")
    with other.lock_task("disk"):
        assert huey.is_locked("disk")


def test_a_workers_lock_lasts_as_long_as_its_lease_and_no_longer(
    huey: JobHuey, make_huey: Callable[..., JobHuey]
) -> None:
    other = make_huey(huey.name)
    other.lease.start()
    lock = other.lock_task("disk")
    lock.acquire()
    for _ in range(3):
        other.lease.beat()
        assert huey.is_locked("disk")
    other.lease._stop.set()  # it dies: no beat, no goodbye
    assert huey.is_locked("disk")
    other.lease.lease_s = 0.3
    other.lease.beat()  # its last one
    wait_until(lambda: not huey.is_locked("disk"), what="its lease is over")
    with huey.lock_task("disk"):
        lock.release()  # a late one frees nothing that is not its own
        assert huey.is_locked("disk")


def test_a_goodbye_frees_what_was_held(huey: JobHuey, other: JobHuey) -> None:
    other.lock_task("disk").acquire()
    other.lease.close()
    assert not huey.is_locked("disk")


def test_a_process_without_a_lease_renews_its_lock_itself(
    huey: JobHuey, make_huey: Callable[..., JobHuey]
) -> None:
    web = make_huey(huey.name, lease_s=30.0, beat_s=0.05)
    lock = web.lock_task("disk")
    lock.acquire()
    key = huey.storage.keys.of("value", lock._key)
    for _ in range(3):
        huey.storage.call("PEXPIRE", key, 10_000)
        wait_until(lambda: huey.storage.call("PTTL", key) > 10_000, "it is renewed")
    assert huey.is_locked("disk")
    lock._mine.keeper.set()  # it dies
    assert 0 < huey.storage.call("PTTL", key) <= 30_000, "it ends by itself"
    assert web.reads.snapshot().workers_live == 0


def test_a_time_to_live_ends_it_in_any_case(huey: JobHuey, other: JobHuey) -> None:
    other.lock_task("long", ttl=600).acquire()
    assert huey.is_locked("long")
    other.lock_task("disk", ttl=0.1).acquire()
    wait_until(lambda: not huey.is_locked("disk"), what="its time is over")


def test_two_threads_that_share_a_lock_object_do_not_free_each_others(huey: JobHuey) -> None:
    lock = huey.lock_task("disk")
    lock.acquire()
    refused: list[bool] = []

    def try_it() -> None:
        try:
            with lock:
                refused.append(False)
        except TaskLockedException:
            refused.append(True)

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    assert refused == [True]
    assert lock.is_locked()
    lock.release()
    assert not lock.is_locked()


def test_clear_frees_it_whoever_holds_it(huey: JobHuey, other: JobHuey) -> None:
    other.lock_task("disk").acquire()
    assert huey.lock_task("disk").clear()
    assert not huey.is_locked("disk")


@pytest.mark.slow(reason="a process lives longer than its lease, and dies")
def test_a_killed_workers_lock_is_free_after_its_lease(
    consumers: Consumers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(consumers.env, "APP_LEASE", "2")
    process = consumers.start("-w", "1")
    job_id = consumers.app.locked("gate").id
    wait_until(lambda: consumers.huey.is_locked("door"), "it has the lock")
    consumers.beats(12)  # longer than a lease: it lives, so nobody else has it
    assert consumers.huey.is_locked("door")
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not consumers.huey.is_locked("door"), "the lock is free")
    consumers.app.open_gate("gate")
    consumers.start("-w", "1")
    consumers.reach({State.COMPLETED: 1})
    assert consumers.huey.reads.job(job_id).recovered == 1
    assert not consumers.huey.is_locked("door")


def test_a_limit_lets_so_many_start_in_a_window_of_redis(huey: JobHuey, other: JobHuey) -> None:
    limits = [one.rate_limit("api", limit=3, per=AGE_S) for one in (huey, other)]
    for n in range(3):
        limits[n % 2].acquire()
    with pytest.raises(RateLimitExceeded) as refused:
        limits[1].acquire()
    assert 0 < refused.value.delay <= AGE_S
    assert limits[0].current_usage() == 3
    limits[0].reset()
    limits[1].acquire()


def test_a_new_window_begins_anew_and_a_refused_start_is_not_counted(huey: JobHuey) -> None:
    limit = huey.rate_limit("api", limit=1, per=0.2)

    def once() -> bool:
        try:
            limit.acquire()
        except RateLimitExceeded:
            return False
        return True

    allowed: Counter[int] = Counter()

    def three() -> bool:
        window = huey.reads.now_ms() // 200
        took = once()
        if took and huey.reads.now_ms() // 200 == window:
            allowed[window] += 1
        return len(allowed) >= 3

    wait_until(three, what="three windows")
    assert set(allowed.values()) == {1}


def test_a_limited_job_waits_for_the_next_window_and_burns_no_attempt(huey: JobHuey) -> None:
    @huey.task()
    @huey.rate_limit("api", limit=1, per=AGE_S)
    def call() -> None:
        """Nothing."""

    first, second = call().id, call().id
    run_all(huey)
    states: dict[str, Any] = {job_id: state_of(huey, job_id) for job_id in (first, second)}
    assert states[first] is State.COMPLETED
    assert states[second] in (State.SCHEDULED, State.RETRYING)
    assert huey.reads.job(second).scheduled_for is not None
