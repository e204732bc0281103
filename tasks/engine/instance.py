"""What an instance is made of at one moment: its queues, workers, periodic tasks, figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime

from tasks.engine.operations import Outcome
from tasks.engine.queues import rate_of
from tasks.engine.records import Progress, State

NEARLY = 0.9  # of what a rate lets start, counted by whole minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Why and until when something is paused; `until` None is "until resumed"."""

    at: datetime
    by: str = ""
    reason: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PausedPart:
    """A paused task or tag (`kind`); `parked` counts the waiting jobs met so far and set aside."""

    kind: str
    name: str
    pause: Pause
    parked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """A queue's circuit breaker; `since` and `next_probe_at` are None while it is closed."""

    state: str = "closed"  # closed, open or probing
    since: datetime | None = None
    next_probe_at: datetime | None = None
    reason: str = ""
    faults: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStats:
    """One queue now: options, counts of the seven states, and the last complete minute."""

    name: str
    counts: Mapping[State, int]
    paused: bool = False
    pause: Pause | None = None
    breaker: Breaker | None = None
    oldest_waiting_s: float | None = None
    concurrency: int | None = None
    rate: str | None = None
    retention: Mapping[str, str] = field(default_factory=dict)
    per_minute: Mapping[str, int] = field(default_factory=dict)  # enqueued, completed, failed
    failed_rate: float | None = None  # failed / (completed + failed) of the last hour
    forecast: str | None = None
    live: Sequence[str] = ()  # options that an operator set: concurrency, rate, retention(_failed)
    into: float = 0.0  # jobs a minute that began to wait, over the last whole minutes
    out: float = 0.0  # jobs a minute that began to run
    rated_over: int = 0  # how many minutes these two tell of
    rate_left: float | None = field(default=None, compare=False)  # starts that the rate lets go now

    @property
    def rate_holds(self) -> bool:
        """Tell whether jobs wait for the queue's rate: slots are free, and as many start as it lets."""
        rate = rate_of(self.rate)
        if rate is None or not self.counts[State.WAITING] or self.pause or self.breaker:
            return False
        if self.concurrency and self.counts[State.ACTIVE] >= self.concurrency:
            return False
        if self.rate_left is not None and self.rate_left >= 1 + rate[0] * 1000 / rate[1]:
            return False  # more may start than come in a second: what waits waits for a worker
        ended = self.per_minute.get("completed", 0) + self.per_minute.get("failed", 0)
        return max(self.out, ended) >= NEARLY * rate[0] * 60_000 / rate[1] - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    """A job that a worker holds now; `started_at` None while it is held but not started."""

    id: str
    task: str
    queue: str
    started_at: datetime | None
    progress: Progress = field(default_factory=Progress)

    @property
    def began(self) -> float:
        """Return when it began as a number, to sort by; what is only held comes last."""
        return self.started_at.timestamp() if self.started_at else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker process; `state` is live, quiet, stopping or dead.

    `outdated`: it runs another version than the worker that started last. `gone` says how a dead one
    ended where its parent saw it, `recovered` which jobs were taken back from it and what they became.
    """

    id: str
    host: str
    pid: int
    kind: str
    queues: Sequence[str]
    slots: int
    busy: int
    state: str
    started_at: datetime
    seen_at: datetime
    version: str = ""
    outdated: bool = False
    memory: int = 0  # resident bytes; 0: not known
    jobs: Sequence[RunningJob] = ()
    died_at: datetime | None = None
    gone: str = ""
    recovered: Sequence[Outcome] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One due time of a periodic task.

    `state` is fired (its job lives), held (the job before it still ran), missed (nobody fired it),
    off, or completed, failed or cancelled as its job ended.
    """

    at: datetime
    state: str
    job_id: str | None = None
    run_ms: int | None = None
    ended_at: datetime | None = None
    by_hand: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Periodic:
    """A periodic task: when it is due (`words`, in the zone `tz`), its last thirty ticks, the next.

    `missed` is what becomes of ticks that nobody fired: skip, latest or all. `off` says why no
    tick is fired; `upcoming` is filled for one task alone.
    """

    task: str
    expression: str
    tz: str = "UTC"
    words: str = ""
    missed: str = "latest"
    queue: str = ""
    last_at: datetime | None = None
    last_job: str | None = None
    next_at: datetime | None = None
    off: Pause | None = None
    running: bool = False
    ticks: Sequence[Tick] = ()
    upcoming: Sequence[datetime] = ()

    @property
    def late(self) -> Tick | None:
        """Return the newest tick where nobody fired it and nothing ran since."""
        return self.ticks[-1] if self.ticks and self.ticks[-1].state == "missed" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What one minute of one queue saw (or of all queues, `queue` "")."""

    at: datetime
    queue: str = ""
    enqueued: int = 0
    completed: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """One attempt of a task; `outcome` is completed, failed, cancelled or retried."""

    id: str
    run_ms: int
    outcome: str
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAbout:
    """How a task is registered; `expression` is a periodic task's crontab, else empty."""

    name: str
    queue: str
    signature: str
    doc: str = ""
    retries: int = 0
    retry_delay_s: float = 0.0
    backoff: float | None = None
    priority: int = 0
    timeout_s: float | None = None
    unique: str = ""
    secret: Sequence[str] = ()
    index: Sequence[str] = ()
    expression: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Of a time, in ms, from summed histogram buckets; None below one sample."""

    samples: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """What the Redis server says of itself, and what is wrong for our purpose (`faults`)."""

    version: str
    kind: str  # redis or valkey
    used_memory: int
    max_memory: int
    faults: Sequence[str] = ()
    too_old: bool = False
    refuses: str = ""  # why it takes no change now, as where its disk is full


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the check of all keys found and mended: (when, what, key or id), the newest first."""

    finished_at: datetime | None
    checked: int
    last: Sequence[tuple[datetime, str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything the overview needs, in one consistent answer.

    `served`: the queues that a live worker takes jobs from. `versions`: how many live workers run
    each version, that of the one started last first. `open_errors`: error groups that are open or
    returned; `failing_errors`: those of them that a failed job carries now.
    """

    at: datetime
    queues: Sequence[QueueStats]
    totals: Mapping[State, int]
    workers_live: int
    slots: int
    served: Set[str] = frozenset()
    versions: Mapping[str, int] = field(default_factory=dict)
    last_finished_at: datetime | None = None
    paused_parts: Sequence[PausedPart] = ()
    open_errors: int = 0
    failing_errors: int = 0
