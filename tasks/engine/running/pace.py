"""How long a task's jobs take, as far as this process has seen: what may be taken ahead."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

WINDOW_US = 5000
MOST_HELD = 64
WEIGHT = 0.1
INSTANT_US = 128  # a slot is back from such a job before another one would have woken
SHORT_US = 1024
FULL = 0.85  # of a core: more slots at work would only wait for each other
LOOKED_S = 0.005


class Pace:
    """Moving averages of run times by task; only tasks quicker than the window are taken ahead."""

    def __init__(self) -> None:
        self._mean_us: dict[str, float] = {}
        self._quick: dict[str, int] = {}
        self._full = False
        self._looked = (time.monotonic(), time.process_time())

    def look(self) -> None:
        """See how busy this process is, at most each LOOKED_S seconds."""
        now, cpu = time.monotonic(), time.process_time()
        before, cpu_before = self._looked
        if now - before >= LOOKED_S:
            self._full = cpu - cpu_before >= FULL * (now - before)
            self._looked = now, cpu

    def alone(self, task: str) -> bool:
        """Tell whether one slot does such jobs as fast as several: others are better left asleep."""
        us = self._quick.get(task)
        return us is not None and (us <= INSTANT_US or (self._full and us <= SHORT_US))

    def note(self, task: str, ran_s: float) -> None:
        """Count one run."""
        before, us = self._mean_us.get(task), ran_s * 1_000_000
        mean = us if before is None else before + (us - before) * WEIGHT
        self._mean_us[task] = mean
        if mean < WINDOW_US:
            self._quick[task] = 1 << max(4, int(mean).bit_length())  # changes seldom
        else:
            self._quick.pop(task, None)

    def plan(self, want: int, *, ahead: bool) -> Mapping[str, Any]:
        """Return what lib/take.lua takes: `want` jobs that start at once, and what it may hold."""
        if not ahead or not self._quick:
            return {"want": want, "most": want, "each": 0, "left": 0, "pace": {}}
        return {"want": want, "most": max(want, MOST_HELD), "each": WINDOW_US,
                "left": WINDOW_US * want, "pace": self._quick}  # fmt: skip

    def refill(self, slots: int, *, held: int) -> Mapping[str, Any]:
        """Return what lib/take.lua takes where `held` jobs, half of what was taken, are held still.

        Who listened may have brought as many again: then it is none.
        """
        most = max(0, min(MOST_HELD // 2, MOST_HELD - held))
        return {"want": 0, "most": most, "each": WINDOW_US, "left": WINDOW_US * slots // 2,
                "pace": self._quick}  # fmt: skip
