"""How queues stand: what did not change is kept, what time changes is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from driving import run_all

from tasks.engine import JobHuey, Queue, State
from tasks.engine.figures.measuring import Rate
from tasks.engine.figures.metrics import Figures
from tasks.engine.instance import Breaker, Pause, QueueStats
from tasks.engine.reading.standing import Standing
from tasks.engine.rows import EPOCH

AT = EPOCH + timedelta(days=20_000)
SECOND = timedelta(seconds=1)


def us(at: datetime) -> bytes:
    """Return an instant as snapshot.lua answers it."""
    return str((at - EPOCH) // timedelta(microseconds=1)).encode()


def row(waiting: int, *options: bytes) -> list[object]:
    """Return a queue's row with so many jobs that wait since AT."""
    return [[0, waiting, 0, 0, 7, 0, 0], us(AT) if waiting else b"", list(options), b"email"]


def test_time_goes_on_over_a_queue_in_which_nothing_changed() -> None:
    standing, rate = Standing({}), Rate(Figures(at=AT, span_s=60), Figures(at=AT, span_s=60, ready=9), 1)  # fmt: skip
    options = (b"pa", str(AT.timestamp() * 1000).encode(), b"pu", str((AT + 30 * SECOND).timestamp() * 1000).encode())  # fmt: skip
    first = standing.of("email", row(3, *options), AT + 10 * SECOND, rate)
    assert (first.counts[State.WAITING], first.oldest_waiting_s, first.paused) == (3, 10.0, True)
    assert first.forecast == "growing 9 a minute"
    then = standing.of("email", row(3, *options), AT + 40 * SECOND, rate)
    assert (then.oldest_waiting_s, then.paused) == (40.0, False)
    assert then.counts is first.counts


def test_an_idle_queue_is_the_same_until_something_changes() -> None:
    standing = Standing({})
    idle = standing.of("email", row(0), AT, None)
    assert standing.of("email", row(0), AT + SECOND, None) is idle
    busy = standing.of("email", row(2), AT + SECOND, None)
    assert (busy.oldest_waiting_s, standing.of("email", row(2), AT + 2 * SECOND, None).oldest_waiting_s) == (1.0, 2.0)  # fmt: skip
    assert standing.of("email", row(0), AT + 3 * SECOND, None) == idle


def test_what_changed_of_a_queue_is_read_anew() -> None:
    declared = {"email": Queue("email", concurrency=4)}
    standing = Standing(declared)
    assert standing.of("email", row(3), AT, None).concurrency == 4
    assert standing.of("email", row(0), AT, None).counts[State.WAITING] == 0
    assert standing.of("email", row(0, b"lc", b"2"), AT, None).live == ("concurrency",)
    busy = Rate(Figures(at=AT, span_s=60, completed=5), Figures(at=AT, span_s=60), 1)
    assert standing.of("email", row(0), AT, busy).per_minute["completed"] == 5
    declared["email"] = Queue("email", concurrency=6)
    assert standing.of("email", row(0), AT, busy).concurrency == 6


def test_queues_stand_declared_first_and_then_by_name(huey: JobHuey) -> None:
    huey.storage.call("SADD", huey.storage.keys.one("queues"), "zeta", "alpha", *huey.declared)
    names = [queue.name for queue in huey.reads.snapshot().queues]
    assert names == [*huey.declared, "alpha", "zeta"] == huey.reads.names()


def test_minutes_of_some_queues_are_those_of_all(huey: JobHuey) -> None:
    at = huey.reads.now_ms()
    key = huey.storage.keys.of("minute", str(at // 60_000))
    huey.storage.call("HSET", key, "email|send|c3", 2, "default|send|f3", 1)
    some = huey.reads.minutes_by_queue(5, ["email"], at)
    everything = huey.reads.minutes_by_queue(5, now_ms=at)
    assert set(some) == {"", "email"}
    assert all(some[name] == everything[name] for name in some)
    assert (some["email"][-1].completed, some[""][-1].failed) == (2, 1)


@pytest.mark.parametrize(
    ("changed", "held"),
    [({}, True), ({"out": 0.0, "per_minute": {"completed": 250, "failed": 40}}, True), ({"out": 200.0}, False),
     ({"rate_left": 5.0}, True), ({"rate": "60/h", "out": 0.0, "rate_left": 1.5}, False), ({"rate": "60/h", "out": 0.0, "rate_left": 0.5}, True),
     ({"rate": None}, False), ({"rate": "1/h", "out": 0.0}, True), ({"counts": dict.fromkeys(State, 0)}, False),
     ({"counts": dict.fromkeys(State, 4)}, False), ({"pause": Pause(at=AT)}, False), ({"breaker": Breaker()}, False)],
)  # fmt: skip
def test_a_rate_holds_a_queue_that_starts_what_it_lets(changed: dict[str, Any], held: bool) -> None:
    counts = dict.fromkeys(State, 3)
    queue = QueueStats(name="email", counts=counts, rate="5/s", out=290.0, concurrency=4)
    assert replace(queue, **changed).rate_holds is held


def test_a_rate_that_lets_more_start_holds_nothing(huey: JobHuey) -> None:
    task = huey.task(name="one")(lambda: None)
    huey.commands.set_limits("default", rate="2/h")
    for _ in range(3):
        task()
    assert not huey.reads.queue("default").rate_holds, "two may start: they wait for a worker"
    assert len(run_all(huey)) == 2
    assert huey.reads.queue("default").rate_holds
