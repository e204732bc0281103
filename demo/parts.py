"""One part of the running product: a process in its own session, started again when it dies."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
LARGEST_LOG = 5 * 1024 * 1024
STEADY_S = 60.0  # who lives this long starts again after 1 s, not later
SLOWEST_S = 30.0


class Part:
    """A process that is kept alive.

    Args:
        command: as for Popen.
        stop_s: how long it may take to end after SIGTERM.
    """

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str], log: Path,
                 *, stop_s: float = 30.0) -> None:  # fmt: skip
        self.name, self.command, self.environ, self.log = name, list(command), dict(environ), log
        self.stop_s = stop_s
        self.process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._delay_s = 1.0
        self.again_at: float | None = None

    def start(self) -> None:
        """Start it; its output is added to its log.

        It leads a session of its own, so that Ctrl-C in the terminal reaches only the supervisor,
        which stops the parts in order.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LARGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env=self.environ, cwd=ROOT, start_new_session=True,
            )  # fmt: skip
        self._started_at, self.again_at = time.monotonic(), None

    @property
    def pid(self) -> int | None:
        """Return its process id while it lives."""
        alive = self.process is not None and self.process.poll() is None
        return self.process.pid if alive and self.process else None

    def death(self) -> str | None:
        """Return how it died, once for each death; None while it lives.

        Sets `again_at`, when to start it again: after 1 s, then slower each time up to 30 s.
        """
        if self.process is None or self.again_at is not None or self.process.poll() is None:
            return None
        now = time.monotonic()
        if now - self._started_at >= STEADY_S:
            self._delay_s = 1.0
        self.again_at = now + self._delay_s
        self._delay_s = min(self._delay_s * 2, SLOWEST_S)
        code = self.process.returncode
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"

    @property
    def due_again(self) -> bool:
        """Tell whether it died and its pause is over."""
        return self.again_at is not None and time.monotonic() >= self.again_at

    def wait_s(self) -> float:
        """Return how long until it is started again."""
        return max(0.0, (self.again_at or 0.0) - time.monotonic())

    def terminate(self) -> None:
        """Ask it to end."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def kill(self) -> None:
        """End it and whatever it started."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def last_lines(self, many: int = 4) -> list[str]:
        """Return the end of its log."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 8192))
            return file.read().decode(errors="replace").splitlines()[-many:]
        return []


def from_procfile(name: str, environ: Mapping[str, str]) -> list[str]:
    """Return a Procfile line as a command, its variables filled in, from this Python's folder."""
    lines = dict(
        line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines() if line
    )
    filled = re.sub(
        r"\$\{(\w+):-([^}]*)\}", lambda found: environ.get(found[1]) or found[2], lines[name]
    )
    program, *arguments = shlex.split(filled)
    return [str(BIN / program), *arguments]
