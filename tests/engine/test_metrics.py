"""Figures over time: what is counted, rolled up once and read at each resolution; what is standing."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from driving import States, run_all, run_one
from keyspace import counted, standing

from tasks.engine import JobHuey, Permanent, RetryAfter, State
from tasks.engine.figures import metrics
from tasks.engine.figures.buckets import HOUR, MINUTE, TENS, Buckets, level_for
from tasks.engine.running.bookkeeping import Bookkeeping, note_version
from tasks.engine.sources import FOLDER, WRITE, source

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
NOON_MS = 1_795_000_000_000 // HOUR_MS * HOUR_MS


def put(huey: JobHuey, at_ms: int, **fields: int) -> None:
    """Write a minute's fields as counts.lua does: `email__send__c12=3`."""
    key = huey.storage.keys.of("minute", str(at_ms // MINUTE_MS))
    for name, n in fields.items():
        huey.storage.call("HINCRBY", key, name.replace("__", "|"), n)


def test_each_script_that_moves_jobs_writes_its_counts_at_its_end() -> None:
    for file in FOLDER.glob("*.lua"):
        text = source(file.stem)
        written = text.endswith(WRITE)
        assert ("local COUNTED, STANDING" in text) is written, file


def test_jobs_that_stand_are_counted_by_queue_task_and_state(huey: JobHuey) -> None:
    states = States(huey)
    ids = {state: states.make(state) for state in State}
    assert standing(huey) == counted(huey) == {f"default|driving.ends|{s.value}": 1 for s in State}
    assert huey.reads.task_mix("default") == {("default", "driving.ends"): dict.fromkeys(State, 1)}
    huey.commands.retry([ids[State.FAILED], ids[State.RETRYING]])
    huey.commands.cancel([ids[State.SCHEDULED]])
    huey.commands.move([ids[State.WAITING]], queue="email")
    huey.commands.delete([ids[State.COMPLETED]])
    assert standing(huey) == counted(huey)
    run_all(huey)
    assert standing(huey) == counted(huey)
    huey.storage.flush_all()
    assert standing(huey) == {}


def test_a_job_that_is_moved_is_new_in_no_queue_twice(huey: JobHuey) -> None:
    states = States(huey)
    ids = [states.make(state) for state in (State.WAITING, State.SCHEDULED, State.RETRYING)]
    huey.commands.move(ids, queue="email")
    later_ms = huey.reads.now_ms() + 60_000
    seen = {queue: huey.reads.measured(3600, queues=(queue,), now_ms=later_ms) for queue in huey.reads.names()}  # fmt: skip
    assert {queue: found.enqueued for queue, found in seen.items()} == {"default": 3, "email": 0}
    assert seen["email"].ready == 1, "the waiting one begins to wait there"
    assert huey.reads.measured(3600, now_ms=later_ms).enqueued == 3


def test_a_flush_is_forgotten_minutes_and_all(huey: JobHuey) -> None:
    States(huey).make(State.COMPLETED)
    later_ms = huey.reads.now_ms() + 120_000  # the minute is over, so it is read once and kept
    assert huey.reads.measured(3600, now_ms=later_ms).completed == 1
    huey.storage.flush_all()
    assert huey.reads.measured(3600, now_ms=later_ms).completed == 0


def test_a_lost_job_and_a_job_added_again_leave_the_counts_true(huey: JobHuey) -> None:
    @huey.task(name="twice")
    def twice() -> None: ...

    twice.schedule(delay=0, id="same-id")
    run_all(huey)
    twice.schedule(delay=0, id="same-id")
    assert standing(huey) == counted(huey) == {"default|test_metrics.twice|waiting": 1}


def test_what_happened_is_counted_once_for_each_attempt_and_end(huey: JobHuey) -> None:
    @huey.task(name="ends", retries=1)
    def ends(how: str) -> None:
        if how == "failed":
            raise Permanent("no")
        if how == "retried":
            raise RetryAfter(3600, "later")

    for how in ("completed", "completed", "failed", "retried"):
        ends(how)
    ends.schedule(("completed",), delay=3600)
    run_all(huey)
    found = huey.reads.measured(3600, task="test_metrics.ends")
    assert (found.enqueued, found.ready, found.taken) == (5, 4, 4)
    assert (found.completed, found.failed, found.retried, found.cancelled) == (2, 1, 1, 0)
    assert (found.run.samples, found.wait.samples) == (4, 4)
    assert found.failed_share == pytest.approx(1 / 3)
    assert huey.reads.measured(3600, queue="default").whole.samples == 3
    assert huey.reads.measured(3600, queue="email").taken == 0


def test_the_last_runs_of_a_task_are_kept(huey: JobHuey) -> None:
    @huey.task(name="ends")
    def ends(how: str) -> None:
        if how == "failed":
            raise Permanent("no")

    ids = [ends("failed" if n % 20 == 19 else "well").id for n in range(65)]
    run_all(huey)
    runs = huey.reads.task_runs("test_metrics.ends")
    assert [run.id for run in runs] == ids[5:]
    assert [run.outcome for run in runs].count("failed") == 3
    assert huey.reads.last_runs(["test_metrics.ends", "never"]) == {
        "test_metrics.ends": runs[-1],
        "never": None,
    }


# Rolling up


def test_a_pack_is_what_it_was_and_the_same_bytes_each_time() -> None:
    sums = {
        ("email", "a|b"): {"c12": 3, "n": 1},
        ("email", ""): {"depth": 4},
        ("", ""): {"api:n": 2},
    }
    assert metrics.unpack(metrics.pack(sums)) == sums
    turned = {name: dict(reversed(counts.items())) for name, counts in reversed(sums.items())}
    assert metrics.pack(turned) == metrics.pack(sums)


def test_minutes_roll_up_to_tens_and_hours_and_sums_stay(huey: JobHuey) -> None:
    for n in range(125):  # from 12:00 to 14:04
        put(huey, NOON_MS + n * MINUTE_MS, email__send__c12=2, email__send__w3=2, email____depth=n)
    now = NOON_MS + 125 * MINUTE_MS
    buckets = Buckets(huey.storage)
    while buckets.roll(now):
        pass
    client, keys = huey.storage.client, huey.storage.keys
    rolled = {k.decode(): int(v) for k, v in client.hgetall(keys.one("rolled")).items()}
    assert rolled == {"tens": NOON_MS // 600_000 + 11, "hour": NOON_MS // HOUR_MS + 1}
    client.delete(*client.scan_iter(keys.of("minute", "*")))
    hours = Buckets(huey.storage).read(HOUR, [NOON_MS // HOUR_MS, NOON_MS // HOUR_MS + 1], now)
    assert [h["email", "send"] for h in hours.values()] == [{"c12": 120, "w3": 120}] * 2
    assert [h["email", ""]["depth"] for h in hours.values()] == [59, 119]
    first = keys.of("tens", str(NOON_MS // 600_000))
    assert 0 < client.ttl(first) <= TENS.kept_s + 600


def test_rolling_up_is_done_once_however_many_workers_try(huey: JobHuey) -> None:
    put(huey, NOON_MS, email__send__c12=2)
    now = NOON_MS + 11 * MINUTE_MS
    one, other = Buckets(huey.storage), Buckets(huey.storage)
    before = huey.storage.scripts.run("roll", 0, "tens", "7", 8, 60, b"x", b"x")
    assert before == 0, "a step from another place than where it stands changes nothing"
    assert one.roll(now) == 1
    assert one._step(TENS, "", NOON_MS // 600_000, now) is False, "the other one comes too late"
    now += 10 * MINUTE_MS
    assert other.roll(now) == 1
    assert one.roll(now) == other.roll(now) == 0
    totals = Buckets(huey.storage).totals(now)
    assert totals["email", "send"] == {"c12": 2}


def test_rolling_up_catches_up_in_bounded_steps_after_a_day_of_nobody(huey: JobHuey) -> None:
    for n in range(0, 24 * 60, 10):
        put(huey, NOON_MS + n * MINUTE_MS, email__send__c12=1)
    now = NOON_MS + 24 * HOUR_MS + 10_000
    buckets = Buckets(huey.storage)
    steps = [buckets.roll(now, 12)]
    while steps[-1]:
        steps.append(buckets.roll(now, 12))
    assert max(steps) <= 24
    assert sum(steps) == 144 + 24
    found = huey.reads.measured(86400, queue="email", now_ms=now)
    assert found.completed == 144 - 3  # the half hour that goes on is the last of 48


def test_totals_never_go_down_while_minutes_are_rolled_up(huey: JobHuey) -> None:
    seen = [0]
    first = NOON_MS // 600_000 - 1
    huey.storage.call("HSET", huey.storage.keys.one("rolled"), "tens", first)
    for n in range(25):
        at = NOON_MS + n * MINUTE_MS
        put(huey, at, email__send__c12=1, email____depth=5)
        huey.reads.buckets.roll(at)
        seen.append(huey.reads.totals(at)["email", "send"].completed)
    assert seen == list(range(26))
    assert "depth" not in Buckets(huey.storage).totals(at)["email", ""]


def test_a_range_has_its_points_and_the_last_one_is_now(huey: JobHuey) -> None:
    for back_s, many in {0: 1, 5 * 3600: 2, 6 * 86400: 4, 20 * 86400: 8, 80 * 86400: 16}.items():
        at = NOON_MS - back_s * 1000
        hours = {("email", "send"): {"c12": many}}
        if back_s > 86400:
            huey.storage.call(
                "SET", huey.storage.keys.of("hour", str(at // HOUR_MS)), metrics.pack(hours)
            )
        else:
            put(huey, at, email__send__c12=many)
    mark = (NOON_MS - 86400_000) // HOUR_MS
    huey.storage.call("HSET", huey.storage.keys.one("rolled"), "hour", mark)
    points = {"1h": (60, 1), "24h": (48, 3), "7d": (56, 7), "30d": (60, 15), "90d": (90, 31)}
    for name, (many, done) in points.items():
        found = huey.reads.metrics(name, queue="email", now_ms=NOON_MS + 1)
        assert len(found) == many, name
        assert sum(point.completed for point in found) == done, name
        assert (
            found[-1].at
            <= datetime.fromtimestamp(NOON_MS / 1000, UTC)
            < found[-1].at + timedelta(seconds=found[-1].span_s)
        ), name
    with pytest.raises(KeyError):
        huey.reads.metrics("2h")


def test_a_week_before_is_read_from_what_is_still_kept(huey: JobHuey) -> None:
    week = 7 * 86400
    tens = {("email", "send"): {"c12": 9}}
    at = NOON_MS - week * 1000
    huey.storage.call("SET", huey.storage.keys.of("tens", str(at // 600_000)), metrics.pack(tens))
    put(huey, NOON_MS, email__send__c12=4)
    assert huey.reads.measured(3600, back_s=week, now_ms=NOON_MS + 1).completed == 9
    assert huey.reads.measured(3600, now_ms=NOON_MS + 1).completed == 4
    assert level_for(3600, 0) is MINUTE
    assert level_for(3600, week) is TENS
    assert level_for(30 * 86400, 0) is HOUR


def test_a_span_that_is_over_is_read_once(huey: JobHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    put(huey, NOON_MS, email__send__c12=4)
    read: list[Any] = []
    fetch = huey.storage.pipeline
    monkeypatch.setattr(huey.storage, "pipeline", lambda asks: read.extend(asks) or fetch(asks))
    for least, most in ((60, 63), (0, 2)):
        huey.reads.metrics("1h", now_ms=NOON_MS + 30 * MINUTE_MS)
        assert least <= len(read) <= most, read
        read.clear()


# Forecast


@pytest.mark.parametrize(
    ("waiting", "into", "out", "said"),
    [
        (0, 100, 0, None), (10, 5, 5, None), (240, 120, 0, "growing 120 a minute"),
        (10, 0, 60, "empty in 10 s"), (600, 40, 60, "empty about 12:30"), (9_000_000, 0, 1000, "empty in 6 d"),
    ],
)  # fmt: skip
def test_a_forecast_says_where_the_queue_goes(
    waiting: int, into: float, out: float, said: str | None
) -> None:
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert metrics.forecast(waiting, into, out, at) == said


def test_a_queue_forecasts_from_its_last_minutes(huey: JobHuey) -> None:
    now = huey.reads.now_ms()
    for n in (0, 1, 2, 3):  # this one too: it may be over before the last line
        put(huey, now - n * MINUTE_MS, email__send__n=100, email__send__w3=40, email__send__c12=40)
    rate = huey.reads.rates(now)["email"]
    assert (rate.into, rate.out, rate.minutes) == (100, 40, 3)
    assert huey.reads.queue("email").per_minute == {"enqueued": 100, "completed": 40, "failed": 0}


# Housekeeping


def test_a_worker_looks_how_deep_the_queues_are_and_keeps_the_version(
    make_huey: Callable[..., JobHuey],
) -> None:
    huey = make_huey(version="1.4.2")
    States(huey).make(State.WAITING)
    now_ms = huey.reads.now_ms()
    Bookkeeping(huey).keep(now_ms)
    points = huey.reads.metrics("1h", queue="default", now_ms=now_ms)
    assert (points[-1].depth, points[0].depth) == (1, None)
    note_version(huey)
    note_version(huey)
    note_version(make_huey(huey.name, version="1.5"))
    events = huey.reads.events(datetime.fromtimestamp(time.time() - 60, UTC))
    assert [event.text for event in events] == ["1.4.2", "1.5"]


def test_a_job_that_ends_in_another_minute_than_it_began_is_counted(huey: JobHuey) -> None:
    states = States(huey)
    states.make(State.ACTIVE)
    run_one(huey)
    assert sum(minute.enqueued for minute in huey.reads.minutes(minutes=2)) == 1


def test_a_queue_that_appears_later_has_the_minutes_that_were_told_before(huey: JobHuey) -> None:
    before = huey.reads.minutes_by_queue(5)
    assert "later" not in before
    huey.storage.call("SADD", huey.storage.keys.one("queues"), "later")
    after = huey.reads.minutes_by_queue(5)
    assert len(after["later"]) == len(after[""]) == 5
    assert {minute.queue for minute in after["later"]} == {"later"}


def test_rates_are_told_once_for_the_same_minutes_and_anew_for_the_next(huey: JobHuey) -> None:
    put(huey, NOON_MS, email__send__w3=6, email__send__n=6)
    at = NOON_MS + MINUTE_MS + 30_000
    told = huey.reads.rates(at)
    assert told["email"].out == 6
    assert huey.reads.rates(at + 1000) is told
    put(huey, NOON_MS + MINUTE_MS, email__send__w3=2)
    after = huey.reads.rates(at + MINUTE_MS)
    assert (after["email"].newest.taken, after["email"].out) == (2, 4)


def test_rates_stay_while_a_minute_that_just_ended_may_still_change(huey: JobHuey) -> None:
    put(huey, NOON_MS, email__send__w3=6)
    at = NOON_MS + MINUTE_MS + 1000  # not settled: each look reads it
    told = huey.reads.rates(at)
    assert huey.reads.rates(at + 1000) is told
    put(huey, NOON_MS, email__send__w3=1)
    assert huey.reads.rates(at + 2000)["email"].out == 7
