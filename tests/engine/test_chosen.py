"""Choices of what was counted: they are what the whole sums would say, read once a span, in little room."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from tasks.engine import JobHuey
from tasks.engine.figures import metrics
from tasks.engine.figures.buckets import MINUTE, TENS, Buckets
from tasks.engine.figures.chosen import ALL_APART, Choice, Chosen, choice
from tasks.engine.figures.known import QUESTIONS, Known
from tasks.engine.figures.metrics import Figures, Sums
from tasks.engine.rows import EPOCH

MINUTE_MS = 60_000
NOON_MS = 1_795_000_000_000 // 3_600_000 * 3_600_000
NOW_MS = NOON_MS + 44 * MINUTE_MS + 20_000
CHOICES = [
    Choice(), choice("mail"), choice(queues=["mail", "sync"]), choice(task="send"),
    choice(queues=["mail", "none"], without=["send"]), choice("sync", "pull"), choice(""),
]  # fmt: skip


def day_of(huey: JobHuey) -> dict[int, Sums]:
    """Write the last four hours, all of it rolled up as far as it is over. Returns: {minute: sums}."""
    dice, written = random.Random(3), {}
    for back in range(240):
        stamp, fields = NOW_MS // MINUTE_MS - back, {"||api:n": 2, "||api:ms": dice.randint(1, 90)}
        for name in ("mail|send", "mail|fetch", "sync|pull"):
            if dice.random() < 0.7:
                fields |= {f"{name}|n": 3, f"{name}|w{dice.randint(0, 9)}": 3}
                fields |= {f"{name}|c{dice.randint(0, 9)}": 2, f"{name}|f{dice.randint(0, 9)}": 1}
        for queue in ("mail", "sync"):
            fields |= {
                f"{queue}||sampled": 1,
                f"{queue}||depth": dice.randint(0, 50),
                f"{queue}||oldest": back,
            }
        huey.storage.call(
            "HSET",
            huey.storage.keys.of("minute", str(stamp)),
            *(x for pair in fields.items() for x in pair),
        )
        written[stamp] = metrics.parse(
            {name.encode(): str(n).encode() for name, n in fields.items()}
        )
    while huey.reads.buckets.roll(NOW_MS):
        pass
    return written  # fmt: skip


def told(sums: Sums, wanted: Choice) -> Figures:
    """Return the figures of a choice from whole sums, one by one."""
    return metrics.figures(EPOCH, 1, [n for name, n in sums.items() if wanted.takes(name)])


@pytest.mark.parametrize(("level", "many", "back"), [(MINUTE, 1, 60), (MINUTE, 30, 5), (TENS, 1, 12), (TENS, 3, 6)])  # fmt: skip
def test_a_choice_says_what_the_whole_sums_say(
    huey: JobHuey, level: Any, many: int, back: int
) -> None:
    written = day_of(huey)
    last = NOW_MS // 1000 // level.step_s // many
    numbers = range(last - back + 1, last + 1)
    each_minutes = many * level.step_s // 60
    everything: Sums = {}
    for look in range(2):  # the second from what is kept
        found = huey.reads.chosen.points(level, many, numbers, NOW_MS, CHOICES)
        for n in numbers:
            inside: Sums = {}
            for stamp in range(n * each_minutes, (n + 1) * each_minutes):
                metrics.merge(inside, written.get(stamp, {}))
            assert [told(sums, Choice()) for sums in found[n]] == [
                told(inside, wanted) for wanted in CHOICES
            ], (n, look)
            metrics.merge(everything, inside if not look else {})
        totals = huey.reads.chosen.total(level, many, numbers, NOW_MS, [*CHOICES, ALL_APART])
        assert totals.pop() == everything
        for sums, wanted in zip(totals, CHOICES, strict=True):
            assert told(sums, Choice()) == told(everything, wanted)


def test_queues_apart_are_what_each_queue_is_alone(huey: JobHuey) -> None:
    day_of(huey)
    apart = Choice(without=frozenset({"send"}), by_queue=True)
    alone = [choice(queue, without=["send"]) for queue in ("mail", "sync")]
    numbers = range(NOW_MS // MINUTE_MS - 30, NOW_MS // MINUTE_MS + 1)
    found = huey.reads.chosen.points(MINUTE, 1, numbers, NOW_MS, [apart])
    for n, each in huey.reads.chosen.points(MINUTE, 1, numbers, NOW_MS, alone).items():
        for queue, sums in zip(("mail", "sync"), each, strict=True):
            assert told({("", ""): found[n][0].get((queue, ""), {})}, Choice()) == told(
                sums, Choice()
            )


def test_a_total_adds_what_goes_on_to_what_is_kept_and_changes_nothing_of_it(
    huey: JobHuey,
) -> None:
    day_of(huey)
    numbers = range(NOW_MS // MINUTE_MS - 9, NOW_MS // MINUTE_MS + 1)
    for _ in range(3):
        (total,) = huey.reads.chosen.total(MINUTE, 1, numbers, NOW_MS, [ALL_APART])
        assert total["", ""]["api:n"] == 20


def test_figures_that_did_not_change_are_told_once(huey: JobHuey) -> None:
    written = day_of(huey)
    busy, calm = ("mail", "send"), ("sync", "pull")
    field = f"{'|'.join(busy)}|c3"
    first, before = huey.reads.by_task(3600, NOW_MS), huey.reads.metrics("1h", now_ms=NOW_MS)
    huey.storage.call("HINCRBY", huey.storage.keys.of("minute", str(max(written))), field, 5)
    then = huey.reads.by_task(3600, NOW_MS + 1000)
    assert then[calm] is first[calm]
    assert then[busy].completed == first[busy].completed + 5
    after = huey.reads.metrics("1h", now_ms=NOW_MS + 1000)
    assert all(one is other for one, other in zip(before[:-1], after[:-1], strict=True))
    assert (after[-1].span_s, after[-1].completed) == (21 + 1, before[-1].completed + 5)
    later = huey.reads.by_task(3600, NOW_MS + MINUTE_MS)
    assert later[calm].at == first[calm].at + timedelta(minutes=1)


def test_of_many_questions_the_last_ones_are_known() -> None:
    known, seen = Known(), (EPOCH, 60, [{"c3": 2}])
    (first,) = known.figures("first", [("", seen)]).values()
    for n in range(QUESTIONS - 1):
        known.figures(n, [("", seen)])
    assert known.figures("first", [("", seen)])[""] is first
    for n in range(QUESTIONS):
        known.figures(n, [("", seen)])
    again = known.figures("first", [("", seen)])[""]
    assert again == first
    assert again is not first


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_are_those_of_the_sorted_times(seed: int) -> None:
    dice = random.Random(seed)
    buckets = {dice.randint(0, 60): dice.randint(1, 40) for _ in range(dice.randint(1, 30))}
    times = sorted(bucket for bucket, n in buckets.items() for _ in range(n))
    found = metrics.percentiles(buckets)
    assert found.samples == len(times)
    for share, ms in ((50, found.p50_ms), (95, found.p95_ms), (99, found.p99_ms)):
        assert ms == metrics.bucket_ms(times[-(-len(times) * share // 100) - 1])


def asked_of(huey: JobHuey, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the list that every command of a pipeline is put into from now on."""
    read: list[Any] = []
    fetch = huey.storage.pipeline
    monkeypatch.setattr(huey.storage, "pipeline", lambda asks: read.extend(asks) or fetch(asks))
    return read


