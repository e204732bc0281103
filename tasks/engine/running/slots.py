"""How a slot takes a job and hands back what became of it: one script for both."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from huey import signals as S  # noqa: N812 - as in Huey
from huey.api import Task

from tasks.engine import envelope as env
from tasks.engine import values
from tasks.engine.queueing.batches import Batching
from tasks.engine.running.dispatch import Dispatch
from tasks.engine.running.leases import Lease
from tasks.engine.running.outcome import Outcome
from tasks.engine.storage import Handed

logger = logging.getLogger("tasks.engine")


class Slots(Batching):
    """The fetching and committing part of JobHuey."""

    lease_s: float
    beat_s: float
    version: str
    worker_info: dict[str, Any]
    prefetch: bool
    _dispatch: Dispatch | None
    _lease_lock: threading.Lock
    _slot: threading.local

    @property
    def lease(self) -> Lease:
        """Return this process's lease, a new one after a fork."""
        return self.dispatch.lease

    @property
    def dispatch(self) -> Dispatch:
        """Return what this process's slots share, new after a fork."""
        found = self._dispatch
        if found is not None and found.lease.pid == os.getpid():
            return found
        with self._lease_lock:
            found = self._dispatch
            if found is None or found.lease.pid != os.getpid():
                lease = Lease(self.storage, lease_s=self.lease_s, beat_s=self.beat_s)
                lease.info.update(self.worker_info, version=self.version)
                found = Dispatch(self.storage, lease, ahead=self.prefetch, fired=self._fired)
                self._dispatch = found
            return found

    def _fired(self, outcome: Outcome) -> None:
        self._emit(S.SIGNAL_ENQUEUED, outcome.callback)

    def dequeue(self) -> Task | None:
        """Take the next job; what is finished is committed with the call that asks Redis for it.

        Raises: Unreachable; what is finished is kept and goes with the next call.
        """
        if self._immediate:
            return super().dequeue()
        joined = self._joined()
        dispatch = joined or self.dispatch
        if not dispatch.lease.kept:
            dispatch.lease.start()
        job = joined.next() if joined else dispatch.one()
        return self._opened(job) if job else None

    def _joined(self) -> Dispatch | None:
        """Return what a consumer's slot shares; other threads run and commit one job at a time.

        So does a child that a task forks and that goes on: what is held is its parent's.
        """
        found: Dispatch | None = getattr(self._slot, "dispatch", None)
        return found if found is not None and found.lease.pid == os.getpid() else None

    def join_loop(self) -> None:
        """Make this thread a slot of the process."""
        self._slot.dispatch = self.dispatch
        self._slot.dispatch.join()

    def leave_loop(self) -> None:
        """Make this thread no slot; the last one gives back what is held. Raises Unreachable."""
        if joined := self._joined():
            self._slot.dispatch = None
            joined.leave()
        else:
            self.dispatch.flush()

    def _opened(self, job: Handed) -> Task | None:
        """Turn a handed job into its task; one that cannot be read is failed, bytes kept."""
        try:
            task: Any = self.deserialize_task(job.envelope)
        except Exception as exc:
            logger.exception("job %s cannot be read", job.id)
            self._close(Outcome(job, to="failed", kind="failed", error=exc))
            return None
        task.id = job.id
        task.retries = max(0, job.allowed - 1 - job.used)
        if task.retry_backoff and task.retry_delay:
            task.retry_delay = env.first_delay(job.envelope) * task.retry_backoff**job.used
        task.eta = None if not self.hop_delayed or job.used else task.eta
        if job.members:
            results = [values.loads(job.members[n]) for n in sorted(job.members)]
            task.extend_data((results,))
        task.handed = job
        return task

    def _close(self, outcome: Outcome) -> None:
        joined = self._joined()
        dispatch = joined or self.dispatch
        dispatch.close(outcome)
        if not joined:
            dispatch.flush()
