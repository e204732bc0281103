"""What an operator's acts answer: on single jobs, and on many as one operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tasks.engine.records import Job, State


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
