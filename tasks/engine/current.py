"""The job that runs here: progress, log, marks and what it tells the queue's breaker."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tasks.engine.errors import CancelRequested, EngineError, LeaseLost, Unreachable

if TYPE_CHECKING:
    from tasks.engine.storage import JobStorage

RUNNING: ContextVar[CurrentJob | None] = ContextVar("running_job", default=None)


@dataclass(slots=True)
class CurrentJob:
    """One running attempt, as its task sees it.

    `attempt` counts from 1; `recovered` is how often a worker died holding this job.
    """

    id: str
    task: str
    queue: str
    attempt: int
    max_attempts: int
    recovered: int = 0
    token: str = ""
    storage: JobStorage | None = None
    told: dict[str, Any] = field(default_factory=dict)

    def progress(self, percent: int, message: str = "") -> None:
        """Say how far the job is, 0 to 100. Raises CancelRequested when asked to stop."""
        self._note("progress", str(max(0, min(100, int(percent)))), message[:200], soft=True)

    def log(self, text: str) -> None:
        """Add a line to the job's log (the last 200 are kept). Raises CancelRequested."""
        self._note("log", "", text[:2000], soft=True)

    def check(self) -> None:
        """Raise CancelRequested when an operator asked this job to stop."""
        self._note("check", "", "", soft=True)

    def mark(self, name: str, value: str = "1") -> bool:
        """Set a mark that outlives the job by 7 days; durable before what must not happen twice.

        Returns: False when Redis cannot be reached: the caller's own record alone carries it.
        Raises: LeaseLost when another worker has the job: stop at once.
        """
        try:
            self._note("mark", name, value)
        except Unreachable:
            return False
        except CancelRequested:
            return True
        return True

    def marks(self) -> dict[str, str]:
        """Return the marks set by this or earlier attempts; empty when Redis cannot be reached."""
        if self.storage is None:
            return {}
        try:
            return self.storage.marks(self.id)
        except Unreachable:
            return {}

    def fault(self, reason: str, *, open_now: bool = False) -> None:
        """Tell the queue's breaker that the outside is at fault; written with this attempt."""
        self.told = {"fault": reason[:200], "now": open_now}

    def healthy(self) -> None:
        """Tell the queue's breaker that the outside answers; written with this attempt."""
        self.told = {"healthy": True}

    def _note(self, what: str, name: str, text: str, *, soft: bool = False) -> None:
        """Write one note; `soft` ones are dropped while Redis is away."""
        if self.storage is None:
            return
        try:
            answer = self.storage.note(self.id, self.token, what, name, text)
        except Unreachable:
            if not soft:
                raise
            return
        if answer == 2:
            raise CancelRequested(f"an operator asked job {self.id} to stop")


def current_job() -> CurrentJob:
    """Return the job that runs in this thread. Raises EngineError outside a task."""
    job = RUNNING.get()
    if job is None:
        raise EngineError("current_job() works only inside a running task")
    return job


__all__ = ["RUNNING", "CurrentJob", "LeaseLost", "current_job"]
