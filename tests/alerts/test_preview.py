"""What the last week says of a rule: the same that the evaluation would have decided."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.alerts import evaluation, preview
from tasks.alerts.measures import Now, Seen
from tasks.alerts.preview import firings
from tasks.alerts.rules import RuleIn
from tasks.engine import JobHuey

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def rule(measure: str = "failed_share", **given: Any) -> RuleIn:
    return RuleIn(name="x", measure=measure, **given)


@pytest.fixture
def now(huey: JobHuey) -> Now:
    """Return one moment for the whole test: a minute may end within it."""
    return Now(huey)


def count(now: Now, ago_minutes: int, **fields: int) -> None:
    """Write what a minute of queue sync counted, so many minutes ago."""
    storage, stamp = now.huey.storage, now.ms // 60000 - ago_minutes
    key = storage.keys.of("minute", str(stamp))
    for name, n in fields.items():
        task = "" if name in ("depth", "oldest", "sampled") else "t.x"
        storage.client.hincrby(key, f"sync|{task}|{name}", n)


def look(now: Now, wanted: RuleIn) -> preview.Preview:
    return preview.look(now, wanted)


def test_each_outage_of_the_week_is_a_firing_with_its_time_and_worst(now: Now) -> None:
    for ago in (300, 299, 200, 100, 99, 98):
        count(now, ago, f3=5, c3=5)
    for ago in range(310, 0, -5):
        count(now, ago, c3=10)
    found = look(now, rule(target="queue:sync", over_minutes=5, threshold=0.2, least_samples=10))
    assert [now.ms // 60000 - round(one.at.timestamp() / 60) for one in found.firings] == [
        299,
        199,
        99,
    ]
    assert all(one.until for one in found.firings)
    assert [round(one.worst, 2) for one in found.firings] == [0.33, 0.25, 0.38]
    assert found.since is not None
    assert (found.why, found.note) == ("", "")


def test_the_window_rolls_as_the_engine_sums_it(huey: JobHuey, now: Now) -> None:
    for ago in range(40, 0, -1):
        count(now, ago, f3=ago % 3, c4=2, sampled=1, depth=ago % 7, oldest=ago % 11)
    for minutes in (1, 5, 15):
        asked = rule("failed_share", target="queue:sync", over_minutes=minutes)
        found = look(now, asked)
        engine = huey.reads.measured(minutes * 60, queue="sync", now_ms=now.ms)
        assert found.points[-1][1] == engine.failed_share
    deep = look(now, rule("waiting", target="queue:sync"))
    by_ago = {round((found_at(now) - at).total_seconds() / 60): value for at, value in deep.points}
    assert [by_ago[ago] for ago in (6, 5, 4)] == [(ago + 1) % 7 for ago in (6, 5, 4)]


def found_at(now: Now) -> datetime:
    return datetime.fromtimestamp(now.ms // 60000 * 60, UTC)


def test_older_than_two_days_is_looked_at_by_ten_minutes_and_said_so(
    huey: JobHuey, now: Now
) -> None:
    count(now, 3 * 1440 + 20, f3=5)
    stamp = now.ms // 60000 - 3 * 1440
    from tasks.engine.figures import metrics

    tens = metrics.pack({("sync", "t.x"): {"f3": 30, "c3": 10}})
    huey.storage.client.set(huey.storage.keys.of("tens", str(stamp // 10)), tens)
    found = look(now, rule(over_minutes=15, least_samples=10))
    assert len(found.firings) == 1
    assert "by ten minutes, so shorter times are rounded up" in found.note
    assert look(now, rule(over_minutes=20, for_minutes=0, least_samples=10)).note == ""


def test_with_nothing_counted_and_with_no_past_it_says_so(now: Now) -> None:
    assert look(now, rule()).why == "Nothing was counted yet."
    found = look(now, rule("breaker"))
    assert "No past is kept of this" in found.why
    assert (found.firings, found.points) == ((), ())
    assert found.now == Seen(0)


def test_a_standstill_of_any_queue_is_found(huey: JobHuey, now: Now) -> None:
    for ago in range(60, 0, -1):
        stalled = 40 >= ago > 20
        count(
            now,
            ago,
            sampled=1,
            depth=4 if stalled else 0,
            oldest=(41 - ago) * 60 if stalled else 0,
        )
        stamp = now.ms // 60000 - ago
        huey.storage.client.hincrby(huey.storage.keys.of("minute", str(stamp)), "email|t.y|w3", 2)
    (one,) = look(now, rule("stalled", over_minutes=10)).firings
    assert one.worst == 4
    assert look(now, rule("stalled", target="queue:email", over_minutes=10)).firings == []


def test_new_errors_have_a_past_of_their_own(huey: JobHuey, ends: Callable[..., None]) -> None:
    ends(failed=1)
    found = look(Now(huey), rule("new_errors"))
    assert found.breached
    assert "came back and was resolved" in found.note
    assert len(found.points) == 7 * 1440 + 1


def test_key_figures_have_a_past_over_their_own_hours(now: Now) -> None:
    for ago in (30, 20, 10):
        count(now, ago, f3=5, c3=20)
    found = look(now, rule("kpi", target="kpi:failed_rate", for_minutes=0))
    assert found.points[-1][1] == pytest.approx(15 / 75)
    (one,) = found.firings
    assert one.until is None
    assert look(now, rule("kpi", target="kpi:delivery_rate")).points[-1][1] is None


def test_our_own_notices_are_left_out(huey: JobHuey, now: Now) -> None:
    stamp = now.ms // 60000 - 5
    key = huey.storage.keys.of("minute", str(stamp))
    huey.storage.client.hincrby(key, "notifications|tasks.alerts.sending.deliver_webhook|f3", 50)
    assert look(now, rule("failed_jobs", threshold=0)).firings == []


@pytest.mark.parametrize("for_minutes", [0, 1, 3])
def test_it_decides_as_the_evaluation_does(huey: JobHuey, for_minutes: int) -> None:
    """Both walk the same values; only where both are well for two minutes may a firing end."""
    values = [0, 11, 11, 11, 11, 9, 11, 11, 9, 9, 9, 11, 9, 9, 9, 11, 11, 11, 11, 11]
    wanted = rule("waiting", threshold=10, for_minutes=for_minutes)
    points = [(START + n * MINUTE, 60, Seen(value)) for n, value in enumerate(values)]
    told = firings(wanted, points)
    from alerting import incidents, make_rule

    from tasks import database as db

    made = make_rule("waiting", threshold=10, for_minutes=for_minutes)
    for at, _, seen in points:
        with db.session() as session:
            evaluation.settle(session, made.id, seen, at)
    assert [(one.at, one.until) for one in told] == [
        (i.opened_at, i.closed_at) for i in incidents()
    ]


def test_where_much_is_counted_minutes_reach_less_far_and_hours_take_over(
    huey: JobHuey, now: Now, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.engine.figures import measuring
    from tasks.engine.figures.chosen import Choice

    monkeypatch.setattr(measuring, "MOST_COUNTS", 100)
    for ago in range(200, 0, -1):
        count(now, ago, c3=1, n=1)
    spans = huey.reads.kept(7 * 86400, [Choice()])
    steps = [span.step_s for span in spans]
    assert steps == sorted(steps, reverse=True)
    assert {3600, 600, 60} == set(steps)
    ends = [span.at + timedelta(seconds=span.step_s) for span in spans]
    assert ends[:-1] == [span.at for span in spans[1:]], "no gap and nothing twice"
    assert 40 <= steps.count(60) <= 60
    assert sum(counts["c3"] for span in spans for counts in span.each[0].values() if counts) == 200
    monkeypatch.setattr(measuring, "MOST_COUNTS", 10**9)
    spans = huey.reads.kept(7 * 86400, [Choice()])
    assert [span.step_s for span in spans].count(60) in range(2870, 2882)
    assert sum(counts["c3"] for span in spans for counts in span.each[0].values() if counts) == 200
