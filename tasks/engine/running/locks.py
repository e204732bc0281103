"""Huey's locks and rate limits, by Redis's clock; a lock ends with the process that holds it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from huey.api import RateLimit, TaskLock
from huey.exceptions import RateLimitExceeded, TaskLockedException

from tasks.engine.errors import EngineError
from tasks.engine.ids import new_id

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey


class JobLock(TaskLock):
    """A lock held by one thread at a time.

    A worker's lock lasts as long as its process's lease: a killed worker's lock is free when the
    lease is over, and never taken from one that lives. Other processes renew their lock themselves.
    `ttl` seconds end it in any case. `clear` frees it whoever holds it.
    """

    def __init__(self, huey: JobHuey, name: str, ttl: float | None = None) -> None:
        super().__init__(huey, name, ttl)
        self._mine = threading.local()

    def _run(self, verb: str, owner: str = "", proc: str = "", ttl_ms: int = 0) -> bool:
        run = self._huey.storage.repeat
        return bool(run("lock", 0, verb, self._key, owner, proc, ttl_ms))

    def is_locked(self) -> bool:
        """Tell whether somebody who lives holds it."""
        return bool(super().is_locked() if self._huey.immediate else self._run("look"))

    locked = is_locked

    def acquire(self) -> bool:
        """Take it. Raises TaskLockedException while another holds it."""
        if self._huey.immediate:
            return bool(super().acquire())
        lease = self._huey.lease
        owner, ttl_ms = new_id(), int((self._ttl or 0) * 1000)
        proc, lease_ms = (lease.proc, 0) if lease.kept else ("", int(lease.lease_s * 1000))
        if not self._run("take", owner, proc, ttl_ms or lease_ms):
            raise TaskLockedException(f"unable to acquire lock {self._name}")
        self._mine.owner, self._mine.proc = owner, proc
        self._mine.keeper = None if proc or ttl_ms else self._keep(owner, lease_ms, lease.beat_s)
        return True

    def _keep(self, owner: str, lease_ms: int, beat_s: float) -> threading.Event:
        """Renew it from a process that has no lease, until the event is set."""
        stop = threading.Event()

        def renew() -> None:
            while not stop.wait(beat_s):
                try:
                    if not self._run("renew", owner, "", lease_ms):
                        return
                except EngineError:
                    continue

        threading.Thread(target=renew, name="lock", daemon=True).start()
        return stop

    def release(self) -> bool:
        """Free it where this thread holds it; else free it whoever holds it, as Huey does."""
        owner = getattr(self._mine, "owner", None)
        if owner is None:
            return bool(self.clear())
        if self._mine.keeper is not None:
            self._mine.keeper.set()
        self._mine.owner = None
        return self._run("free", owner, self._mine.proc)

    def __exit__(self, *exc: object) -> None:
        if self._huey.immediate:
            super().__exit__(*exc)
        elif getattr(self._mine, "owner", None) is not None:
            owner, proc = self._mine.owner, self._mine.proc
            try:
                self.release()
            except EngineError:  # the body is done: it must not fail for this
                threading.Thread(target=self._free_later, args=(owner, proc), daemon=True).start()

    def _free_later(self, owner: str, proc: str) -> None:
        """Free it when Redis is back; a process that ends before frees it by its lease."""
        while True:
            time.sleep(self._huey.beat_s)
            try:
                self._run("free", owner, proc)
                return
            except EngineError:
                continue


class JobRateLimit(RateLimit):
    """A fixed window of `per` seconds, counted by Redis; a refused start is not counted."""

    def acquire(self) -> None:
        """Take one start. Raises RateLimitExceeded with the seconds until the next window."""
        if self._huey.immediate:
            super().acquire()
            return
        reply: Any = self._huey.storage.scripts.run(
            "rate", 0, self._counter_key, self._limit, max(1, int(self._per * 1000))
        )
        if not reply[0]:
            raise RateLimitExceeded(self._name, int(reply[1]) / 1000, retry=self._retry)
