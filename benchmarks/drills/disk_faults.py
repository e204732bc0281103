"""Rows of the fault matrix that fill the disk under Redis: a tmpfs of its own, mounted as root.

Where that is not allowed the rows say that they did not run; tests/engine/test_full_disk.py limits the
size of Redis's files instead, and needs no rights.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from benchmarks.drills.stage import LEASE_S, Figures, Stage, until
from benchmarks.stage import cpu_s

SIZE, LEFT = 16 << 20, 64 << 10
FULL_S = 2 * LEASE_S + 2
Row = tuple[str, bytes, datetime | None]


class Disk:
    """A small disk that something else can fill."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.filler = folder, folder / "filler"

    def fill(self) -> None:
        """Let something else take all but a little of it, so that Redis writes until it is full."""
        free = os.statvfs(self.folder)
        with self.filler.open("wb") as file:
            file.write(bytes(max(0, free.f_bavail * free.f_frsize - LEFT)))

    def clear(self) -> None:
        """Make room again."""
        self.filler.unlink()


@contextlib.contextmanager
def small_disk(stage: Stage) -> Iterator[Disk | None]:
    """Mount a disk of 16 MiB; None where this user may not."""
    (folder := stage.home / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "drill", str(folder)]
    allowed = not subprocess.run(mount, check=False, capture_output=True).returncode
    try:
        yield Disk(folder) if allowed else None
    finally:
        if allowed:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def full_disk(stage: Stage) -> Figures:
    """The disk under the append-only file is full for twice the lease"""
    return _filled(stage)


def full_disk_killed(stage: Stage) -> Figures:
    """The same, and Redis is killed before there is room again"""
    return _filled(stage, killed=True)


def full_disk_snapshot(stage: Stage) -> Figures:
    """The disk under RDB alone is full for twice the lease (stop-writes-on-bgsave-error)"""
    return _filled(stage, "--appendonly", "no", "--save", "1 1")


def _filled(stage: Stage, *options: str, killed: bool = False) -> Figures:
    """Fill the disk under load, add meanwhile with an outbox, make room, push what the outbox took."""
    with small_disk(stage) as disk:
        if disk is None:
            return Figures(note="not run: mounting a small disk needs root")
        _stop(stage)
        stage.redis = stage.start_redis(*options, folder=disk.folder)
        stage.app.huey.commands.configure()
        names = stage.busy(600, work_s=0.1)
        disk.fill()
        outbox, core = _add_while_full(stage, names)
        if killed:
            _stop(stage)
        disk.clear()
        if killed:
            stage.redis = stage.start_redis(*options, folder=disk.folder)
        stage.fault()
        until(lambda: stage.app.huey.reads.is_reachable())
        stage.app.huey.push(outbox)
        found = stage.finish(names)
        found.note = (
            f"{len(outbox)} of {len(names) - 600} adds went to the outbox, {stage.recovered()} recoveries,"
            f" {core:.0%} of a core while full, drift {stage.drift()}"
        )
        return found


def _stop(stage: Stage) -> None:
    stage.redis.kill()
    stage.redis.wait()


def _add_while_full(stage: Stage, names: list[str]) -> tuple[list[Row], float]:
    """Add jobs for FULL_S seconds from the first refusal on, their names to `names`.

    Returns: what went to the outbox, and how busy the consumers were, in cores.
    """
    outbox: list[Row] = []
    stage.app.huey.spill = lambda *row: outbox.append(row) or True
    began = busy = 0.0
    while not began or time.monotonic() - began < FULL_S:
        names.append(f"full{len(names)}")
        stage.app.work(names[-1], 0.02)
        if outbox and not began:
            began, busy = time.monotonic(), _busy_s(stage)
        if began:
            time.sleep(0.1)
    stage.app.huey.spill = None
    return outbox, (_busy_s(stage) - busy) / (time.monotonic() - began)


def _busy_s(stage: Stage) -> float:
    return sum(cpu_s(process.pid) for process in stage.consumers)
