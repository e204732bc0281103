"""The next call goes out when an answer has come and before it is read: Redis is never idle."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from slots import add, know_functions, work
from waiting import wait_until

from tasks.engine import JobHuey
from tasks.engine.errors import Unreachable
from tasks.engine.running.talking import Call

HELD = 64


@pytest.fixture(autouse=True)
def alone(no_runner: None, held_long: None, slot: JobHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one slot do all of it, its tasks as quick as they are known to be."""
    monkeypatch.setattr(slot.dispatch.pace, "note", lambda *_: None)
    know_functions(slot)


def count(slot: JobHuey, state: str) -> int:
    return int(slot.storage.call("ZCARD", slot.storage.keys.of("state", f"default:{state}")))


def ran_once(slot: JobHuey, ids: list[str]) -> bool:
    attempts = [slot.reads.job(job_id).attempts_made for job_id in ids[::8]]
    return count(slot, "completed") == len(ids) and set(attempts) == {1}


def to_the_answer(slot: JobHuey, ids: list[str]) -> list[str]:
    """Run all that is held, until an answer is to be read for more. Returns: what ran."""
    ran = []
    while slot.dispatch._ready or not ran:
        ran.append((task := slot.dequeue()).id)
        slot.execute(task)
    assert slot.dispatch._call is not None
    assert ran == ids[: len(ran)]
    return ran


def test_redis_has_the_next_call_before_an_answer_is_read(
    slot: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = add(slot, 120)
    ran = to_the_answer(slot, ids)
    hear, under_way = slot.dispatch.talk.hear, []

    def heard(call: Call) -> object:
        wait_until(lambda: count(slot, "completed") == len(ran), what="committed")
        under_way.append(slot.dispatch._call)
        return hear(call)

    monkeypatch.setattr(slot.dispatch.talk, "hear", heard)
    task = slot.dequeue()
    assert task.id == ids[len(ran)]
    assert under_way == [slot.dispatch._call]
    assert under_way[0] is not None
    monkeypatch.undo()
    slot.execute(task)
    assert work(slot, 120 - len(ran) - 1) == ids[len(ran) + 1 :]
    assert ran_once(slot, ids)


def test_no_more_is_held_than_is_told(slot: JobHuey) -> None:
    add(slot, 300)
    for _ in range(250):
        slot.execute(slot.dequeue())
        assert len(slot.lease.held()) <= HELD + HELD // 2  # and those that are being committed
    slot.dispatch.give_back()


def beaten(slot: JobHuey) -> Callable[[], bool]:
    def beat() -> bool:
        slot.lease.beat()
        return count(slot, "active") == len(slot.lease.held())

    return beat


@pytest.mark.parametrize("both", [False, True])
def test_answers_that_are_lost_lose_no_outcome(
    slot: JobHuey, monkeypatch: pytest.MonkeyPatch, both: bool
) -> None:
    ids = add(slot, 120)
    to_the_answer(slot, ids)
    slot.dispatch._call.begun.connection.disconnect()  # type: ignore[union-attr]
    with pytest.raises(Unreachable):
        slot.dequeue()
    if both:
        slot.dispatch._call.begun.connection.disconnect()  # type: ignore[union-attr]
        with pytest.raises(Unreachable):
            slot.dispatch.flush()
    slot.dispatch.give_back()
    monkeypatch.setattr(slot.lease, "beat_s", 0.01)
    wait_until(beaten(slot), what="a beat gives back what only Redis knows of")
    work(slot, count(slot, "waiting"))
    assert ran_once(slot, ids)


def test_an_interrupt_between_two_calls_forgets_neither(
    slot: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = add(slot, 120)
    ran = to_the_answer(slot, ids)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(slot.storage.scripts, "begin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        slot.dequeue()
    monkeypatch.undo()
    assert work(slot, 120 - len(ran)) == ids[len(ran) :]
    assert ran_once(slot, ids)
