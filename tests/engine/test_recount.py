"""The standing counts are compared with the jobs that stand there, and mended while jobs move."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from driving import run_all, run_one
from keyspace import counted, standing

from tasks.engine import JobHuey
from tasks.engine.operating import checking, recounting
from tasks.engine.operating.checking import Check
from tasks.engine.operating.recounting import WHAT, Place, Recount


@pytest.fixture
def busy(huey: JobHuey) -> JobHuey:
    """Return a Huey with 90 waiting and 30 completed jobs of two tasks."""
    for name in ("one", "two"):
        setattr(huey, name, huey.task(name=name)(lambda n: n))
    many(huey, 120)
    for _ in range(30):
        run_one(huey)
    return huey


def many(huey: Any, n: int) -> None:
    huey.enqueue_many([(huey.one if i % 3 else huey.two).s(i) for i in range(n)])


def add(huey: JobHuey, field: str, n: int) -> None:
    huey.storage.call("HINCRBY", huey.storage.keys.one("counts"), field, n)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read sets in many stretches."""
    monkeypatch.setattr(recounting, "STRETCH", 8)
    monkeypatch.setattr(recounting, "SETTLED", 24)


WRONG = {
    "default|test_recount.one|waiting": 7, "default|test_recount.two|waiting": -7, "default|test_recount.two|completed": 2,
    "default|gone|failed": 3, "nowhere|one|waiting": -1,
}  # fmt: skip


@pytest.mark.parametrize("stretches", [False, True])
def test_counts_that_are_too_high_or_too_low_are_mended(
    busy: JobHuey, stretches: bool, request: pytest.FixtureRequest
) -> None:
    if stretches:
        request.getfixturevalue("small")
    assert busy.commands.fsck() == {}
    for field, n in WRONG.items():
        add(busy, field, n)
    spoilt = standing(busy)
    assert busy.commands.fsck(mend=False) == {WHAT: len(WRONG)}
    assert standing(busy) == spoilt
    assert busy.commands.fsck() == {WHAT: len(WRONG)}
    assert standing(busy) == counted(busy)
    assert busy.commands.fsck() == {}
    said = {name for _, what, name in busy.reads.fsck().last if what == WHAT}
    assert "default|gone|failed: 3 counted, 0 there" in said
    assert len(said) == len(WRONG)


@pytest.mark.usefixtures("small")
def test_what_moves_between_two_calls_is_neither_lost_nor_counted_twice(busy: JobHuey) -> None:
    add(busy, "default|test_recount.one|waiting", -5)
    add(busy, "default|test_recount.two|completed", 1)
    recount = Recount(busy.storage)
    place, found, calls = recount.begin(each=True), 0, 0
    while place.todo:
        place = Place.of(place.text())  # another process goes on
        found += recount.go_on(place, mend=True, calls=1)[WHAT]
        if calls < 20:
            run_one(busy)
            many(busy, 1)
        calls += 1
    assert calls > 20
    assert found == 2
    assert standing(busy) == counted(busy)


@pytest.mark.usefixtures("small")
def test_counts_are_mended_while_workers_work(busy: JobHuey) -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            many(busy, 2)
            run_one(busy)
            run_one(busy)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for n in range(6):
            add(
                busy,
                f"default|test_recount.{('one', 'two')[n % 2]}|{('waiting', 'completed')[n % 3 % 2]}",
                n - 9,
            )
            busy.commands.fsck()
    finally:
        stop.set()
        worker.join()
    run_all(busy)
    busy.commands.fsck()
    assert standing(busy) == counted(busy)


def test_two_that_mend_at_once_add_the_difference_once(busy: JobHuey) -> None:
    add(busy, "default|test_recount.one|waiting", 4)
    first, second = Recount(busy.storage), Recount(busy.storage)
    add_second = second._add
    second._add = lambda *given: first.all(mend=True) and add_second(*given)  # type: ignore[method-assign]
    assert second.all(mend=True) == {}
    assert standing(busy) == counted(busy)


def steps(check: Check, now_ms: int, until: Callable[[], bool]) -> Iterator[int]:
    """Take steps in their rhythm until something holds."""
    for n in range(200):
        if until():
            return
        assert check.step(now_ms + n * checking.STEP_EACH_MS)
        yield now_ms + n * checking.STEP_EACH_MS
    raise AssertionError("it never holds")


@pytest.mark.usefixtures("small")
def test_a_worker_recounts_every_ten_minutes_a_few_calls_a_step(
    busy: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "RECOUNTED_AT_ONCE", 3)
    check, reads = Check(busy.storage), busy.reads
    add(busy, "default|test_recount.two|waiting", 1)
    mended = list(steps(check, reads.now_ms(), lambda: standing(busy) == counted(busy)))
    assert len(mended) > 3
    *_, ended = steps(check, mended[-1] + 2_000, lambda: reads.fsck().finished_at is not None)
    add(busy, "default|test_recount.two|waiting", 1)
    assert not check.step(ended + checking.STEP_EACH_MS)
    again = steps(check, ended + checking.ROUND_EACH_MS, lambda: standing(busy) == counted(busy))
    assert len(list(again)) > 3


def test_a_large_set_whose_sum_is_right_is_left_to_the_check_by_hand(
    busy: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recounting, "SMALL", 50)
    add(busy, "default|test_recount.one|waiting", 1)
    add(busy, "default|test_recount.two|waiting", -1)
    now = [set_[:2] for set_ in Recount(busy.storage).begin(each=False).todo]
    assert now == [("default", "completed")]
    assert busy.commands.fsck() == {WHAT: 2}
