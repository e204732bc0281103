"""Run jobs in the test's own process, and bring jobs into each state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

from huey.exceptions import CancelExecution

from tasks.engine import JobHuey, Permanent, RetryAfter, State
from tasks.engine.ticking.periodic import fire_each


def run_one(huey: JobHuey) -> Any:
    """Take a job and run it. Returns: its task, or None where nothing waits."""
    task = huey.dequeue()
    if task is not None:
        huey.execute(task)
    return task


def run_all(huey: JobHuey) -> list[str]:
    """Run jobs until nothing waits. Returns: their ids in the order they ran."""
    ran = []
    while (task := run_one(huey)) is not None:
        ran.append(task.id)
    return ran


def fire_due(huey: JobHuey, now_ms: int) -> int:
    """Fire every tick that is due, as housekeeping does. Returns: how many this call claimed."""
    return sum(claimed or 0 for claimed in fire_each(huey, now_ms))


def state_of(huey: JobHuey, job_id: str) -> State:
    return huey.reads.job(job_id).state


def command(huey: JobHuey, verb: str, *ids: str, **options: Any) -> Any:
    found = getattr(huey.commands, verb)(ids, **options)
    return found[0] if len(ids) == 1 else found


def sets_holding(huey: JobHuey, job_id: str) -> list[str]:
    """Return the state sets a job is in, over all queues."""
    keys = [key.decode() for key in huey.storage.client.keys(huey.storage.keys.of("state", "*"))]
    found = [key for key in keys if huey.storage.call("ZSCORE", key, job_id) is not None]
    return [key.rpartition(":")[2] for key in found]


def counts(huey: JobHuey, queue: str = "default") -> dict[State, int]:
    return {state: many for state, many in huey.reads.queue(queue).counts.items() if many}


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Span:
    """When a block ran: times that it set are told from it, however long it took."""

    begun: datetime = field(default_factory=now)
    ended: datetime = field(default_factory=now)

    def __enter__(self) -> Span:
        self.begun = now()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:  # fmt: skip
        self.ended = now()

    def ahead(self, at: datetime | None, least_s: float, most_s: float) -> bool:
        """Tell whether a time was that far ahead when it was set; it may be cut to milliseconds."""
        assert at is not None
        cut = timedelta(milliseconds=2)
        least, most = timedelta(seconds=least_s), timedelta(seconds=most_s)
        return self.begun + least - cut <= at <= self.ended + most + cut


class States:
    """Makes a job that is in a given state."""

    def __init__(self, huey: JobHuey) -> None:
        self.huey = huey
        self.ends: dict[str, Callable[[], Any]] = {
            "retrying": _retry, "completed": _complete, "failed": _fail, "cancelled": _cancel,
        }  # fmt: skip

        @huey.task(name="ends", retries=3)
        def ends(how: str) -> str:
            return self.ends[how]()

        self.task = ends

    def make(self, state: State) -> str:
        """Return the id of a new job in `state`."""
        if state is State.SCHEDULED:
            return self.task.schedule(("completed",), delay=3600).id
        if state is State.WAITING:
            return self.task("completed").id
        how = "completed" if state is State.ACTIVE else state.value
        job_id = self.task(how, priority=50).id  # before those that are to stay waiting
        if state is State.ACTIVE:
            assert self.huey.dequeue().id == job_id
        else:
            run_one(self.huey)
        assert state_of(self.huey, job_id) is state
        return job_id


def _retry() -> None:
    raise RetryAfter(3600, "later")


def _complete() -> str:
    return "done"


def _fail() -> None:
    raise Permanent("no")


def _cancel() -> None:
    raise CancelExecution(retry=False)
