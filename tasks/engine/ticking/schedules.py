"""When a periodic task is due: a crontab in UTC or in a zone, walked both ways, and its words.

In a zone with summer time, a local time that does not exist runs at the next that does, and one that
comes twice runs once; a crontab for every hour just goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from huey.api import crontab as huey_crontab

MINUTE = timedelta(minutes=1)
MONDAY = datetime(2024, 1, 1)  # noqa: DTZ001 - a wall clock; the month has 31 days
WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September",
          "October", "November", "December")  # fmt: skip
FEW = 4
LOOK_AHEAD_MINUTES = 366 * 24 * 60
CHANGES_AT = 15  # clocks are put forward to a full quarter of an hour


def minute_of(at: datetime) -> int:
    """Return the Unix minute of an instant."""
    return int(at.timestamp()) // 60


def at_minute(minute: int) -> datetime:
    """Return the start of a Unix minute, aware."""
    return datetime.fromtimestamp(minute * 60, UTC)


class Schedule:
    """A task's due minutes, by any test of a naive UTC time; `Crontab` knows more.

    Cost: `ticks` and `ticks_before` look at each minute, `MOST` at most.
    """

    MOST = 24 * 60
    expression = ""
    tz = "UTC"

    def __init__(self, check: Callable[[datetime], bool]) -> None:
        self.check = check
        self._known: tuple[int, int] | None = None

    def __call__(self, at: datetime) -> bool:
        """Tell whether it is due at a naive UTC time: what Huey asks."""
        return self.due(minute_of(at.replace(tzinfo=UTC)))

    def due(self, minute: int) -> bool:
        """Tell whether it is due in that Unix minute."""
        return bool(self.check(at_minute(minute).replace(tzinfo=None)))

    def ticks(self, start: int, stop: int) -> Iterator[int]:
        """Yield the due minutes from `start` up to, not with, `stop`."""
        return (minute for minute in range(start, min(stop, start + self.MOST)) if self.due(minute))

    def next_after(self, minute: int) -> int | None:
        """Return the first due minute after `minute`; None where there is none within a year.

        Cost: nothing while it is the one that was found last.
        """
        if self._known is not None and self._known[0] <= minute < self._known[1]:
            return self._known[1]
        found = next(self.ticks(minute + 1, minute + LOOK_AHEAD_MINUTES), None)
        if found is not None:
            self._known = (minute, found)
        return found

    def ticks_before(self, stop: int, floor: int) -> Iterator[int]:
        """Yield the due minutes before `stop`, the latest first, down to `floor`."""
        lowest = max(floor, stop - self.MOST)
        return (minute for minute in range(stop - 1, lowest - 1, -1) if self.due(minute))

    def words(self) -> str:
        """Say when it is due."""
        return "by its own test"


class Crontab(Schedule):
    """Five crontab fields in a zone. Cost: a walk skips hours that have no tick.

    Raises: ValueError for a field or zone that is none.
    """

    def __init__(self, minute: str, hour: str, day: str, month: str, day_of_week: str,
                 tz: str) -> None:  # fmt: skip
        self.expression = f"{minute} {hour} {day} {month} {day_of_week}"
        self.tz, self.zone = tz, _zone(tz)
        self.minutes = _matching("minute", minute, (MONDAY + n * MINUTE for n in range(60)))
        self.hours = _matching("hour", hour, (MONDAY.replace(hour=n) for n in range(24)))
        self.days = _matching("day", day, (MONDAY.replace(day=n) for n in range(1, 32)))
        self.months = _matching("month", month, (MONDAY.replace(month=n) for n in range(1, 13)))
        week = (MONDAY + timedelta(days=n) for n in range(7))
        self.weekdays = frozenset(
            at.weekday() for at in week if _field("day_of_week", day_of_week)(at)
        )
        self.every_hour = len(self.hours) == 24
        self._known = None

    def due(self, minute: int) -> bool:
        """Tell whether it is due in that Unix minute."""
        at = at_minute(minute)
        return self._due(at, at.astimezone(self.zone))

    def _hour(self, at: datetime) -> bool:
        return (at.hour in self.hours and at.day in self.days and at.month in self.months
                and at.weekday() in self.weekdays)  # fmt: skip

    def _matches(self, at: datetime) -> bool:
        return at.minute in self.minutes and self._hour(at)

    def _due(self, at: datetime, local: datetime) -> bool:
        if self._matches(local):
            return self.every_hour or local.fold == 0
        if self.every_hour or self.zone is UTC or local.minute % CHANGES_AT:
            return False
        skipped = (at - MINUTE).astimezone(self.zone).replace(tzinfo=None, fold=0) + MINUTE
        while skipped < local.replace(tzinfo=None, fold=0):  # the clock was put forward over these
            if self._matches(skipped):
                return True
            skipped += MINUTE
        return False

    def ticks(self, start: int, stop: int) -> Iterator[int]:
        """Yield the due minutes from `start` up to, not with, `stop`."""
        minute = start
        while minute < stop:
            at = at_minute(minute)
            local = at.astimezone(self.zone)
            if self._due(at, local):
                yield minute
            minute += 1 if self._hour(local) else 60 - local.minute

    def ticks_before(self, stop: int, floor: int) -> Iterator[int]:
        """Yield the due minutes before `stop`, the latest first, down to `floor`."""
        minute = stop - 1
        while minute >= floor:
            at = at_minute(minute)
            local = at.astimezone(self.zone)
            if self._due(at, local):
                yield minute
            minute -= 1 if self._hour(local) else max(1, local.minute)

    def words(self) -> str:
        """Say when it is due, such as `every day at 03:17`."""
        time, dates = self._time_words(), self._date_words()
        if not time.startswith("at "):
            return f"{time} {dates}".strip()
        if not dates:
            return f"every day {time}"
        return f"{dates} {time}" if dates[0].isupper() else f"{time} {dates}"

    def _time_words(self) -> str:
        minutes, hours = sorted(self.minutes), sorted(self.hours)
        if len(minutes) == 1 and not self.every_hour:
            every = _step(hours, 24)
            if every and len(hours) > FEW:
                return f"every {every} hours" + (f" at :{minutes[0]:02d}" if minutes[0] else "")
            if len(hours) <= FEW:
                return "at " + _listed([f"{hour:02d}:{minutes[0]:02d}" for hour in hours])
        often = self._minute_words(minutes)
        return often if self.every_hour else f"{often} {_hours(hours)}"

    def _minute_words(self, minutes: list[int]) -> str:
        every = _step(minutes, 60)
        if every == 1:
            return "every minute"
        if minutes == [0]:
            return "every hour"
        if every:
            return f"every {every} minutes"
        return "every hour at " + _listed([f":{minute:02d}" for minute in minutes])

    def _date_words(self) -> str:
        parts = []
        week = sorted(self.weekdays)
        if len(week) < 7:
            parts.append(
                "on weekdays" if week == [0, 1, 2, 3, 4] else _listed([WEEKDAYS[n] for n in week])
            )
        if len(self.days) < 31:
            days = _listed([str(n) for n in sorted(self.days)])
            parts.append(f"on day{'' if len(self.days) == 1 else 's'} {days} of the month")
        if len(self.months) < 12:
            parts.append("in " + _listed([MONTHS[n - 1] for n in sorted(self.months)]))
        return " ".join(parts)


def crontab(minute: str = "*", hour: str = "*", day: str = "*", month: str = "*",
            day_of_week: str = "*", tz: str = "UTC") -> Crontab:  # fmt: skip
    """Return a crontab with Huey's fields, in UTC or in a zone such as `Europe/Berlin`.

    Raises: ValueError for a field or zone that is none.
    """
    return Crontab(str(minute), str(hour), str(day), str(month), str(day_of_week), tz)


def schedule(check: Any) -> Schedule:
    """Return the schedule of what a periodic task was registered with."""
    return check if isinstance(check, Schedule) else Schedule(check)


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise ValueError(f"{name!r} is no time zone; write one such as Europe/Berlin") from exc


def _field(name: str, value: str) -> Callable[[datetime], bool]:
    check: Callable[[datetime], bool] = huey_crontab(**{name: value}, strict=True)
    return check


def _matching(name: str, value: str, at: Iterable[datetime]) -> frozenset[int]:
    """Return what one field matches, by Huey's own reading of it."""
    check = _field(name, value)
    return frozenset(getattr(one, name) for one in at if check(one))


def _step(values: list[int], size: int) -> int | None:
    """Return n where the values are 0, n, 2n and so on over the whole size."""
    if len(values) < 2 or size % len(values):
        return None
    every = size // len(values)
    return every if values == list(range(0, size, every)) else None


def _hours(hours: list[int]) -> str:
    if hours == list(range(hours[0], hours[-1] + 1)):
        return f"from {hours[0]:02d}:00 to {hours[-1]:02d}:59"
    return "in the hours " + _listed([str(hour) for hour in hours])


def _listed(words: list[str]) -> str:
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} and {words[-1]}"
