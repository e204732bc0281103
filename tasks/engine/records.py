"""A job and what jobs are found and gathered by: searches, pages, batches, error groups.

Instants are aware UTC datetimes and end in `_at`; times of waiting and running end in their unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    __hash__ = str.__hash__  # Enum's own is written in Python: each look into a dict would pay


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
    cancelled or skipped; `why_waiting` what a live job waits for, of a running one whose worker is silent what becomes of it (None in lists: ask reads.job or reads.explained).
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
    """Some of the jobs that a job queued, as they were queued; `total` of them are kept."""

    items: Sequence[Job] = ()
    total: int = 0


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
    `searched` of `of` says how far a bounded search got; `plan` is how it was searched and `spans` what
    was counted beside it, for `survey`.
    """

    items: Sequence[Job]
    next: str | None = None
    previous: str | None = None
    total: int | None = None
    searched: int = 0
    of: int = 0
    plan: Any = field(default=None, repr=False, compare=False)
    spans: Any = field(default=None, repr=False, compare=False)


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
