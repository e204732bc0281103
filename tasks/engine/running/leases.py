"""A process's lease on its jobs: beats, sweeps for the dead, and what it holds now."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tasks.engine.errors import EngineError, Unreachable
from tasks.engine.keys import SCHEMA, newer
from tasks.engine.storage import BLOCK_S, Handed, JobStorage

logger = logging.getLogger("tasks.engine")
MOST_DEATHS = 3
RECOVERED_AT_ONCE = 200
SAY_GOODBYE_AFTER_S = 3.0


def memory_bytes() -> int:
    """Return this process's resident memory; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


class Lease:
    """One operating-system process's lease, renewed by a thread of its own.

    ttl `lease_s` seconds, renewed each `beat_s`; a process found dead twice, half a ttl apart,
    loses its jobs to whoever sweeps. A forked child makes a new one: the id has the PID in it.
    """

    def __init__(self, storage: JobStorage, *, lease_s: float, beat_s: float) -> None:
        self.storage, self.lease_s, self.beat_s = storage, lease_s, beat_s
        self.pid = os.getpid()
        self.proc = f"{socket.gethostname()[:40]}:{self.pid}:{secrets.token_hex(4)}"
        self.info: dict[str, Any] = {
            "host": socket.gethostname(), "pid": self.pid, "kind": "thread", "slots": 1,
            "queues": ",".join(storage.served), "state": "live", "version": "",
        }  # fmt: skip
        self.wish = ""
        self.on_halt: Callable[[], None] | None = None
        self._held: dict[str, str] = {}
        self._begun: dict[str, tuple[Handed, float]] = {}
        self._closing: set[str] = set()
        self._heard: tuple[int, float] | None = None  # Redis's clock by the last beat, ms; when
        self._fetching: list[
            float
        ] = []  # since when each fetch is under way whose jobs are unknown
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._away = False

    @property
    def kept(self) -> bool:
        """Tell whether this process keeps its lease: a worker does, a web process never began."""
        return self._thread is not None and not self._stop.is_set()

    def start(self) -> None:
        """Take the lease and keep it until `close` or until nobody refers to it."""
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(
                target=_keep, args=(weakref.ref(self), self._stop, self.beat_s),
                name="lease", daemon=True,
            )  # fmt: skip
        try:
            self.beat()
            self._thread.start()
        except BaseException:
            self._thread = None  # the next one tries again
            raise

    def swap(self, *, finished: Iterable[Handed], taken: Iterable[Handed]) -> None:
        """Forget what one call committed or gave up, and remember what it brought."""
        with self._lock:
            for job in finished:
                self._closing.discard(job.token)
                self._forget(job.id, job.token)
            for job in taken:
                self._held[job.id] = job.token

    def fetching(self, since: float) -> None:
        """Say that a fetch goes out, until `fetched` says so of the same time."""
        with self._lock:
            self._fetching.append(since)

    def fetched(self, since: float) -> None:
        """Say that what a fetch brought is known, or that it brings nothing."""
        with self._lock:
            self._fetching.remove(since)

    def outlived(self, since: float) -> bool:
        """Tell whether what was asked then may have been given to others: this process stood still."""
        return time.monotonic() - since > self.lease_s + BLOCK_S

    def holds(self, job: Handed) -> bool:
        """Tell whether Redis, as far as is known, still believes that this process has the job."""
        return self._held.get(job.id) == job.token

    def begin(self, job: Handed) -> None:
        """Say that a job that was held has started; the next beat tells so, if it still runs."""
        with self._lock:
            self._begun[job.id] = job, time.monotonic()

    def closing(self, tokens: Iterable[str]) -> None:
        """Say that the commits of these tokens are under way: Redis may have them closed already."""
        with self._lock:
            self._closing.update(tokens)

    def _forget(self, job_id: str, token: str) -> None:
        if self._held.get(job_id) == token:
            del self._held[job_id]
            self._begun.pop(job_id, None)

    def _lost(self, job_id: str, token: str) -> None:
        """Drop a job that Redis says is not ours; the answer to its own commit says so better."""
        with self._lock:
            if token in self._closing or self._held.get(job_id) != token:
                return
            self._forget(job_id, token)
        logger.warning("job %s is no longer ours: its result will not count", job_id)

    def held(self) -> dict[str, str]:
        """Return what this process runs: {job id: token}."""
        with self._lock:
            return dict(self._held)

    def _unsure_ms(self) -> int:
        """Return how long ago a job was handed out at least whose reply we miss for certain.

        A fetch that is under way, or whose reply this process had no time to read, is not lost.
        """
        with self._lock:
            under_way_s = time.monotonic() - min(self._fetching) if self._fetching else 0.0
        return int((under_way_s + self.beat_s * 1.5) * 1000)

    def _expected_ms(self) -> int:
        """Return what Redis's clock shows now, as far as the last beat tells; 0 before the first."""
        if self._heard is None:
            return 0
        told_ms, at = self._heard
        return told_ms + int((time.monotonic() - at) * 1000)

    def _ask(self) -> dict[str, Any]:
        """Return what a beat says: what this process runs, and of when that is."""
        expected_ms = self._expected_ms()
        unsure_ms = self._unsure_ms()  # before what is held: a fetch ends with its jobs among them
        with self._lock:
            running, started = dict(self._held), dict(self._begun)
        begun = {
            job_id: job.now_ms + round((at - job.at) * 1000)
            for job_id, (job, at) in started.items()
        }
        return {
            "proc": self.proc, "ttl_ms": int(self.lease_s * 1000), "running": running, "begun": begun,
            "unsure_ms": unsure_ms, "expected_ms": expected_ms, "late_ms": int(self.beat_s * 1000),
            "info": {**self.info, "busy": len(running), "rss": memory_bytes()},
        }  # fmt: skip

    def beat(self) -> None:
        """Renew the lease and hear wishes; jobs whose token is no longer ours are dropped."""
        ask = self._ask()
        reply = self.storage.scripts.run("beat", 0, json.dumps(ask))
        self._heard = int(reply[0]), time.monotonic()
        self.wish = reply[1].decode() or self._outdated(int(reply[4] or 0))
        if self.wish == "halt" and self.on_halt:
            halt, self.on_halt = self.on_halt, None
            halt()
        for job_id in (name.decode() for name in reply[3]):
            self._lost(job_id, ask["running"][job_id])

    def _outdated(self, schema: int) -> str:
        """Return the wish to stop where a newer version has taken over the jobs in Redis."""
        if schema <= SCHEMA:
            return ""
        if self.wish != "stop":
            logger.warning("%s; this worker ends what runs and stops", newer(schema))
        return "stop"

    def sweep(self, died: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
        """Recover the jobs of dead processes; of those in `died` (process: how it ended) at once.

        Returns: (job id, waiting or failed) of each.
        """
        ask = {
            "ttl_ms": int(self.lease_s * 1000), "grace_ms": int(self.lease_s * 500),
            "quiet_ms": int(max(self.beat_s * 5, 5) * 1000),
            "queues": self.storage.served, "most_deaths": MOST_DEATHS, "limit": RECOVERED_AT_ONCE, "died": dict(died or {}),
            "err": ["WorkerDied", "WorkerDied", f"the worker died {MOST_DEATHS} times", ""],
            "text": json.dumps({
                "type": "WorkerDied", "traceback": "", "fingerprint": "WorkerDied",
                "message": f"the worker died {MOST_DEATHS} times while it ran this job",
            }),
        }  # fmt: skip
        reply = self.storage.scripts.run("recover", 0, json.dumps(ask))
        found = [(job_id.decode(), state.decode()) for job_id, state in reply]
        for job_id, state in found:
            logger.warning("recovered job %s of a dead worker: %s", job_id, state)
        return found

    def once(self) -> None:
        """Do one beat; an outage is logged once, and its end too."""
        try:
            self.beat()
        except (Unreachable, EngineError) as exc:
            if not self._away:
                logger.warning("%s; the worker waits and goes on when it is back", exc)
            self._away = True
            return
        if self._away:
            logger.warning("Redis is back")
        self._away = False

    def close(self) -> None:
        """Stop beating and give back what is still held."""
        self._stop.set()
        if self._thread is None:
            return
        self._thread.join(SAY_GOODBYE_AFTER_S)  # a beat after the goodbye would bring it back
        try:
            self.storage.scripts.run("goodbye", 0, self.proc)
        except EngineError as exc:
            logger.warning("could not say goodbye: %s", exc)


def _keep(ref: weakref.ref[Lease], stop: threading.Event, beat_s: float) -> None:
    """Beat until told to stop, or until the lease's owner is gone."""
    while not stop.wait(beat_s):
        lease = ref()
        if lease is None or lease.pid != os.getpid():
            return
        lease.once()
        del lease
