"""Questions about figures over time: ranges, percentiles, tasks, forecasts. A part of Reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tasks.engine import rows
from tasks.engine.figures import metrics
from tasks.engine.figures.buckets import HOUR, MINUTE, TENS, Buckets, Level, level_for
from tasks.engine.figures.chosen import ALL_APART, EVERYTHING, Choice, Chosen, choice
from tasks.engine.figures.known import Known
from tasks.engine.figures.metrics import Counts, Figures, Sums
from tasks.engine.instance import Minute, Percentiles, TaskAbout, TaskRun
from tasks.engine.records import Event, State

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey
    from tasks.engine.storage import JobStorage

RATE_MINUTES = 5
EVENTS_SHOWN = 200
MOST_COUNTS, WEIGHED = 75_000, 10
OUTCOMES = {"c": "completed", "f": "failed", "x": "cancelled", "r": "retried"}


@dataclass(frozen=True, slots=True)
class Range:
    """A span of time that a chart may show; `step_s` is what one point of it covers."""

    name: str
    span_s: int
    step_s: int


RANGES = {
    found.name: found
    for found in (
        Range("1h", 3600, 60), Range("24h", 86400, 1800), Range("7d", 7 * 86400, 10800),
        Range("30d", 30 * 86400, 43200), Range("90d", 90 * 86400, 86400),
    )
}  # fmt: skip
STEPS = {found.span_s: found.step_s for found in RANGES.values()}
WEEK_S = 7 * 86400


Told = tuple[Sums, Mapping[str, Minute]]  # a minute: its sums, and what each queue asked for saw


class Measuring:
    """The engine's figures over time."""

    huey: JobHuey
    storage: JobStorage
    buckets: Buckets
    chosen: Chosen
    known: Known
    _told: Mapping[int, Told] = MappingProxyType({})
    _rated: tuple[Mapping[int, Sums], Mapping[str, Rate]] = ({}, {})

    def now_ms(self) -> int:
        """Return Redis's clock, Unix milliseconds."""
        raise NotImplementedError

    # Ranges

    def metrics(self, range_: str = "1h", *, queue: str | None = None, task: str | None = None,
                queues: Iterable[str] | None = None, now_ms: int = 0) -> list[Figures]:  # fmt: skip
        """Return a range's points, oldest first; the last one goes on: its `span_s` is until now.

        Args:
            range_: 1h, 24h, 7d, 30d or 90d.
            queue, task, queues: whose figures; none of them is everything.
        Raises: KeyError for another range.
        """
        return self.metrics_of(range_, [choice(queue, task, queues)], now_ms)[0]

    def metrics_of(self, range_: str, choices: Sequence[Choice], now_ms: int = 0) -> list[list[Figures]]:  # fmt: skip
        """Return the points of a range for each choice, as `metrics` does for one; all of one moment."""
        wanted = RANGES[range_]
        at = now_ms or self.now_ms()
        level, last = level_for(wanted.span_s, 0), at // 1000 // wanted.step_s
        numbers = range(last - wanted.span_s // wanted.step_s + 1, last + 1)
        over_s = at // 1000 - last * wanted.step_s + 1  # of the last point, which goes on
        read = self.chosen.points(level, wanted.step_s // level.step_s, numbers, at, choices)
        starts = [(n, _at(n * wanted.step_s), wanted.step_s if n < last else over_s) for n in read]
        return [
            list(self.known.figures((range_, asked), [
                (n, (start, span_s, [*read[n][place].values()])) for n, start, span_s in starts
            ]).values())
            for place, asked in enumerate(choices)
        ]  # fmt: skip

    def measured(self, span_s: int, *, queue: str | None = None, task: str | None = None,
                 queues: Iterable[str] | None = None, back_s: int = 0, now_ms: int = 0,
                 without: Iterable[str] = ()) -> Figures:  # fmt: skip
        """Return the figures of the last `span_s` seconds, or of as long a time `back_s` ago.

        It ends now, in a point that goes on, and begins with a whole one, so it is up to one short.
        `without` names tasks that are left out.
        """
        return self.measured_of(span_s, [choice(queue, task, queues, without)], back_s, now_ms)[0]

    def measured_of(self, span_s: int, choices: Sequence[Choice], back_s: int = 0,
                    now_ms: int = 0) -> list[Figures]:  # fmt: skip
        """Return the figures of each choice, as `measured` does for one; all of one moment."""
        start, each = self._summed(span_s, back_s, now_ms, choices)
        return [metrics.figures(start, span_s, sums.values()) for sums in each]

    def kept(self, span_s: int, choices: Sequence[Choice] = (), now_ms: int = 0) -> list[Span]:
        """Return what was counted in a time up to now, oldest first, the newest the finest.

        Minutes and tens of minutes go as far back as MOST_COUNTS lets them; the rest is by the hour.
        Cost: each span is read once a process for the same choices.
        """
        at = now_ms or self.now_ms()
        start, end = at // 1000 - span_s, at // 1000 + 1
        found: list[Span] = []
        for level, above in ((MINUTE, TENS), (TENS, HOUR), (HOUR, HOUR)):
            first = end - self._reach_s(level, at)
            whole = level is HOUR or first <= start
            cut = start if whole else -(-first // above.step_s) * above.step_s
            spans = range(cut // level.step_s, -(-end // level.step_s))
            read = self.chosen.points(level, 1, spans, at, [EVERYTHING, *choices])
            found[:0] = [
                Span(_at(n * level.step_s), level.step_s, any(every.values()), each)
                for n, (every, *each) in read.items()
            ]
            if whole:
                break
            end = cut
        return found

    def _reach_s(self, level: Level, at: int) -> int:
        """Return how far back spans of a level are read: so far that they hold MOST_COUNTS."""
        last = at // 1000 // level.step_s
        newest = self.buckets.read(level, range(last - WEIGHED, last), at)
        counts = sum(len(one) for sums in newest.values() for one in sums.values())
        many = max(2 * WEIGHED, MOST_COUNTS * WEIGHED // max(1, counts))
        return min(level.kept_s, many * level.step_s)

    def _summed(self, span_s: int, back_s: int, now_ms: int,
                choices: Sequence[Choice]) -> tuple[datetime, list[Sums]]:  # fmt: skip
        at = now_ms or self.now_ms()
        level: Level = level_for(span_s, back_s)
        step_s = max(
            level.step_s, STEPS.get(span_s, 0)
        )  # a range's points are read together already
        last = (at // 1000 - back_s) // step_s
        numbers = range(last - span_s // step_s + 1, last + 1)
        each = self.chosen.total(level, step_s // level.step_s, numbers, at, choices)
        return _at(numbers.start * step_s), each

    def by_task(self, span_s: int = 86400, now_ms: int = 0) -> dict[tuple[str, str], Figures]:
        """Return {(queue, task): figures} of the last `span_s` seconds."""
        start, (sums,) = self._summed(span_s, 0, now_ms, [ALL_APART])
        named = [(name, (start, span_s, [counts])) for name, counts in sums.items() if name[1]]
        return self.known.figures(("tasks", span_s), named)

    def totals(self, now_ms: int = 0) -> dict[tuple[str, str], Figures]:
        """Return {(queue, task): figures} since the beginning; no counter ever goes down."""
        at = now_ms or self.now_ms()
        found = self.buckets.totals(at).items()
        return {name: metrics.figures(rows.EPOCH, 0, [counts]) for name, counts in found}

    # Minutes

    def minutes(self, queue: str | None = None, minutes: int = 60) -> list[Minute]:
        """Return the counters of the last minutes, oldest first, the current one last."""
        return self.minutes_by_queue(minutes).get(queue or "", [])

    def minutes_by_queue(self, minutes: int = 60, queues: Iterable[str] | None = None,
                         now_ms: int = 0) -> dict[str, list[Minute]]:  # fmt: skip
        """Return {queue: minutes} of every queue, or of these, and of all together under ""."""
        at = now_ms or self.now_ms()
        last = at // 60000
        spans = range(last - max(1, min(2880, minutes)) + 1, last + 1)
        read = self.buckets.read(MINUTE, spans, at)
        names = ("", *(self.names() if queues is None else queues))
        self._told = told = {stamp: self._tell(stamp, sums, names) for stamp, sums in read.items()}
        rows_ = [told[stamp][1] for stamp in spans]
        return {name: [row[name] for row in rows_] for name in names}

    def _tell(self, stamp: int, sums: Sums, names: Sequence[str]) -> Told:
        """Return a minute as it was told before: one that is over has the same sums each time."""
        told = self._told.get(stamp)
        known = told[1] if told and told[0] is sums else {}
        missing = [name for name in names if name not in known]
        return sums, {**known, **_minutes(stamp, sums, missing)} if missing else known

    def names(self) -> list[str]:
        """Return every queue."""
        raise NotImplementedError

    def wait_percentiles(
        self, queues: Iterable[str] | None = None, minutes: int = 60
    ) -> Percentiles:
        """Return how long jobs waited, ready to started, from summed histograms."""
        return self.measured(minutes * 60, queues=queues).wait

    def run_percentiles(self, queue: str | None = None, minutes: int = 60) -> Percentiles:
        """Return how long attempts ran."""
        return self.measured(minutes * 60, queue=queue).run

    def processing_percentiles(
        self, queues: Iterable[str] | None = None, minutes: int = 60
    ) -> Percentiles:
        """Return ready (due, else queued) to finished, of jobs that ended."""
        return self.measured(minutes * 60, queues=queues).whole

    def observed(self, what: str, minutes: int = 60) -> tuple[int, float] | None:
        """Return (samples, mean ms) of a figure of the web processes; None below one sample."""
        found = self.measured(minutes * 60, queue="")
        mean = found.mean_ms(what)
        return None if mean is None else (found.observed[f"{what}:n"], mean)

    def rates(self, now_ms: int) -> Mapping[str, Rate]:
        """Return each queue's jobs a minute, over up to five whole minutes; told once for these."""
        last = now_ms // 60000
        read = self.buckets.read(MINUTE, range(last - RATE_MINUTES, last), now_ms)
        rated, rates = self._rated
        if rated != read:  # a minute that has just ended is read anew, and is mostly the same
            self._rated = _, rates = read, self._rates(read)
        return rates

    def _rates(self, read: Mapping[int, Sums]) -> dict[str, Rate]:
        last = max(read) + 1
        busy = [stamp for stamp, sums in read.items() if any(queue for queue, _ in sums)]
        whole = max(1, last - busy[0]) if busy else 1
        sums: Sums = {}
        for part in read.values():
            metrics.merge(sums, part)
        newest = _grouped(read[last - 1])
        return {
            queue: Rate(metrics.figures(_at((last - 1) * 60), 60, newest.get(queue, ())),
                        metrics.figures(_at(busy[0] * 60), whole * 60, counts), whole)
            for queue, counts in _grouped(sums).items()
        }  # fmt: skip

    # Tasks, events

    def task_mix(self, queue: str | None = None) -> dict[tuple[str, str], dict[State, int]]:
        """Return {(queue, task): {state: jobs}} of what is there now."""
        reply = self.storage.call("HGETALL", self.storage.keys.one("counts"))
        found: dict[tuple[str, str], dict[State, int]] = {}
        for name, n in rows.flat(reply).items():
            of, _, rest = name.partition("|")
            task, _, state = rest.rpartition("|")
            if queue is None or of == queue:
                found.setdefault((of, task), {})[State(state)] = int(n)
        return found

    def task_queues(self) -> set[tuple[str, str]]:
        """Return (queue, task) of every registered task."""
        kinds = self.huey._registry._registry.items()
        return {
            (getattr(kind, "queue", None) or self.huey.default_queue, name) for name, kind in kinds
        }

    def about(self, task: str) -> TaskAbout | None:
        """Return how a task is registered; None where this process does not know it."""
        kind: Any = self.huey._registry._registry.get(task)
        if kind is None:
            return None
        signature = getattr(kind, "job_signature", None)
        return TaskAbout(
            name=task, queue=getattr(kind, "queue", None) or self.huey.default_queue,
            signature=str(signature) if signature else "()", doc=(kind.__doc__ or "").strip().partition("\n")[0],
            retries=_setting(kind, "retries") or 0, retry_delay_s=float(_setting(kind, "retry_delay") or 0),
            backoff=_setting(kind, "retry_backoff"), priority=_setting(kind, "priority") or 0,
            timeout_s=_setting(kind, "timeout"), unique=getattr(kind, "unique", None) or "",
            secret=tuple(getattr(kind, "secret", ())), index=tuple(getattr(kind, "index", ())),
            expression=getattr(kind, "expression", "") or "",
        )  # fmt: skip

    def task_runs(self, task: str) -> list[TaskRun]:
        """Return a task's last 60 runs, oldest first."""
        lines = self.storage.call("LRANGE", self.storage.keys.of("runs", task), 0, -1)
        return [_run(line) for line in lines]

    def last_runs(self, tasks: Sequence[str]) -> dict[str, TaskRun | None]:
        """Return each task's last run; one round trip."""
        keys = self.storage.keys
        reply = self.storage.pipeline([("LINDEX", keys.of("runs", task), -1) for task in tasks])
        return {task: _run(line) if line else None for task, line in zip(tasks, reply, strict=True)}

    def events(self, since: datetime) -> list[Event]:
        """Return the versions of workers that began since then, oldest first."""
        low = round(since.timestamp() * 1000)
        key = self.storage.keys.one("events")
        found = self.storage.call("ZRANGEBYSCORE", key, low, "+inf", "LIMIT", 0, EVENTS_SHOWN)
        parted = (member.decode().partition("\t") for member in found)
        return [Event(at=rows.micros(int(ms) * 1000), text=version) for ms, _, version in parted]


@dataclass(frozen=True, slots=True)
class Span:
    """What each choice saw from `at` on for `step_s` seconds; `is_known`: anything was counted then."""

    at: datetime
    step_s: int
    is_known: bool
    each: Sequence[Sums]


@dataclass(frozen=True, slots=True)
class Rate:
    """A queue's last whole minute, and its last few together."""

    newest: Figures
    several: Figures
    minutes: int

    @property
    def into(self) -> float:
        """Jobs a minute that began to wait."""
        return self.several.ready / self.minutes

    @property
    def out(self) -> float:
        """Jobs a minute that began to run."""
        return self.several.taken / self.minutes


def _setting(kind: Any, name: str) -> Any:
    """Return a setting of Huey's own, which a task class keeps as its default."""
    return getattr(kind, f"default_{name}", None)


def _run(line: bytes) -> TaskRun:
    job_id, ran_ms, letter, ended = line.decode().split("\t")
    return TaskRun(id=job_id, run_ms=int(ran_ms), outcome=OUTCOMES[letter],
                   finished_at=rows.micros(int(ended) * 1000))  # fmt: skip


def _at(seconds: int) -> datetime:
    return rows.EPOCH + timedelta(seconds=seconds)


def _grouped(sums: Sums) -> dict[str, list[Counts]]:
    found: dict[str, list[Counts]] = {}
    for (queue, _), counts in sums.items():
        if queue:
            found.setdefault(queue, []).append(counts)
    return found


def _minutes(stamp: int, sums: Sums, names: Sequence[str]) -> dict[str, Minute]:
    """Return the counters of one minute for each name; of all together for ""."""
    grouped, at = _grouped(sums), _at(stamp * 60)
    grouped[""] = [counts for found in grouped.values() for counts in found]
    return {name: _minute(name, at, grouped.get(name, ())) for name in names}


def _minute(name: str, at: datetime, counts: Sequence[Counts]) -> Minute:
    if not counts:
        return Minute(at=at, queue=name)
    seen = metrics.figures(at, 60, counts)
    return Minute(
        at=at, queue=name, enqueued=seen.enqueued, completed=seen.completed,
        failed=seen.failed, retried=seen.retried, cancelled=seen.cancelled,
    )  # fmt: skip
