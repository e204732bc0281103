"""What a process says to Redis of its jobs: what it finished, and how many more it takes.

A call is sent (`ask`) and heard (`hear`) apart, so that jobs run while Redis works.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.engine.errors import Unreachable
from tasks.engine.running.completing import report
from tasks.engine.running.leases import Lease
from tasks.engine.running.outcome import Outcome
from tasks.engine.scripts import Begun
from tasks.engine.storage import Answer, JobStorage

logger = logging.getLogger("tasks.engine")


@dataclass(slots=True)
class Call:
    """A call under way: what it finishes, how many jobs it asks for, which queues' jobs are held.

    `sent_s` is of this process's monotonic clock. `plain`: so many of those finished, the last ones, come
    without a status where they were closed as this process wrote them.
    """

    finished: Sequence[Outcome]
    plan: Any
    lent: Sequence[str]
    begun: Begun
    sent_s: float
    plain: int = 0


class Talk:
    """One process's words to Redis; `fired` hears of each outcome that completed a chord."""

    def __init__(self, storage: JobStorage, lease: Lease, fired: Callable[[Outcome], None]) -> None:
        self.storage, self.lease, self.fired = storage, lease, fired
        self._listening: Begun | None = None
        self._hushed = False

    def ask(self, finished: Sequence[Outcome], plan: Any, lent: Sequence[str]) -> Call:
        """Send what is finished and the wish for jobs. Raises: Unreachable."""
        try:
            return self._sent(finished, plan, lent)
        except Unreachable:
            raise
        except Exception:  # one of them cannot be written
            if not finished:
                raise
            self._send_apart(finished)
            return self._sent((), plan, lent)

    def listen(self, plan: Any, next_due_s: float | None) -> Call:
        """Leave a wish for jobs with Redis and wait until it is answered, or for a while.

        Raises: Unreachable.
        """
        since = time.monotonic()
        self.lease.fetching(since)
        try:
            self._listening = begun = self.storage.listen(plan, next_due_s)
            if self._hushed:  # while it was being sent
                self.hush()
            self.storage.await_call(begun)
            return Call((), plan, (), begun, since)
        except BaseException:
            self.lease.fetched(since)
            raise
        finally:
            self._listening = None

    def hush(self) -> None:
        """End `listen` in another slot for good; it is told that Redis cannot be reached."""
        self._hushed = True
        if (begun := self._listening) is not None:
            begun.connection.disconnect()

    def hear(self, call: Call) -> Answer:
        """Wait for the answer. Raises Unreachable; outcomes that Redis refuses fail one by one."""
        try:
            return self._heard(call)
        except Unreachable:
            raise
        except Exception:
            if not call.finished:
                raise
            self._send_apart(call.finished)
            return self._heard(self._sent((), call.plan, call.lent))

    def _sent(self, finished: Sequence[Outcome], plan: Any, lent: Sequence[str]) -> Call:
        said = report(finished, self.storage.proc())
        finished = said.outcomes
        words = self.storage.words(said.done, plan, lent, said.plain)
        for outcome in finished:
            outcome.sent = True
        self.lease.closing([outcome.job.token for outcome in finished])
        since = time.monotonic()
        self.lease.fetching(since)
        try:
            begun = self.storage.ask(words, said.blobs)
        except BaseException:
            self.lease.fetched(since)
            raise
        return Call(finished, plan, lent, begun, since, len(finished) - len(said.done))

    def _heard(self, call: Call) -> Answer:
        try:
            answer = self.storage.answer(call.begun)
            ended = [outcome.job for outcome in call.finished]
            self.lease.swap(finished=ended, taken=answer.jobs)
        finally:
            self.lease.fetched(call.sent_s)
        told = len(call.finished)
        if len(answer.statuses) == told - call.plain:
            told -= call.plain
        for outcome, status in zip(call.finished[:told], answer.statuses, strict=True):
            if status == "fired":
                self.fired(outcome)
            elif status == "gone":
                logger.warning("job %s was no longer ours: its outcome is dropped", outcome.job.id)
        return answer

    def _send_apart(self, finished: Sequence[Outcome]) -> None:
        """Commit one by one what was refused together; the one at fault fails for that reason."""
        for outcome in finished:
            try:
                self._commit(outcome)
            except Unreachable:
                raise
            except Exception as exc:
                logger.exception("the outcome of job %s is refused", outcome.job.id)
                failed = Outcome(outcome.job, outcome.task, to="failed", kind="failed", error=exc)
                self._fail(failed)

    def _fail(self, outcome: Outcome) -> None:
        """Commit a failure; where that is refused too, the job is let go, so that others get through."""
        try:
            self._commit(outcome)
        except Unreachable:
            raise
        except Exception:
            logger.exception("job %s cannot be ended: it comes back with a beat", outcome.job.id)
            self.lease.swap(finished=[outcome.job], taken=())

    def _commit(self, outcome: Outcome) -> None:
        self._heard(self._sent((outcome,), None, ()))
