"""One process's path to Redis: what its slots finished goes out together, what it took they share.

One slot talks to Redis at a time. What others finish meanwhile goes with the next call, which also
takes a job for each idle slot, and quick jobs ahead of their time. When half of those are taken a
slot asks for more and goes on; whoever is the first without a job hears the answer, so that Redis
works while the slots do. One idle slot listens for all: its wish for a job lies with Redis meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tasks.engine.errors import EngineError, Unreachable
from tasks.engine.running.leases import Lease
from tasks.engine.running.outcome import Outcome
from tasks.engine.running.pace import Pace
from tasks.engine.running.talking import Call, Talk
from tasks.engine.storage import Answer, Handed, JobStorage

logger = logging.getLogger("tasks.engine")
FINISH_WAITS_S = 0.005
HELD_MOST_S = 0.05
FOLLOW_LEAST = 8  # outcomes that are worth a call of their own
REST_S = 1.0
AWAY_S = 0.5


class Dispatch:
    """Finished attempts, jobs held ready, and whose turn it is; one for a process.

    A job held is `active` in Redis and not started. It goes back when no slot took it within
    HELD_MOST_S, when its queue lends no more, and when the process is to stop or be quiet.
    """

    def __init__(self, storage: JobStorage, lease: Lease, *, ahead: bool,
                 fired: Callable[[Outcome], None]) -> None:  # fmt: skip
        self.storage, self.lease, self.ahead = storage, lease, ahead
        self.talk = Talk(storage, lease, fired)
        self.pace = Pace()
        self.stopping = False
        self.told_to_end: Callable[[], bool] = lambda: False  # of a child, by its parent
        self._lock = threading.Lock()
        self._turn = threading.Condition(self._lock)  # slots without a job
        self._free = threading.Condition(self._lock)  # others that want to talk to Redis
        self._ready: deque[Handed] = deque()
        self._finished: list[Outcome] = []
        self._watching = False
        self._talking = 0  # slots that send or hear just now
        self._nothing_new = False  # the last call found no job for some slot
        self._next_due_s: float | None = None
        self._idle = self._slots = 0
        self._asked = 0.0  # when the last call came back
        self._resting = False  # the runner looks again only in a while
        self._refill_at = 0  # so few jobs held: more are asked for; 0 while there are none
        self._alone = False  # one slot does as well as several, as far as the last job tells
        self._owed = False  # another slot was not woken for what is left here
        self._call: Call | None = None  # sent, and nobody waits for its answer yet
        self._errand = threading.Condition(self._lock)  # the runner
        self._runner: threading.Thread | None = None

    # Slots

    def join(self) -> None:
        """Count one more slot that runs jobs here."""
        with self._lock:
            self._slots += 1
            if self._runner is None:
                self._runner = threading.Thread(
                    target=_run, args=(weakref.ref(self),), name="dispatch", daemon=True
                )
                self._runner.start()

    def leave(self) -> None:
        """Count one slot less; the last one gives back what is held. Raises Unreachable."""
        with self._lock:
            self._slots = max(0, self._slots - 1)
            if not self._slots:
                self._let_go()
        self.flush()

    def stop(self) -> None:
        """Take no more jobs; what is held goes back at once, by the runner."""
        self.stopping = True
        with self._lock:
            self._release(self._ready)
            self.talk.hush()
            self._turn.notify_all()
            self._errand.notify()

    def give_back(self) -> None:
        """Give back what is held and commit what is finished. Raises Unreachable."""
        with self._lock:
            self._let_go()
        self.flush()

    def close(self, outcome: Outcome) -> None:
        """Keep what an attempt left behind for the next call."""
        with self._lock:
            outcome.closed = time.monotonic()
            self._finished.append(outcome)
            if outcome.task:
                self.pace.note(outcome.task, outcome.ran_s)
                self._alone = self.pace.alone(outcome.task)

    def flush(self) -> None:
        """Commit what is finished, taking no job. Raises Unreachable; then all of it is kept."""
        with self._lock:
            self._await_turn()
            if self._finished or self._ready:
                self._exchange(None)

    # Taking

    def one(self) -> Handed | None:
        """Take one job outside a consumer's slot, waiting once where there is none."""
        for last in (False, True):
            with self._lock:
                self._await_turn()
                answer = self._exchange(self.pace.plan(1, ahead=False))
            if answer.jobs or last:
                return answer.jobs[0] if answer.jobs else None
            self.storage.wait(self._due_in_s())
        return None

    def next(self) -> Handed | None:
        """Return a job that starts now; commits what is finished where it has to ask Redis.

        Returns: None when a wait brought none. Raises: Unreachable; what is finished is kept.
        """
        with self._lock:
            self._idle += 1
            self._owed = False
            try:
                while not self._ready or self._asked_ahead():
                    if not self._ready and not self._step():
                        return None
                return self._start()
            finally:
                self._idle -= 1

    def _step(self) -> bool:
        """Hear, ask, listen or wait, whichever this slot's turn is. Returns: whether to look again."""
        if self._call is not None:
            self._gather(self._call)
            return True
        if not self._asking and (self._finished or not self._nothing_new):
            plan = self._plan(self._idle - self._watching)
            if plan is not None or self._finished:
                self._take_in(self._exchange(plan).jobs)
            return plan is not None
        if self._is_ending():
            return False
        if self._watching or self._asking:
            return self._turn.wait(self.storage.read_timeout)
        self._listen()
        return bool(self._ready)

    def _is_ending(self) -> bool:
        return self.stopping or bool(self.lease.wish) or self.told_to_end()

    def _plan(self, want: int) -> Any:
        if self._is_ending():
            return None
        return self.pace.plan(1 if self._alone and self.ahead else want, ahead=self.ahead)

    def _take_in(self, jobs: Sequence[Handed]) -> None:
        """Keep what came, and wake a slot for each job that starts at once but the caller's own.

        Those of microseconds the caller runs itself one after another, see `_leave_to_another`.
        """
        self._ready.extend(jobs)
        others = sum(job.starts for job in jobs) - 1
        if others > 0 and not self._alone:
            self._turn.notify(others)
        if self._is_ending():
            self._release(self._ready)

    def _asked_ahead(self) -> bool:
        """Ask for more where half of what was taken is left, so that Redis works while the slots do.

        Returns: whether it was sent, and others may have taken what was ready meanwhile.
        """
        if self._asking or not self._is_low():
            return False
        self._refill_at = 0
        with contextlib.suppress(Unreachable):  # whoever needs jobs is told
            self._post(self.pace.refill(self._slots, held=len(self._ready)))
        return True

    def _start(self) -> Handed | None:
        """Take the first of those held, in the order in which Redis gave them."""
        job = self._ready.popleft()
        if self._idle > 1 and (not self._watching or self._ready):
            self._leave_to_another(job)
        if self._resting and self._pending():
            self._errand.notify()
        if not self.lease.holds(job):
            return None
        if not job.starts:
            self.lease.begin(job)
        return job

    def _leave_to_another(self, job: Handed) -> None:
        """Wake another slot for what is left here, at once or where this job takes longer than known."""
        if self.pace.alone(job.task) and not self._resting:
            self._owed = True
        else:
            self._turn.notify()

    def _listen(self) -> None:
        """Wait to be called, the lock let go, with a wish for a job that Redis answers at the call."""
        plan, call = self._plan(1), None
        self._watching = True
        self._turn.release()
        try:
            call = self.talk.listen(plan, self._due_in_s())
        finally:
            self._turn.acquire()
            self._watching = False
        self._take_in(self._collect(call).jobs)
        if self.lease.outlived(call.sent_s):
            self._release(self._ready)

    def _due_in_s(self) -> float | None:
        due = self._next_due_s
        return None if due is None else max(0.0, due - time.monotonic())

    # Talking

    @property
    def _asking(self) -> bool:
        return self._talking > 0 or self._call is not None

    def _await_turn(self) -> None:
        while self._asking:
            if self._call is None:
                self._free.wait()
            else:
                self._gather(self._call)

    def _let_go(self) -> None:
        """Release what is held, also what an answer still brings. Raises Unreachable."""
        try:
            self._await_turn()
        finally:
            self._release(self._ready)

    def _exchange(self, plan: Any) -> Answer:
        """Send all that is finished and take what `plan` says; the lock is let go meanwhile."""
        return self._collect(self._post(plan))

    def _post(self, plan: Any) -> Call:
        """Send all that is finished and the wish of `plan`; `_collect` hears what becomes of it."""
        finished, self._finished = self._finished, []
        lent = sorted({job.queue for job in self._ready})
        call = None
        try:
            with self._let_others():
                call = self.talk.ask(finished, plan, lent)
        finally:
            self._call = call
            if call is None:
                self._over(finished)
        return call

    def _collect(self, call: Call) -> Answer:
        """Wait for the answer to what was sent; the lock is let go meanwhile."""
        if call is self._call:
            self._call = None
        answer = None
        try:
            with self._let_others():
                answer = self.talk.hear(call)
        finally:
            self._over(() if answer else call.finished)
        self._learn(call.plan, answer)
        return answer

    @contextlib.contextmanager
    def _let_others(self) -> Iterator[None]:
        """Let go of the lock while this slot talks."""
        self._talking += 1
        self._turn.release()
        try:
            yield
        finally:
            self._turn.acquire()
            self._talking -= 1

    def _gather(self, call: Call) -> None:
        """Hear an answer that nobody waits for; the next call goes out before it is waited for."""
        self._call = None
        if (plan := self._following(call)) is not None:
            try:
                self._post(plan)
            except Unreachable:  # whoever needs jobs is told
                pass
            except BaseException:  # an interrupt: the answer is still to be heard
                self._call = call
                raise
        self._take_in(self._collect(call).jobs)

    def _following(self, call: Call) -> Any:
        """Return what the call asks for that is sent before `call` is heard; None where none is.

        Beside quick jobs Redis then always has the next call when it has done with one.
        """
        if len(self._finished) < FOLLOW_LEAST or self._talking or not self._may_ask(call.plan):
            return None
        return self.pace.refill(self._slots, held=len(self._ready) + call.plan["most"])

    def _may_ask(self, before: Any) -> bool:
        return before is not None and not before["want"] and not self._is_ending()

    def _over(self, kept: Sequence[Outcome]) -> None:
        """End a call; `kept` are the outcomes that Redis does not have for certain."""
        self._asked = time.monotonic()
        self._finished[:0] = kept
        if kept or (self._finished and not self._alone):  # of a slot that waits for its turn
            self._turn.notify()
        self._free.notify_all()
        self.pace.look()

    def _learn(self, plan: Any, answer: Answer) -> None:
        """Keep what an answer says of the queues and of the jobs that are held."""
        if plan is not None:
            self._nothing_new = len(answer.jobs) < plan["want"]
            all_held = len(self._ready) + len(answer.jobs)
            self._refill_at = all_held // 2 + 1 if plan["want"] else len(answer.jobs)
        due = answer.next_due_ms
        self._next_due_s = None if due is None else time.monotonic() + (due - answer.now_ms) / 1000
        self._release([job for job in self._ready if job.queue in answer.shut])

    def _release(self, jobs: Sequence[Handed]) -> None:
        """Let jobs go that are held and have not started: they wait again, no attempt burnt."""
        for job in list(jobs):
            self._ready.remove(job)
            self._finished.append(Outcome(job, to="release", kind="interrupted"))

    # The runner: what is done beside the slots

    def errand(self) -> None:
        """Wait for something to do, and do it: hear an answer left unread, send what waits too long."""
        with self._lock:
            left = self._left()
            if left > 0:
                self._resting = left > FINISH_WAITS_S
                self._errand.wait(left)
                self._resting = False
            if self._owed:
                self._owed = False
                self._turn.notify()
            if self._call is not None and time.monotonic() - self._call.sent_s > FINISH_WAITS_S:
                self._gather(self._call)
                self._turn.notify()
            if not self._asking and self._left() <= 0:
                if self._ready and time.monotonic() - self._ready[0].at > HELD_MOST_S:
                    self._release(self._ready)
                self._exchange(None)
                self._turn.notify()

    def _pending(self) -> bool:
        return bool(self._finished or self._ready or self._owed)

    def _left(self) -> float:
        """Return the seconds until something is to be heard, sent, or asked again of what is held."""
        if self._asking or self._owed:
            return FINISH_WAITS_S
        since = [outcome.closed for outcome in self._finished[:1]]
        since += [max(self._asked, job.at) for job in list(self._ready)[:1]]
        return max(0.0, min(since) + FINISH_WAITS_S - time.monotonic()) if since else REST_S

    def _is_low(self) -> bool:
        """Tell whether half of what was taken ahead is gone; jobs that start at once are not ahead."""
        low = 0 < len(self._ready) <= self._refill_at and not self._ready[-1].starts
        return low and not self._is_ending()


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
