"""What every drill needs: a Redis with an append-only file, consumers behind proxies, a ledger to count in."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from benchmarks.drills.proxy import Proxy

LEASE_S, BEAT_S = 3.0, 0.6
Env = Mapping[str, str]
NO_ENV: Env = {}


def until(condition: Callable[[], Any], limit_s: float = 90, every_s: float = 0.05) -> bool:
    """Wait for a condition. Returns: whether it came."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


@dataclass
class Figures:
    """What became of the jobs of a drill."""

    jobs: int = 0
    lost: int = 0
    doubled: int = 0
    heal_s: float = 0.0
    note: str = ""
    unit: list[float] = field(default_factory=list)


class Stage:
    """One drill's Redis, consumers and ledger."""

    def __init__(self) -> None:
        from demo.redis_server import choose

        self.home = Path(tempfile.mkdtemp(prefix="drill-"))
        self.binary = str(choose(self.home).binary)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.ledger = self.home / "ledger"
        self.ledger.touch()
        self.others: list[subprocess.Popen[bytes]] = []
        self.redis = self.start_redis()
        self.client = redis.Redis(port=self.port)
        self.consumers: list[subprocess.Popen[bytes]] = []
        self.proxies: list[Proxy] = []
        self.faults: list[float] = []
        self.app: Any = None
        self.point(f"redis://127.0.0.1:{self.port}")

    def point(self, url: str) -> None:
        """Let the app, as producer and reader, speak to this address."""
        self._leave()
        os.environ.update(BENCH_REDIS=url, BENCH_FILE=str(self.ledger),
                          DRILL_LEASE_S=str(LEASE_S), DRILL_BEAT_S=str(BEAT_S))  # fmt: skip
        sys.modules.pop("benchmarks.apps.ledger", None)
        self.app = importlib.import_module("benchmarks.apps.ledger")

    def _leave(self) -> None:
        if self.app is not None:
            self.app.huey.lease.close()
            self.app.huey.storage.close()

    def start_redis(
        self, *options: str, port: int = 0, folder: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start the server on what is on disk, or another one on a port and folder of its own."""
        port, folder = port or self.port, folder or self.home
        common = f"--port {port} --dir {folder} --appendonly yes --appendfsync everysec"
        process = subprocess.Popen(
            [self.binary, *common.split(), "--save", "", *options], stdout=subprocess.DEVNULL
        )
        client = redis.Redis(port=port)

        def answers() -> bool:
            with contextlib.suppress(redis.RedisError):
                return bool(client.ping())
            return False

        until(answers, 20)
        client.close()
        return process

    def consumer(self, *options: str, kind: str = "thread", slots: int = 4, code: Path | None = None,
                 env: Env = NO_ENV) -> int:  # fmt: skip
        """Start a stock consumer behind a proxy of its own, of this code or of that in a folder.

        Returns: its number.
        """
        self.proxies.append(Proxy(self.port))
        whole = {**os.environ, "BENCH_REDIS": f"redis://127.0.0.1:{self.proxies[-1].port}", **env}
        patched = ["-m", "gevent.monkey", "--module"] if kind == "greenlet" else ["-m"]
        command = [sys.executable, *patched, "huey.bin.huey_consumer", "benchmarks.apps.ledger.huey",
                   "-k", kind, "-w", str(slots), "-q", *options]  # fmt: skip
        log = (self.home / f"consumer-{len(self.consumers)}.log").open("wb")
        self.consumers.append(
            subprocess.Popen(
                command, env=whole, stdout=log, stderr=log, start_new_session=True, cwd=code
            )
        )
        return len(self.consumers) - 1

    def add(self, many: int, work_s: float = 0.02) -> list[str]:
        """Add jobs. Returns: the names their ledger lines carry."""
        names = [f"job{n}-{random.randrange(1 << 30)}" for n in range(many)]
        self.app.huey.enqueue_many([self.app.work.s(name, work_s) for name in names])
        return names

    def lines(self, kind: str) -> list[tuple[str, float]]:
        """Return (job, when) of each line of a kind."""
        rows = (line.split() for line in self.ledger.read_text().splitlines())
        return [(row[1], float(row[2])) for row in rows if row[0] == kind]

    def busy(self, many: int, work_s: float = 0.02) -> list[str]:
        """Add jobs, start two consumers, and wait until they work. Returns: the names of the jobs."""
        names = self.add(many, work_s)
        self.consumer(), self.consumer()
        self.running()
        return names

    def running(self) -> None:
        """Wait until jobs are started."""
        until(lambda: len(self.lines("start")) > 8)

    def fault(self) -> None:
        """Note that a fault happens now."""
        self.faults.append(time.time())

    def log(self) -> str:
        """Return what the consumers said."""
        return "".join(path.read_text() for path in self.home.glob("consumer-*.log"))

    def finish(self, names: list[str], limit_s: float = 90) -> Figures:
        """Wait for the end of every job and count."""
        wanted = set(names)
        until(lambda: wanted <= {name for name, _ in self.lines("end")}, limit_s)
        until(lambda: not self._live(), 30)
        ended = Counter(name for name, _ in self.lines("end"))
        return Figures(
            jobs=len(names), lost=len(wanted - set(ended)),
            doubled=sum(ended[name] > 1 for name in names), heal_s=self._heal(),
        )  # fmt: skip

    def drift(self) -> str:
        """Say what the check of all keys finds wrong; it mends nothing."""
        return str(self.app.huey.commands.fsck(mend=False) or "none")

    def lives(self) -> list[str]:
        """Return the ids of the worker processes that live."""
        return [worker.id for worker in self.app.huey.reads.workers() if worker.state == "live"]

    def recovered(self) -> int:
        """Count how often a job was recovered of a dead worker."""
        from tasks.engine import JobFilter

        with contextlib.suppress(Exception):
            page = self.app.huey.reads.jobs(JobFilter(), limit=200)
            return sum(job.recovered for job in page.items)
        return -1

    def _live(self) -> int:
        totals = self.app.huey.reads.snapshot().totals
        return sum(
            n for state, n in totals.items() if state.value in ("waiting", "active", "retrying")
        )

    def _heal(self) -> float:
        """The longest time from a fault to the new start of a job it broke off, else to the next end."""
        starts: dict[str, list[float]] = {}
        for name, at in self.lines("start"):
            starts.setdefault(name, []).append(at)
        ends = sorted(at for _, at in self.lines("end"))
        found = [0.0]
        for at in self.faults:
            again = [
                second - at
                for times in starts.values()
                for first, second in zip(times, times[1:], strict=False)
                if first <= at <= second
            ]
            found.append(max(again) if again else next((e - at for e in ends if e > at), 0.0))
        return max(found)

    def close(self) -> None:
        """End everything and remove it."""
        for process in self.consumers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for proxy in self.proxies:
            proxy.close()
        self._leave()
        for process in [self.redis, *self.others]:
            process.kill()
            process.wait()
        shutil.rmtree(self.home, ignore_errors=True)
