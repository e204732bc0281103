"""How long an operation rests after each of its steps, so that workers hardly notice it."""

from __future__ import annotations

import time

from tasks.engine.storage import JobStorage

REST, BUSY_REST = 2.0, 49.0  # s for each second of a step
BUSY = 0.6  # of a core: an operation alone takes a third at most
LOOKED_S = 0.2


class Yielding:
    """Leaves two thirds of the time to others, and 49 of 50 parts where Redis or this process is busy.

    Redis has one core for all that it does, and so has a process of Python for its slots.
    """

    def __init__(self, storage: JobStorage) -> None:
        self.storage = storage
        self._looked: tuple[float, float, float] | None = None  # the clock, Redis's CPU, our CPU
        self._busy = False

    def rest_s(self, took_s: float) -> float:
        """Return how long to rest after a step. Raises Unreachable."""
        now = time.monotonic()
        if self._looked is None or now - self._looked[0] >= LOOKED_S:
            self._look(now)
        return took_s * (BUSY_REST if self._busy else REST)

    def _look(self, now: float) -> None:
        """See how busy both were since the last look, if that was no long time ago."""
        info = self.storage.call("INFO", "cpu")
        redis_s = float(info["used_cpu_user"]) + float(info["used_cpu_sys"])
        own_s = time.process_time()
        if self._looked is not None and (passed := now - self._looked[0]) < 20 * LOOKED_S:
            most_s = max(redis_s - self._looked[1], own_s - self._looked[2])
            self._busy = most_s > BUSY * passed
        self._looked = now, redis_s, own_s
