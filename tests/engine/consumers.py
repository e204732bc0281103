"""Real consumers: `huey_consumer` processes on an application of apps/, and its view from here."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from forking import Forked, Nursery
from waiting import wait_until

from tasks.engine import State

CONSUMER = str(Path(sys.executable).with_name("huey_consumer"))
ROOT = Path(__file__).parents[2]
PATH = f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'engine'}"
Process = subprocess.Popen[bytes] | Forked


class Consumers:
    """Starts consumers of one application and looks at its jobs."""

    def __init__(self, app: ModuleType, folder: Path, nursery: Nursery) -> None:
        self.app, self.huey, self.folder, self.nursery = app, app.huey, folder, nursery
        self.env = {**os.environ, "PYTHONPATH": PATH}
        self.started: list[Process] = []

    def start(self, *options: str, program: bool = False) -> Process:
        """Start a consumer in a process group of its own; wait until it has its lease, or died.

        `program`: from the command line, as operators do. One of greenlets always is: what it
        patches comes before all imports.
        """
        before = {worker.id for worker in self.huey.reads.workers()}
        log = self.folder / f"consumer-{len(self.started)}.log"
        command = [CONSUMER, "apps.crashing.huey", "-w", "4", *options]
        found = (self._executed if program or "greenlet" in options else self._forked)(command, log)
        self.started.append(found)
        wait_until(
            lambda: (
                {worker.id for worker in self.huey.reads.workers()} - before
                or found.poll() is not None
            ),
            lambda: f"the consumer lives: {self.log()}",
        )
        return found

    def _forked(self, command: list[str], log: Path) -> Forked:
        return Forked(self.nursery, argv=command, env=self.env, log=str(log), cwd=str(self.folder))

    def _executed(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        patched = [sys.executable, "-m", "gevent.monkey"] if "greenlet" in command else []
        with log.open("wb") as out:
            return subprocess.Popen(
                [*patched, *command], env=self.env, stdout=out, stderr=out,
                start_new_session=True, cwd=self.folder,
            )  # fmt: skip

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def counts(self) -> dict[State, int]:
        return {s: n for s, n in self.huey.reads.snapshot().totals.items() if n}

    def reach(self, expected: dict[State, int]) -> None:
        """Wait until the jobs stand so."""
        wait_until(
            lambda: self.counts() == expected,
            lambda: f"{expected}, it is {self.counts()}: {self.log()[-2000:]}",
        )

    def hold(self, how_many: int) -> None:
        """Wait until so many held jobs began: one that is active may still wait for its slot."""
        wait_until(
            lambda: self.app.began() >= how_many,
            lambda: f"{how_many} began, it is {self.app.began()}: {self.log()[-2000:]}",
        )

    def hear(self, words: str) -> None:
        """Wait until a consumer has said so in its log."""
        wait_until(lambda: words in self.log(), lambda: f"{words!r} is said: {self.log()[-2000:]}")

    def gone(self, process: Process) -> int:
        """Wait until a consumer has ended. Returns: its exit code."""
        wait_until(lambda: process.poll() is not None, lambda: f"it ends: {self.log()[-2000:]}")
        return process.wait()

    def beats(self, how_many: int) -> None:
        """Wait until the only consumer has renewed its lease so often."""
        for _ in range(how_many):
            seen = self.huey.reads.workers()[0].seen_at
            wait_until(lambda seen=seen: self.huey.reads.workers()[0].seen_at > seen, "a beat")

    def end(self) -> None:
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
