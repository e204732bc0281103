"""The engine's published vocabulary: what reads return and commands answer.

Instants are aware UTC datetimes and end in `_at`; times of waiting and running end in their unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Where a job stands; a job is in exactly one state."""

    SCHEDULED = "scheduled"
    WAITING = "waiting"
    ACTIVE = "active"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


LIVE = (State.SCHEDULED, State.WAITING, State.ACTIVE, State.RETRYING)
FINAL = (State.COMPLETED, State.FAILED, State.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a running job says it is; `percent` is 0 to 100, None when it never said."""

    percent: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Why an attempt failed; `fingerprint` groups equal failures."""

    type: str
    message: str
    traceback: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One execution of a job.

    `outcome` is completed, failed, retrying, deferred, cancelled, skipped, lost (its worker died)
    or running; `run` counts from 1 and goes up with each retry by hand.
    """

    number: int
    run: int
    started_at: datetime
    finished_at: datetime | None
    worker: str
    outcome: str
    wait_ms: int | None = None
    run_ms: int | None = None
    error: JobError | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a job's log: what the job or an operator said, and when."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One call of a task, as the dashboard and the API show it.

    `args` and `kwargs` have secret values replaced by "••••" (MASK). `reason` says why a job was
    cancelled or skipped; `why_waiting` what a live job waits for (None in lists: ask reads.job or reads.explained).
    `group` is the error group of a job that rests after a failure. `then_id` and `else_id` name the
    jobs that follow when it completes or fails, whether or not they are there yet.
    """

    id: str
    queue: str
    task: str
    state: State
    priority: int
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    tags: Sequence[str] = ()
    progress: Progress = field(default_factory=Progress)
    attempts_made: int = 0
    max_attempts: int = 1
    run: int = 1
    created_at: datetime | None = None
    changed_at: datetime | None = None
    scheduled_for: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    wait_ms: int | None = None
    run_ms: int | None = None
    result: Any = None
    error: JobError | None = None
    attempts: Sequence[Attempt] = ()
    unique_key: str | None = None
    batch_id: str | None = None
    enqueued_by: str | None = None
    worker: str | None = None
    why_waiting: str | None = None
    deferred_reason: str | None = None
    reason: str | None = None
    cancel_requested_at: datetime | None = None
    recovered: int = 0
    kept_until: datetime | None = None
    group: str | None = None
    then_id: str | None = None
    else_id: str | None = None


@dataclass(frozen=True, slots=True)
class Children:
    """Jobs that a job queued, the earliest first; `searched` jobs were looked at for them.

    `ended` False: the search stopped there, and more of them may have changed later than those.
    """

    items: Sequence[Job] = ()
    searched: int = 0
    ended: bool = True
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a moment stands among the jobs that match, the newest change first.

    `here`: the job that changed then, None once it has changed again. `number` counts from 1 and
    `total` all that match; each is None where the budget of a search did not do to count them. A
    neighbour that was not met within it is None, and its cursor says where to go on.
    """

    here: Job | None = None
    newer: Job | None = None
    older: Job | None = None
    number: int | None = None
    total: int | None = None
    newer_cursor: str | None = None
    older_cursor: str | None = None


MASK = "••••"


@dataclass(frozen=True, slots=True)
class Term:
    """One more condition of a filter: `field` is any of `values`, or none of them when `negated`.

    `field` is queue, state, task, tag, group, batch, worker (a part of its name), attempt (2, >2, <2),
    recovered (yes, no), by (the job that queued it), error or text (a part), to, or args.<name>[.<name>…]; `*` in a value of the
    last two stands for any characters.
    """

    field: str
    values: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs; every field and every term narrows, None does not.

    `task` is a task name, whole or after a dot; `text` and `error` are substrings, without regard to
    case, of arguments, id and error; `since` and `until` bound the time of the last change.
    """

    queue: str | None = None
    state: State | None = None
    task: str | None = None
    text: str | None = None
    error: str | None = None
    tag: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    terms: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """How many jobs match, and when they changed: bars of equal width, oldest first.

    `exact` False: the count is a lower bound, got by looking at `searched` of `of` jobs; then the
    bars show what was found so far. `bars` is empty where nothing can be counted ahead.
    """

    count: int
    exact: bool
    searched: int = 0
    of: int = 0
    start: datetime | None = None
    step_s: float = 0.0
    bars: Sequence[int] = ()
    failed: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of jobs.

    `next` and `previous` are cursors or None; `total` is exact or None where it was not counted;
    `searched` of `of` says how far a bounded search got.
    """

    items: Sequence[Job]
    next: str | None = None
    previous: str | None = None
    total: int | None = None
    searched: int = 0
    of: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroup:
    """Equal failures: same class, same message without figures, same innermost own frame.

    `title` is the first message as it came, secrets masked; `pattern` what all have in common.
    `state` is open, muted, resolved or returned (failed again after it was resolved, `away_s` later).
    `times` counts failed attempts; `jobs` how many jobs carry the group now, by state (those that run
    again or are completed no longer do). `hours` and `minutes` are failures, the current one last.
    """

    id: str
    type: str
    title: str
    pattern: str
    place: str
    state: str
    first_at: datetime
    last_at: datetime
    times: int
    jobs: Mapping[State, int]
    tasks: Mapping[str, int]
    last_job: str
    since_at: datetime | None = None
    muted_until: datetime | None = None
    away_s: float | None = None
    by: str = ""
    note: str = ""
    noted_at: datetime | None = None
    noted_by: str = ""
    hours: Sequence[int] = ()
    minutes: Sequence[int] = ()

    @property
    def task(self) -> str:
        """Name the task that failed most often."""
        return max(self.tasks, key=lambda name: self.tasks[name], default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroups:
    """Error groups, the newest failure first; `counts` are of all groups by state."""

    at: datetime
    items: Sequence[ErrorGroup]
    counts: Mapping[str, int]


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
class Batch:
    """Jobs added together; `counts` says how many members stand in each state.

    `sealed` is False while jobs are being added; `closed_at`: when a worker closed it, since who
    added them was not heard of for 15 minutes. While it is not sealed `total` may still grow.
    `callback_job` is set when every member had ended; a member retried later changes only the counts.
    """

    id: str
    name: str
    total: int
    counts: Mapping[State, int]
    created_at: datetime
    by: str = ""
    sealed: bool = True
    closed_at: datetime | None = None
    callback: str = ""
    callback_job: str | None = None
    finished_at: datetime | None = None

    @property
    def ended(self) -> int:
        """Count the members that have ended."""
        return sum(self.counts[state] for state in FINAL)

    @property
    def progress(self) -> int:
        """Per cent of the members that have ended."""
        return min(100, self.ended * 100 // self.total) if self.total else 100


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
    each version, that of the one started last first.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operator's bulk action: a frozen query or ids, done in chunks, with a count each.

    `state` is running, paused, done, stopped or failed; `matched` is a lower bound unless `exact`.
    `skipped` were not in a state for it, `failed` could not be done; `changed` matched when frozen
    and were something else when their turn came. `ends` counts how jobs that it made run ended;
    `trying` says that the canary is under way, `why` for what it paused itself. Of a search `matched`
    are the jobs to look at, `done` those it found and `skipped` the others.
    """

    id: str
    kind: str
    state: str
    matched: int
    done: int
    skipped: int
    failed: int
    by: str
    reason: str
    query: str
    created_at: datetime
    finished_at: datetime | None = None
    exact: bool = True
    changed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    pace: float | None = None
    canary: int = 0
    share: int = 100
    trying: bool = False
    why: str = ""
    ends: Mapping[str, int] = field(default_factory=dict)
    stepped_at: datetime | None = None

    @property
    def seen(self) -> int:
        """How many jobs have an outcome."""
        return self.done + self.skipped + self.failed

    @property
    def progress(self) -> int:
        """Per cent of the matched jobs that have an outcome."""
        if self.state == "done" or not self.matched:
            return 100
        return min(99, self.seen * 100 // self.matched)

    def left_s(self) -> float | None:
        """Return how long it will take still, by its pace or by how it went so far; None: unknown."""
        left = max(0, self.matched - self.seen)
        if self.state != "running" or not self.exact or self.trying:
            return None
        went_s = (self.stepped_at - self.created_at).total_seconds() if self.stepped_at else 0.0
        speed = self.pace or (self.seen / went_s if went_s > 0 else 0.0)
        return left / speed if speed else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command did to one job; `state` is the job's state now, None when it is unknown.

    Of an operation also `at`, and `failed`: it could not be done, or the job failed again after.
    """

    id: str
    done: bool
    state: State | None = None
    detail: str = ""
    at: datetime | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """An operation did something to a job."""

    operation: str
    at: datetime
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What an operation would act on, and nothing done yet.

    `count` is a lower bound unless `exact`: then `searched` of `of` jobs were looked at. `applies`
    of them are in a state that the act changes; `by_state` is the mix. `next` leads to other samples.
    """

    count: int
    exact: bool
    applies: int
    by_state: Mapping[State, int]
    samples: Sequence[Job]
    searched: int
    of: int
    took_ms: float
    as_of: datetime
    next: str | None = None