def test_a_span_is_read_once_for_all_choices(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.engine.figures.buckets.CACHED_COUNTS", 0)  # no whole span is kept
    huey.reads.buckets = Buckets(huey.storage)
    huey.reads.chosen = Chosen(huey.storage, huey.reads.buckets)
    day_of(huey)
    read = asked_of(huey, monkeypatch)
    for spans in (60, 1):  # later only the minute that goes on
        huey.reads.measured_of(3600, CHOICES, now_ms=NOW_MS)
        assert len([ask for ask in read if ask[0] == "HGETALL"]) == spans
        read.clear()


def test_a_long_range_leaves_the_minutes_that_are_kept(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.engine.figures.buckets.CACHED_COUNTS", 2000)
    monkeypatch.setattr("tasks.engine.figures.chosen.SPANS_AT_ONCE", 3)
    huey.reads.buckets = Buckets(huey.storage)
    huey.reads.chosen = Chosen(huey.storage, huey.reads.buckets)
    day_of(huey)
    last = NOW_MS // MINUTE_MS
    read = asked_of(huey, monkeypatch)
    huey.reads.buckets.read(MINUTE, range(last - 10, last), NOW_MS)
    huey.reads.by_task(86400, NOW_MS)
    read.clear()
    huey.reads.buckets.read(MINUTE, range(last - 10, last), NOW_MS)
    assert not read
