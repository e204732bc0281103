"""Servers of a test's own: with a file on disk that can be full, on a port, or of another kind."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import redis
from waiting import PATIENCE_S, wait_until

ROOM = 400  # bytes that a file may still grow on a full disk: half a job's


def binary() -> str:
    """Return what the tests' other server is of too."""
    from demo.redis_server import bundled_binary

    found = shutil.which("redis-server") or shutil.which("valkey-server") or bundled_binary()
    assert found
    return str(found)


class OwnServer:
    """A real server in a folder of its own, on a Unix socket and, where one is given, a port."""

    def __init__(self, folder: Path, *options: str, port: int = 0) -> None:
        self.folder, socket = folder, folder / "own.sock"
        self.url = f"redis://127.0.0.1:{port}/0" if port else f"unix://{socket}?db=0"
        place = ["--dir", str(folder), "--port", str(port), "--unixsocket", str(socket)]
        self.command = [binary(), *place, "--save", "", *options]
        self.start()

    def start(self) -> None:
        """Start it on what is in its folder, and wait until it answers."""
        # SIGXFSZ stays ignored, as in Python: a write beyond the limit fails and ends nothing
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, restore_signals=False
        )
        with redis.Redis.from_url(self.url) as client:
            wait_until(lambda: _answers(client), what=f"{self.command[0]} answers")

    def stop(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait(timeout=PATIENCE_S)

    def fill_disk(self) -> None:
        """Let its files grow no further, as on a full disk."""
        largest = max(file.stat().st_size for file in self.folder.glob("appendonlydir/*"))
        self._limit(largest + ROOM)

    def free_disk(self) -> None:
        """Let them grow again."""
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _answers(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.ConnectionError):
        return bool(client.ping())
    return False


@contextlib.contextmanager
def own_server(*options: str, port: int = 0) -> Iterator[OwnServer]:
    """Run a server until the end of the block."""
    with TemporaryDirectory(prefix="jd-") as folder:
        server = OwnServer(Path(folder), *options, port=port)
        try:
            yield server
        finally:
            server.stop()
