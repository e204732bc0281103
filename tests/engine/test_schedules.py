"""When a crontab is due: in UTC, in a zone over its changes of the clock, and in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from huey import crontab as huey_crontab

from tasks.engine import crontab
from tasks.engine.ticking.schedules import at_minute, minute_of, schedule

SPRING = datetime(2026, 3, 29, tzinfo=UTC)  # Berlin goes from 02:00 to 03:00 at 01:00 UTC
AUTUMN = datetime(2026, 10, 25, tzinfo=UTC)  # and from 03:00 back to 02:00 at 01:00 UTC
DAY = 24 * 60


def times(found: object, day: datetime) -> list[str]:
    start = minute_of(day)
    return [f"{at_minute(m):%H:%M}" for m in found.ticks(start, start + DAY)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "fields",
    [{}, {"minute": "*/15"}, {"minute": "17", "hour": "3"}, {"minute": "0", "hour": "*/6", "day_of_week": "1,3"},
     {"minute": "5,35", "hour": "8-17", "day_of_week": "1-5"}, {"minute": "0", "hour": "0", "day": "1"},
     {"minute": "59", "hour": "23", "day": "31", "month": "12"}, {"day_of_week": "7", "hour": "4"}],
)  # fmt: skip
def test_a_walk_finds_what_hueys_own_test_finds(fields: dict[str, str]) -> None:
    ours, theirs = crontab(**fields), huey_crontab(**fields)
    start = minute_of(datetime(2026, 12, 29, tzinfo=UTC))
    expected = [
        m for m in range(start, start + 9 * DAY) if theirs(at_minute(m).replace(tzinfo=None))
    ]
    assert list(ours.ticks(start, start + 9 * DAY)) == expected
    assert list(ours.ticks_before(start + 9 * DAY, start)) == expected[::-1]
    assert all(ours(at_minute(m).replace(tzinfo=None)) for m in expected[:50])


def test_a_local_time_that_does_not_exist_runs_at_the_next_that_does() -> None:
    skipped = crontab(minute="15,30", hour="2", tz="Europe/Berlin")
    assert times(skipped, SPRING) == ["01:00"]
    assert times(skipped, SPRING - timedelta(days=1)) == ["01:15", "01:30"]
    assert times(crontab(minute="0", hour="2,3", tz="Europe/Berlin"), SPRING) == ["01:00"]


def test_a_local_time_that_comes_twice_runs_once() -> None:
    twice = crontab(minute="15,30", hour="2", tz="Europe/Berlin")
    assert times(twice, AUTUMN) == ["00:15", "00:30"]
    assert times(crontab(minute="0", hour="3", tz="Europe/Berlin"), AUTUMN) == ["02:00"]


@pytest.mark.parametrize("day", [SPRING, AUTUMN])
def test_a_crontab_for_every_hour_goes_on_through_a_change(day: datetime) -> None:
    assert len(times(crontab(tz="Europe/Berlin"), day)) == DAY
    assert len(times(crontab(minute="30", tz="Europe/Berlin"), day)) == 24


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns"])
def test_backwards_is_forwards_turned_round_over_a_year_of_changes(zone: str) -> None:
    plan = crontab(minute="20,50", hour="2", tz=zone)
    start = minute_of(datetime(2026, 1, 1, tzinfo=UTC))
    forward = list(plan.ticks(start, start + 366 * DAY))
    assert list(plan.ticks_before(start + 366 * DAY, start)) == forward[::-1]
    assert {m for m in forward if not plan.due(m)} == set()
    assert len(forward) == pytest.approx(366 * 2, abs=3)


def test_a_local_day_is_a_local_day() -> None:
    plan = crontab(minute="30", hour="0", day_of_week="1", tz="Pacific/Auckland")
    (first,) = islice(plan.ticks(minute_of(datetime(2026, 7, 1, tzinfo=UTC)), 1 << 40), 1)
    assert at_minute(first) == datetime(2026, 7, 5, 12, 30, tzinfo=UTC)  # Monday there


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "every minute"),
        ({"minute": "*/5"}, "every 5 minutes"),
        ({"minute": "0"}, "every hour"),
        ({"minute": "30"}, "every hour at :30"),
        ({"minute": "0,20"}, "every hour at :00 and :20"),
        ({"minute": "0", "hour": "*/3"}, "every 3 hours"),
        ({"minute": "10", "hour": "*/3"}, "every 3 hours at :10"),
        ({"minute": "17", "hour": "3"}, "every day at 03:17"),
        ({"minute": "0", "hour": "8,20"}, "every day at 08:00 and 20:00"),
        ({"minute": "0", "hour": "7", "day_of_week": "1"}, "Mondays at 07:00"),
        ({"minute": "0", "hour": "7", "day_of_week": "1-5"}, "at 07:00 on weekdays"),
        ({"minute": "0", "hour": "4", "day_of_week": "0,6"}, "Saturdays and Sundays at 04:00"),
        ({"minute": "0", "hour": "4", "day": "1"}, "at 04:00 on day 1 of the month"),
        ({"minute": "0", "hour": "4", "day": "1,15", "month": "1,7"},
         "at 04:00 on days 1 and 15 of the month in January and July"),
        ({"minute": "*/10", "hour": "8-17"}, "every 10 minutes from 08:00 to 17:59"),
        ({"minute": "*/10", "hour": "8-17", "day_of_week": "1-5"},
         "every 10 minutes from 08:00 to 17:59 on weekdays"),
        ({"hour": "1,5"}, "every minute in the hours 1 and 5"),
    ],
)  # fmt: skip
def test_a_crontab_in_words(fields: dict[str, str], words: str) -> None:
    assert crontab(**fields).words() == words


def test_the_next_is_found_once_and_asked_for_free() -> None:
    plan = crontab(minute="0", hour="4", day_of_week="1")
    start = minute_of(SPRING)
    found = plan.next_after(start)
    assert found is not None
    assert at_minute(found) == datetime(2026, 3, 30, 4, 0, tzinfo=UTC)
    plan.minutes = frozenset()  # a walk would find nothing now
    assert plan.next_after(found - 1) == found
    assert plan.next_after(found) is None


def test_a_test_of_ones_own_is_walked_minute_by_minute() -> None:
    plan = schedule(lambda at: at.minute == 7)
    start = minute_of(SPRING)
    assert [m - start for m in plan.ticks(start, start + 130)] == [7, 67, 127]
    assert [m - start for m in plan.ticks_before(start + 130, start)] == [127, 67, 7]
    assert plan.words() == "by its own test"


def test_a_zone_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="'Europe/Berlim' is no time zone"):
        crontab(tz="Europe/Berlim")
