"""MEASURES: everything a rule may watch, one row each, with how it is looked at now and in the past."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Protocol

from tasks import kpis
from tasks.engine import JobHuey, State
from tasks.engine.figures.metrics import Figures
from tasks.engine.instance import Periodic, QueueStats, ServerState, Snapshot, Worker
from tasks.engine.operating.grouping import GROUP_STATES
from tasks.engine.records import ErrorGroup
from tasks.spelling import duration, number, share

# What carries our own notices: its failures are shown on the page and fire no rule, else a notice
# that cannot be sent would be the reason for the next one.
OWN = frozenset({
    "tasks.emails.deliver_alert", "tasks.alerts.sending.deliver_webhook",
    "tasks.alerts.evaluation.evaluate",
})  # fmt: skip


class Asked(Protocol):
    """What of a rule says which figure is meant."""

    @property
    def target(self) -> str:
        """Of what: empty for everything, queue:email, task:tasks.emails.deliver_email."""

    @property
    def over_minutes(self) -> int:
        """Over how long."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A figure and the samples it rests on; `note` says why there is no value."""

    value: float | None
    samples: int = 0
    note: str = ""


class Now:
    """What one round of looks shares: each question is asked once. Raises Unreachable."""

    def __init__(self, huey: JobHuey) -> None:
        self.huey = huey
        self.ms = huey.reads.now_ms()
        self._kpis: dict[int, dict[str, kpis.Kpi]] = {}

    @property
    def at(self) -> datetime:
        """The moment of the look, by Redis's clock."""
        return datetime.fromtimestamp(self.ms / 1000, UTC)

    @cached_property
    def snapshot(self) -> Snapshot:
        """Every queue now."""
        return self.huey.reads.snapshot()

    @cached_property
    def workers(self) -> Sequence[Worker]:
        """The worker processes that take jobs."""
        return [worker for worker in self.huey.reads.workers() if worker.state == "live"]

    @cached_property
    def periodic(self) -> Sequence[Periodic]:
        """The periodic tasks."""
        return self.huey.reads.periodic()

    @cached_property
    def groups(self) -> Sequence[ErrorGroup]:
        """The newest error groups that are not muted, but for those of our own notices."""
        states = [state for state in GROUP_STATES if state != "muted"]
        found = self.huey.reads.error_groups(states, 1000).items
        return [group for group in found if not set(group.tasks) <= OWN]

    @cached_property
    def server(self) -> ServerState:
        """What Redis says of itself."""
        return self.huey.reads.server()

    def figures(self, asked: Asked) -> Figures:
        """Return the figures of a rule's queue or task over its minutes."""
        kind, _, name = asked.target.partition(":")
        return self.huey.reads.measured(
            asked.over_minutes * 60, queue=name if kind == "queue" else None,
            task=name if kind == "task" else None, now_ms=self.ms, without=OWN,
        )  # fmt: skip

    def kpi(self, asked: Asked) -> kpis.Kpi:
        """Return the key figure that a rule names, over its own hours."""
        definition = kpis.BY_NAME[asked.target.partition(":")[2]]
        if definition.hours not in self._kpis:
            self._kpis[definition.hours] = kpis.over(
                self.huey, definition.hours * 3600, without=OWN
            )
        return self._kpis[definition.hours][definition.name]

    def queues(self, asked: Asked) -> list[QueueStats]:
        """Return the queue that a rule names, or all of them."""
        name = asked.target.partition(":")[2]
        return [queue for queue in self.snapshot.queues if name in ("", queue.name)]


