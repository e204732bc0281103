"""How a job runs: what its attempt would write is collected into an Outcome, for one commit.

`Huey._execute` is kept as it is. What it would write (`put_result`, `_requeue_task`, `add_schedule`,
`_check_chord`, `delete`, `enqueue` outside the task's body) goes into the attempt's Outcome.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Iterator
from typing import Any

from huey import signals as S  # noqa: N812 - as in Huey
from huey.api import Task
from huey.exceptions import CancelExecution, RetryTask

from tasks.engine import envelope as env
from tasks.engine import values
from tasks.engine.current import RUNNING, CurrentJob
from tasks.engine.errors import CancelRequested, Defer, Permanent, RetryAfter, Skip
from tasks.engine.huey_storage import due_ms
from tasks.engine.ids import new_id
from tasks.engine.running.failures import describe, hide
from tasks.engine.running.outcome import RUNNING_OUTCOME, Outcome
from tasks.engine.running.slots import Slots
from tasks.engine.storage import Handed

FINAL_SIGNALS = {
    S.SIGNAL_COMPLETE: ("completed", "completed"),
    S.SIGNAL_CANCELED: ("cancelled", "cancelled"),
    S.SIGNAL_REVOKED: ("cancelled", "revoked"),
    S.SIGNAL_EXPIRED: ("cancelled", "expired"),
    S.SIGNAL_INTERRUPTED: ("release", "interrupted"),
    S.SIGNAL_ERROR: ("failed", "failed"),
    S.SIGNAL_TIMEOUT: ("failed", "failed"),
    S.SIGNAL_LOCKED: ("failed", "failed"),
    S.SIGNAL_RATE_LIMITED: ("failed", "failed"),
}
ASKED_TO_STOP = "an operator asked it to stop"


class TaskExited(Exception):
    """The task called sys.exit() or raised another exception that would end its worker."""


class Attempts(Slots):
    """The running part of JobHuey."""

    def execute(self, task: Task, timestamp: dt.datetime | None = None) -> Any:
        """Run a job. Its outcome is committed with this slot's next fetch, or at once outside one."""
        job: Handed | None = getattr(task, "handed", None)
        if self._immediate or job is None:
            with self._running(CurrentJob(task.id, type(task).__name__, self.queue_of(task), 1, 1)):
                return super().execute(task, timestamp)
        name = job.task or self._registry.task_to_string(type(task))
        outcome = Outcome(job, name, time.monotonic(), retries_left=task.retries or 0,
                          secrets=self._secret_values(task))  # fmt: skip
        outcome.handler_id = task.on_error.id if task.on_error else ""
        token = RUNNING_OUTCOME.set(outcome)
        current = self._current(name, job)
        running = RUNNING.set(current)
        try:
            return super().execute(task, timestamp)
        except Exception:
            outcome.to, outcome.kind = "release", "interrupted"
            raise
        finally:
            RUNNING.reset(running)
            RUNNING_OUTCOME.reset(token)
            outcome.told = current.told if self._has_breaker(job.queue) else None
            self._settle(outcome)
            self._close(outcome)

    def _has_breaker(self, queue: str) -> bool:
        declared = self.declared.get(queue)
        return declared is not None and declared.breaker is not None

    @contextlib.contextmanager
    def _running(self, job: CurrentJob) -> Iterator[CurrentJob]:
        token = RUNNING.set(job)
        try:
            yield job
        finally:
            RUNNING.reset(token)

    def _current(self, name: str, job: Handed) -> CurrentJob:
        return CurrentJob(job.id, name, job.queue, job.used + 1, job.allowed, job.deaths,
                          job.token, self.storage)  # fmt: skip

    def _secret_values(self, task: Task) -> tuple[str, ...]:
        names = getattr(type(task), "secret", ())
        if not names:
            return ()
        texts = (str(value) for n, value in self._named(task).items() if n in names)
        return tuple(text for text in texts if len(text) > 3)

    def _settle(self, outcome: Outcome) -> None:
        """Decide where the job goes when neither a retry nor a final signal said so."""
        outcome.ran_s = time.monotonic() - outcome.begun
        if not outcome.to:
            outcome.to, outcome.kind = "release", "interrupted"
        if outcome.to == "failed":
            outcome.retries_left = min(
                outcome.retries_left, outcome.job.allowed - 1 - outcome.job.used
            )
        if outcome.to in ("completed", "cancelled", "failed"):
            outcome.retries_left = outcome.job.allowed - 2 - outcome.job.used

    def _timeout_context(self, task: Task) -> contextlib.AbstractContextManager[None]:
        """Wrap exactly the task's body: what it raises to say what is to come is mapped here."""
        outcome = RUNNING_OUTCOME.get()
        if outcome is None:
            return self._directly(task)
        body = Body(self, outcome, task)
        return self._timed(body, task) if task.timeout else body

    @contextlib.contextmanager
    def _directly(self, task: Task) -> Iterator[None]:
        with super()._timeout_context(task), self._said_directly(task):
            yield

    @contextlib.contextmanager
    def _timed(self, body: Body, task: Task) -> Iterator[None]:
        with body, super()._timeout_context(task):
            yield

    @contextlib.contextmanager
    def _said_directly(self, task: Task) -> Iterator[None]:
        """Map the engine's exceptions in immediate mode, where there is no commit."""
        try:
            yield
        except Skip:
            return
        except RetryAfter as exc:
            if task.retries:
                task.retries -= 1
                raise RetryTask(delay=exc.delay_s) from exc
            raise
        except Permanent:
            task.retries = 0
            raise
        except Defer as exc:
            raise RetryTask(delay=0) from exc
        except CancelRequested as exc:
            raise CancelExecution(retry=False) from exc

    def _said(self, outcome: Outcome, task: Task, exc: BaseException) -> bool:
        """Turn what the body raised into what Huey understands, which is raised in its place.

        Returns: whether Huey is to see nothing; where not, it sees `exc` itself.
        """
        if isinstance(exc, Skip):
            outcome.skipped, outcome.why, outcome.error = True, exc.reason or "skipped", None
            outcome.result = values.dumps("skipped")
            return True
        if isinstance(exc, RetryAfter):
            self._put_off(outcome, task, exc)
        if isinstance(exc, Defer):
            self._deferred(outcome, exc)
        if isinstance(exc, Permanent):
            task.retries, outcome.why = 0, exc.reason
        if isinstance(exc, CancelRequested):
            outcome.why = ASKED_TO_STOP
            raise CancelExecution(retry=False) from exc
        if isinstance(exc, Exception | KeyboardInterrupt):
            return False
        raise TaskExited(f"the task ended by {type(exc).__name__}: {exc}") from exc

    def _put_off(self, outcome: Outcome, task: Task, exc: RetryAfter) -> None:
        outcome.why = exc.reason
        if task.retries:
            task.retries -= 1
            outcome.kind, outcome.delay_ms = "retrying", int(exc.delay_s * 1000)
            raise RetryTask(delay=exc.delay_s) from exc

    def _deferred(self, outcome: Outcome, exc: Defer) -> None:
        outcome.kind, outcome.why, outcome.error = "deferred", exc.reason, None
        if exc.until is None:
            outcome.at_probe = True
        else:
            outcome.due_ms = due_ms(exc.until)
        raise RetryTask(delay=0.001) from exc

    def _queue(self, task: Task) -> None:
        """Queue a job; outside the task's body it goes with the attempt's commit."""
        running = RUNNING_OUTCOME.get()
        if running is not None and not running.in_body:
            self._collect(running, task)
        else:
            super()._queue(task)

    def _collect(self, outcome: Outcome, task: Task) -> None:
        """Keep a follow-up job, or the job's own retry, for the commit."""
        if task.id == outcome.job.id:
            self._collect_retry(outcome, task, None)
            self._emit(S.SIGNAL_ENQUEUED, task)
            return
        if task.id == outcome.handler_id:  # the handler of each failed attempt is a job of its own
            task.id = new_id()
            task.revoke_id = f"r:{task.id}"
        outcome.kids = [*outcome.kids, self._row_of(task)]
        self._emit(S.SIGNAL_ENQUEUED, task)

    def _collect_retry(self, outcome: Outcome, task: Task, due: dt.datetime | None) -> None:
        outcome.to = "retry"
        outcome.kind = outcome.kind if outcome.kind == "deferred" else "retrying"
        outcome.retries_left = task.retries or 0
        if outcome.delay_ms is None and outcome.due_ms is None and not outcome.at_probe:
            now = dt.datetime.now(dt.UTC)
            if due and self.hop_delayed and (due <= now or outcome.error is None):
                outcome.due_ms, outcome.hold = due_ms(due), due <= now  # to the ms as it was given
            else:
                outcome.delay_ms = max(0, int((due - now).total_seconds() * 1000)) if due else 0
        outcome.envelope = self.serialize_task(task, env.first_delay(outcome.job.envelope))

    def add_schedule(self, task: Task) -> None:
        """Keep a job for its due time; an attempt's own retry goes with its commit."""
        outcome = RUNNING_OUTCOME.get()
        if outcome is not None and not outcome.in_body and task.id == outcome.job.id:
            self._collect_retry(outcome, task, self.due_of(task))
            self._emit(S.SIGNAL_SCHEDULED, task)
            return
        super().add_schedule(task)

    def _emit(self, signal: str, task: Task, *args: Any, **kwargs: Any) -> None:
        outcome = RUNNING_OUTCOME.get()
        ours = outcome is not None and not outcome.in_body and task.id == outcome.job.id
        if ours and outcome is not None and signal in FINAL_SIGNALS:
            outcome.to, kind = FINAL_SIGNALS[signal]
            outcome.kind = "skipped" if outcome.skipped else kind
            if outcome.to == "cancelled" and not outcome.why:
                outcome.why = kind
        heard = self._signal.receivers
        if heard["any"] or signal in heard:
            super()._emit(signal, task, *args, **kwargs)

    def put_result(self, key: str, data: Any) -> Any:
        """Keep a result; an attempt's own goes with its commit."""
        outcome = RUNNING_OUTCOME.get()
        if outcome is None or outcome.in_body:
            return super().put_result(key, data)
        value = values.result_bytes(data)
        if outcome.secrets:
            value = hide(value.decode(), outcome.secrets).encode()
        if key == outcome.job.id:
            outcome.result = value
        else:
            outcome.puts = [*outcome.puts, (key, value)]
        return None

    def get_raw(self, key: str, peek: bool = False) -> Any:
        """Return a result's bytes; within its own attempt also before the commit."""
        outcome = RUNNING_OUTCOME.get()
        if outcome is not None and outcome.result is not None and key == outcome.job.id:
            return outcome.result
        return super().get_raw(key, peek)

    def delete(self, key: str) -> Any:
        """Delete Huey's data; a job's own revocation goes with its commit."""
        outcome = RUNNING_OUTCOME.get()
        if outcome is not None and not outcome.in_body and key == f"r:{outcome.job.id}":
            outcome.unrevoke = True
            return True
        return super().delete(key)

    def is_revoked(self, task: Any, timestamp: Any = None, peek: bool = True) -> bool:
        """Tell whether a task is revoked; a job's own answer came with the fetch."""
        outcome = RUNNING_OUTCOME.get()
        if outcome is not None and isinstance(task, Task) and task.id == outcome.job.id:
            return bool(outcome.job.revoked) and super().is_revoked(task, timestamp, peek)
        return super().is_revoked(task, timestamp, peek)

    def _check_chord(self, cc: Any, value: Any) -> None:
        outcome = RUNNING_OUTCOME.get()
        if outcome is None:
            super()._check_chord(cc, value)
            return
        outcome.callback = callback = cc.callback
        spec = {"cid": cc.cid, "idx": cc.idx, "size": cc.size, "spec": self.spec_of(callback)}
        outcome.chord = (spec, values.result_bytes(value), self.serialize_task(callback))

    def build_error_result(self, task: Task, exception: BaseException) -> dict[str, Any]:
        """Describe an error for `Result.get`, secrets replaced, broken texts survived."""
        outcome = RUNNING_OUTCOME.get()
        secrets = outcome.secrets if outcome else ()
        try:
            found = super().build_error_result(task, exception)
        except Exception:
            found = {"error": describe(exception)["message"], "retries": task.retries,
                     "traceback": "", "task_id": task.id}  # fmt: skip
        return {n: hide(v, secrets) if isinstance(v, str) else v for n, v in found.items()}


class Body:
    """The time in which a task's body runs; a class, since a generator takes longer than most of a run."""

    __slots__ = ("huey", "outcome", "task")

    def __init__(self, huey: Attempts, outcome: Outcome, task: Task) -> None:
        self.huey, self.outcome, self.task = huey, outcome, task

    def __enter__(self) -> None:
        self.outcome.in_body = True

    def __exit__(self, kind: Any, exc: BaseException | None, trace: Any) -> bool:
        """Map what the body raised; what Huey is not to see ends here.

        What it is to see goes on as it is: raised once more, it would name these lines first.
        """
        try:
            if exc is None:
                return False
            self.outcome.error = exc
            return self.huey._said(self.outcome, self.task, exc)
        finally:
            self.outcome.in_body = False
