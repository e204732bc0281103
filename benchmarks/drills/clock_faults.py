"""A row of the fault matrix that steps the clock of a worker's host.

By libfaketime (Debian: `apt install libfaketime`); without it the row says that it did not run. Redis
does not start under it: its clock steps in the state machine and in tests/engine/test_fence.py.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.drills.stage import Figures, Stage

HOUR_S = 3600
FOLDERS = ("/usr/lib", "/usr/local/lib")


class Clock:
    """A clock of its own for the processes that are started with `env`."""

    def __init__(self, stage: Stage) -> None:
        found = [lib for folder in FOLDERS for lib in Path(folder).glob("**/libfaketimeMT.so.1")]
        self.file = stage.home / "clock"
        self.is_there = bool(found)
        self.step(0)
        self.env = {
            "LD_PRELOAD": str(found[0]) if found else "", "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip

    def step(self, offset_s: int) -> None:
        """Let it differ by so much from the machine's."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}s\n")
        new.replace(self.file)


def worker_clock(stage: Stage) -> Figures:
    """The clock of a worker's host steps an hour forth and back, eight times"""
    clock = Clock(stage)
    if not clock.is_there:
        return Figures(note="not run: libfaketime is not installed")
    names = stage.add(300, work_s=0.05)
    stage.consumer(env=clock.env), stage.consumer()
    stage.running()
    for offset_s in (HOUR_S, 0, -HOUR_S, 0) * 2:
        time.sleep(0.4)
        clock.step(offset_s)
    found = stage.finish(names)
    found.note = f"{stage.recovered()} recoveries, drift {stage.drift()}"
    return found