Look = Callable[[Now, Asked], Seen]
Point = Callable[[Figures], Seen]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One thing that a rule may watch.

    Args:
        unit: jobs, s (seconds), ms, % (a share of 1) or what is counted; of a key figure its own.
        scopes: what it may be asked of: everything, queue, task, kpi.
        over_minutes: over how long it is taken by default; 0: it is a figure of the moment.
        comparison, threshold, for_minutes, least_samples: what a new rule begins with.
        samples: what it rests on; empty: it needs none.
        look: how it is taken now. point: how one span of kept figures answers it; None: no past is
            kept of it. split: of everything it is the sum over the queues, each looked at alone.
    """

    name: str
    label: str
    unit: str
    group: str
    meaning: str
    scopes: tuple[str, ...] = ("everything", "queue", "task")
    over_minutes: int = 0
    comparison: str = "over"
    threshold: float = 0
    for_minutes: int = 0
    least_samples: int = 0
    samples: str = ""
    look: Look | None = None
    point: Point | None = None
    split: bool = False

    @property
    def windowed(self) -> bool:
        """Tell whether it is taken over some minutes."""
        return self.over_minutes > 0


# The figures of a span


def _failed_share(seen: Figures) -> Seen:
    return Seen(seen.failed_share, seen.finished, "" if seen.finished else "nothing finished")


def _failed(seen: Figures) -> Seen:
    return Seen(seen.failed, seen.finished)


def _completed(seen: Figures) -> Seen:
    return Seen(seen.completed, seen.finished)


def _p95(what: str) -> Point:
    def point(seen: Figures) -> Seen:
        found = getattr(seen, what)
        value = None if found.p95_ms is None else found.p95_ms / 1000
        return Seen(value, found.samples, "" if found.samples else "nothing ran")

    return point


def _depth(seen: Figures) -> Seen:
    return Seen(seen.depth, note="" if seen.depth is not None else "nobody looked")


def _oldest(seen: Figures) -> Seen:
    return Seen(seen.oldest_s, note="" if seen.oldest_s is not None else "nobody looked")


def _stalled(seen: Figures) -> Seen:
    old = (seen.oldest_s or 0) >= seen.span_s
    return Seen((seen.depth or 0) if old and not seen.taken else 0)


def look(measure: Measure, now: Now, asked: Asked) -> Seen:
    """Take a measure now. Raises Unreachable."""
    if measure.look is not None:
        return measure.look(now, asked)
    assert measure.point is not None  # noqa: S101 - a row has one or the other: a test holds it
    return measure.point(now.figures(asked))


# The state of the moment


def _waiting_now(now: Now, asked: Asked) -> Seen:
    return Seen(sum(queue.counts[State.WAITING] for queue in now.queues(asked)))


def _oldest_now(now: Now, asked: Asked) -> Seen:
    return Seen(max((queue.oldest_waiting_s or 0 for queue in now.queues(asked)), default=0))


@dataclass(frozen=True, slots=True)
class _Of:
    """A queue to ask the figures of."""

    target: str
    over_minutes: int


def _stalled_now(now: Now, asked: Asked) -> Seen:
    """Return the waiting jobs of the queues from which none was taken; a pause is no stall."""
    found = 0
    for queue in now.queues(asked):
        waiting = queue.counts[State.WAITING]
        if waiting and not queue.paused:
            seen = now.figures(_Of(f"queue:{queue.name}", asked.over_minutes))
            old = (queue.oldest_waiting_s or 0) >= asked.over_minutes * 60
            found += 0 if seen.taken or not old else waiting
    return Seen(found)


def _unserved_now(now: Now, asked: Asked) -> Seen:
    served = now.snapshot.served
    return Seen(sum(queue.name not in served for queue in now.queues(asked)))


def _workers_now(now: Now, asked: Asked) -> Seen:
    return Seen(len(now.workers))


def _breakers_now(now: Now, asked: Asked) -> Seen:
    return Seen(sum(queue.breaker is not None for queue in now.queues(asked)))


def _missed_now(now: Now, asked: Asked) -> Seen:
    name = asked.target.partition(":")[2]
    return Seen(sum(bool(task.late) for task in now.periodic if name in ("", task.task)))


def _memory_now(now: Now, asked: Asked) -> Seen:
    if not now.server.max_memory:
        return Seen(None, note="Redis has no maxmemory")
    return Seen(now.server.used_memory / now.server.max_memory)


def _kpi_now(now: Now, asked: Asked) -> Seen:
    found = now.kpi(asked)
    return Seen(
        found.value, found.samples, "" if found.value is not None else "nothing was measured"
    )


def new_groups(groups: Iterable[ErrorGroup], task: str = "") -> list[datetime]:
    """Return when error groups came up for the first time, or came back."""
    found: list[datetime] = []
    for group in groups:
        if task in ("", *group.tasks):
            found.append(group.first_at)
            if group.state == "returned" and group.since_at:
                found.append(group.since_at)
    return sorted(found)


def _new_errors_now(now: Now, asked: Asked) -> Seen:
    since = now.at - timedelta(minutes=asked.over_minutes)
    times = new_groups(now.groups, asked.target.partition(":")[2])
    return Seen(sum(at > since for at in times))


QUEUES = ("everything", "queue")
MEASURES: tuple[Measure, ...] = (
    Measure(name="failed_share", label="Failed share", unit="%", group="Failures", samples="finished jobs",
            meaning="Failed jobs of all that completed or failed", over_minutes=15, threshold=0.05,
            least_samples=20, point=_failed_share),
    Measure(name="failed_jobs", label="Failed jobs", unit="jobs", group="Failures", over_minutes=15, threshold=10,
            meaning="Jobs that ended failed, after all their attempts", point=_failed),
    Measure(name="new_errors", label="New error groups", unit="groups", group="Failures", over_minutes=15,
            scopes=("everything", "task"), meaning="Error groups seen for the first time, or back after they were resolved",
            look=_new_errors_now),
    Measure(name="waiting", label="Waiting jobs", unit="jobs", group="Waiting", scopes=QUEUES, threshold=1000,
            for_minutes=5, meaning="Jobs that are ready and wait for a slot", look=_waiting_now, point=_depth),
    Measure(name="oldest", label="Oldest waiting job", unit="s", group="Waiting", scopes=QUEUES, threshold=30,
            for_minutes=5, meaning="How long the oldest ready job has waited", look=_oldest_now, point=_oldest),
    Measure(name="wait_p95", label="Wait, p95", unit="s", group="Waiting", over_minutes=15, threshold=30,
            least_samples=20, samples="jobs taken", meaning="Ready to started, of 95 in 100 jobs", point=_p95("wait")),
    Measure(name="run_p95", label="Run, p95", unit="s", group="Waiting", over_minutes=15, threshold=60,
            least_samples=20, samples="attempts", meaning="Started to ended, of 95 in 100 attempts", point=_p95("run")),
    Measure(name="completed", label="Completed jobs", unit="jobs", group="Standstill", over_minutes=60,
            comparison="under", threshold=1, meaning="Jobs that ended well: under 1 says that something stopped",
            point=_completed),
    Measure(name="stalled", label="Jobs that wait while none starts", unit="jobs", group="Standstill", scopes=QUEUES,
            over_minutes=10, meaning="Waiting jobs of queues from which no job was taken; a paused queue does not count",
            look=_stalled_now, point=_stalled, split=True),
    Measure(name="missed", label="Periodic tasks with a missed tick", unit="tasks", group="Standstill",
            scopes=("everything", "task"), meaning="Due, and nobody fired it", look=_missed_now),
    Measure(name="unserved", label="Queues without a worker", unit="queues", group="Workers and outside", scopes=QUEUES,
            for_minutes=2, meaning="Queues that no live worker serves", look=_unserved_now),
    Measure(name="workers", label="Live workers", unit="workers", group="Workers and outside", scopes=("everything",),
            comparison="under", threshold=2, for_minutes=2, look=_workers_now,
            meaning="Worker processes that take jobs; with none alive, no rule is looked at"),
    Measure(name="breaker", label="Queues held up by their breaker", unit="queues", group="Workers and outside",
            scopes=QUEUES, for_minutes=5, meaning="What they need outside cannot be reached, such as SMTP",
            look=_breakers_now),
    Measure(name="memory", label="Memory of Redis", unit="%", group="Workers and outside", scopes=("everything",),
            threshold=0.8, for_minutes=5, meaning="Used of maxmemory", look=_memory_now),
    Measure(name="kpi", label="Key figure", unit="", group="Key figures", scopes=("kpi",), for_minutes=10,
            least_samples=kpis.LEAST_SAMPLES, samples="samples", meaning="One of the five key figures is off its target",
            look=_kpi_now),
)  # fmt: skip
BY_NAME = {row.name: row for row in MEASURES}


def definition(measure: str, target: str) -> kpis.Definition | None:
    """Return the key figure that a rule of the measure `kpi` names."""
    return kpis.BY_NAME.get(target.partition(":")[2]) if measure == "kpi" else None


def unit_of(measure: str, target: str) -> str:
    """Return the unit of what a rule looks at."""
    found = definition(measure, target)
    return found.unit if found else BY_NAME[measure].unit


def begins_with(measure: str, target: str) -> dict[str, Any]:
    """Return what a new rule begins with: of a key figure its target."""
    row, found = BY_NAME[measure], definition(measure, target)
    names = ("comparison", "threshold", "for_minutes", "least_samples")
    values = {name: getattr(row, name) for name in names}
    if found is not None:
        off = "under" if found.above else "over"
        values |= {"comparison": off, "threshold": found.target or 0.0}
    return values


def said(value: float | None, unit: str) -> str:
    """Return a value of a measure with its unit: 12 %, 3 min 18 s, 240 jobs."""
    if value is None:
        return "no value"
    if unit == "%":
        return share(value)
    if unit == "s":
        return duration(value)
    one = abs(value - 1) < 1e-9
    return f"{number(value)} {unit.removesuffix('s') if one else unit}".rstrip()
