"""One process's path to Redis: what its slots finished goes out together, what it took they share.

One slot talks to Redis at a time. What others finish meanwhile goes with the next call, which also
takes a job for each idle slot, and quick jobs ahead of their time. When half of those are taken the
runner asks for more, so that Redis works while the slots do. One idle slot waits on the wake key for
all.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from tasks.engine.errors import EngineError, Unreachable
from tasks.engine.running.leases import Lease
from tasks.engine.running.outcome import Outcome
from tasks.engine.running.pace import Pace
from tasks.engine.storage import Answer, Handed, JobStorage

logger = logging.getLogger("tasks.engine")
FINISH_WAITS_S = 0.005
HELD_MOST_S = 0.05
REST_S = 1.0
WATCHED_MOST = 5  # so long at most waits a job whose call reached a worker that died
AWAY_S = 0.5


class Dispatch:
    """Finished attempts, jobs held ready, and whose turn it is; one for a process.

    A job held is `active` in Redis and not started. It goes back when no slot took it within
    HELD_MOST_S, when its queue lends no more, and when the process is to stop or be quiet.
    """

    def __init__(self, storage: JobStorage, lease: Lease, *, ahead: bool,
                 fired: Callable[[Outcome], None]) -> None:  # fmt: skip
        self.storage, self.lease, self.ahead, self.fired = storage, lease, ahead, fired
        self.pace = Pace()
        self.stopping = False
        self._lock = threading.Lock()
        self._turn = threading.Condition(self._lock)  # slots without a job
        self._free = threading.Condition(self._lock)  # others that want to talk to Redis
        self._ready: deque[Handed] = deque()
        self._finished: list[Outcome] = []
        self._asking = self._watching = False
        self._nothing_new = False  # the last call found no job, and no sign of one since
        self._called = False  # to look again, and nobody here has asked since
        self._quiet = False  # the last call heard that nothing waits
        self._watched = 0  # how often it was waited since
        self._next_due_s: float | None = None
        self._idle = self._slots = 0
        self._asked = 0.0  # when the last call came back
        self._resting = False  # the runner looks again only in a while
        self._refill_at = 0  # so few jobs held: more are asked for; 0 while there are none
        self._errand = threading.Condition(self._lock)  # the runner
        self._runner: threading.Thread | None = None

    # Slots

    def join(self) -> None:
        """Count one more slot that runs jobs here."""
        with self._turn:
            self._slots += 1
            if self._runner is None:
                self._runner = threading.Thread(
                    target=_run, args=(weakref.ref(self),), name="dispatch", daemon=True
                )
                self._runner.start()

    def leave(self) -> None:
        """Count one slot less; the last one gives back what is held. Raises Unreachable."""
        with self._turn:
            self._slots = max(0, self._slots - 1)
            if not self._slots:
                self._release(self._ready)
        self.flush()

    def stop(self) -> None:
        """Take no more jobs; what is held goes back at once, by the runner."""
        self.stopping = True
        with self._turn:
            self._release(self._ready)
            self._turn.notify_all()
            self._errand.notify()

    def give_back(self) -> None:
        """Give back what is held and commit what is finished. Raises Unreachable."""
        with self._turn:
            self._release(self._ready)
        self.flush()

    def close(self, outcome: Outcome) -> None:
        """Keep what an attempt left behind for the next call."""
        with self._turn:
            outcome.closed = time.monotonic()
            self._finished.append(outcome)
            if outcome.task:
                self.pace.note(outcome.task, outcome.ran_s)

    def flush(self) -> None:
        """Commit what is finished, taking no job. Raises Unreachable; then all of it is kept."""
        with self._turn:
            self._await_turn()
            if self._finished or self._ready:
                self._exchange(None)
            unanswered = self._called and (self.stopping or self.lease.wish or not self._slots)
            self._called = self._called and not unanswered
        if unanswered:  # no slot here may ask: another process is called
            with contextlib.suppress(Unreachable):  # then each looks again when it is back
                self.storage.wake()

    # Taking

    def one(self) -> Handed | None:
        """Take one job outside a consumer's slot, waiting once where there is none."""
        for last in (False, True):
            with self._turn:
                self._await_turn()
                answer = self._exchange(self.pace.plan(1, ahead=False))
            if answer.jobs or last:
                return answer.jobs[0] if answer.jobs else None
            self._watch()
        return None

    def next(self) -> Handed | None:
        """Return a job that starts now; commits what is finished where it has to ask Redis.

        Returns: None when a wait brought none. Raises: Unreachable; what is finished is kept.
        """
        with self._turn:
            self._idle += 1
            try:
                while not self._ready:
                    if not self._step():
                        return None
                return self._start()
            finally:
                self._idle -= 1

    def _step(self) -> bool:
        """Ask, watch or wait, whichever this slot's turn is. Returns: whether to look again."""
        if not self._asking and (self._finished or not self._nothing_new):
            plan = self._plan(self._idle - self._watching)
            if plan is not None or self._finished:
                self._take_in(self._exchange(plan).jobs)
            return plan is not None
        if self.stopping:
            return False
        if self._watching or self._asking:
            return self._turn.wait(self.storage.read_timeout)
        self._watch_released()
        return False

    def _plan(self, want: int) -> Any:
        if self.stopping or self.lease.wish:
            return None
        return self.pace.plan(want, ahead=self.ahead)

    def _take_in(self, jobs: Sequence[Handed]) -> None:
        self._ready.extend(jobs)
        if len(jobs) > 1:
            self._turn.notify(len(jobs) - 1)
        if self.stopping:
            self._release(self._ready)

    def _start(self) -> Handed | None:
        """Take the first of those held, in the order in which Redis gave them."""
        job = self._ready.popleft()
        if self._idle > 1 and (not self._watching or self._ready):
            self._turn.notify()
        if len(self._ready) == self._refill_at or (self._resting and self._pending()):
            self._errand.notify()
        if not self.lease.holds(job):
            return None
        if not job.starts:
            self.lease.begin(job)
        return job

    def _watch_released(self) -> None:
        """Wait to be called, the lock let go; where nothing waits, wait a few times without asking."""
        self._watching, called = True, True
        self._turn.release()
        try:
            called = self._watch()
        finally:
            self._turn.acquire()
            self._watching = False
            self._watched += 1
            self._called = self._called or called
            self._nothing_new = self._quiet and not called and self._watched < WATCHED_MOST

    def _watch(self) -> bool:
        due = self._next_due_s
        return self.storage.wait(None if due is None else max(0.0, due - time.monotonic()))

    # Talking

    def _await_turn(self) -> None:
        while self._asking:
            self._free.wait()

    def _exchange(self, plan: Any) -> Answer:
        """Send all that is finished and take what `plan` says; the lock is let go meanwhile."""
        finished, self._finished = self._finished, []
        lent = sorted({job.queue for job in self._ready})
        self._asking = True
        if plan is not None:
            self._called = False
        self._turn.release()
        answer = None
        try:
            answer = self._talk(finished, plan, lent)
        finally:
            self._turn.acquire()
            self._asking, self._asked = False, time.monotonic()
            if answer is None:
                self._finished[:0] = finished
            self._turn.notify()
            self._free.notify_all()
        if plan is not None:
            self._nothing_new = len(answer.jobs) < plan["want"] and not self._called
            self._quiet, self._watched = answer.quiet and not answer.jobs, 0
            self._refill_at = (len(self._ready) + len(answer.jobs)) // 2
        due = answer.next_due_ms
        self._next_due_s = None if due is None else time.monotonic() + (due - answer.now_ms) / 1000
        self._release([job for job in self._ready if job.queue in answer.shut])
        return answer

    def _talk(self, finished: Sequence[Outcome], plan: Any, lent: Sequence[str]) -> Answer:
        """Send what is finished and take jobs. Raises Unreachable."""
        try:
            return self._send(finished, plan, lent)
        except Unreachable:
            raise
        except Exception:
            if not finished:
                raise
            self._send_apart(finished)
            return self._send((), plan, lent)

    def _send_apart(self, finished: Sequence[Outcome]) -> None:
        """Commit one by one what was refused together; the one at fault fails for that reason."""
        for outcome in finished:
            try:
                self._send((outcome,), None, ())
            except Unreachable:
                raise
            except Exception as exc:
                logger.exception("the outcome of job %s is refused", outcome.job.id)
                self._fail(
                    Outcome(outcome.job, outcome.task, to="failed", kind="failed", error=exc)
                )

    def _fail(self, outcome: Outcome) -> None:
        """Commit a failure; where that is refused too, the job is let go, so that others get through."""
        try:
            self._send((outcome,), None, ())
        except Unreachable:
            raise
        except Exception:
            logger.exception("job %s cannot be ended: it comes back with a beat", outcome.job.id)
            self.lease.swap(finished=[outcome.job], taken=())

    def _send(self, finished: Sequence[Outcome], plan: Any, lent: Sequence[str]) -> Answer:
        done: list[dict[str, Any]] = []
        blobs: list[bytes] = []
        for outcome in finished:
            spec, more = outcome.spec(len(blobs))
            outcome.sent = True
            done.append(spec)
            blobs += more
        self.lease.closing([outcome.job.token for outcome in finished])
        with self.lease.fetching():
            answer = self.storage.finish_and_fetch(done, blobs, plan, lent)
            self.lease.swap(finished=[outcome.job for outcome in finished], taken=answer.jobs)
        for outcome, status in zip(finished, answer.statuses, strict=True):
            if status == "fired":
                self.fired(outcome)
            elif status == "gone":
                logger.warning("job %s was no longer ours: its outcome is dropped", outcome.job.id)
        return answer

    def _release(self, jobs: Sequence[Handed]) -> None:
        """Let jobs go that are held and have not started: they wait again, no attempt burnt."""
        for job in list(jobs):
            self._ready.remove(job)
            self._finished.append(Outcome(job, to="release", kind="interrupted"))

    # The runner: what is done beside the slots

    def errand(self) -> None:
        """Wait for something to do, and do it: ask for more jobs, send what waits too long."""
        with self._turn:
            left = self._left()
            if left > 0:
                self._resting = left > FINISH_WAITS_S
                self._errand.wait(left)
                self._resting = False
            if self._asking:
                return
            if self._is_low():
                self._take_in(self._exchange(self._refill()).jobs)
            elif self._left() <= 0:
                if self._ready and time.monotonic() - self._ready[0].at > HELD_MOST_S:
                    self._release(self._ready)
                self._exchange(None)

    def _pending(self) -> bool:
        return bool(self._finished or self._ready)

    def _left(self) -> float:
        """Return the seconds until something is to be sent, or asked again of what is held."""
        if self._asking:
            return FINISH_WAITS_S
        since = [outcome.closed for outcome in self._finished[:1]]
        since += [max(self._asked, job.at) for job in list(self._ready)[:1]]
        return max(0.0, min(since) + FINISH_WAITS_S - time.monotonic()) if since else REST_S

    def _is_low(self) -> bool:
        """Tell whether half of what was taken ahead is gone; jobs that start at once are not ahead."""
        low = 0 < len(self._ready) <= self._refill_at and not self._ready[-1].starts
        return low and not self.stopping and not self.lease.wish

    def _refill(self) -> Any:
        return self.pace.refill(self._slots, held=len(self._ready))


def _run(ref: weakref.ref[Dispatch]) -> None:
    """Run errands until the process's dispatch is gone."""
    while (dispatch := ref()) is not None:
        try:
            dispatch.errand()
            away = False
        except EngineError:  # the slots say so, and wait
            away = True
        except Exception:
            logger.exception("what is finished could not be sent; it is tried again")
            away = True
        del dispatch
        if away:
            time.sleep(AWAY_S)
