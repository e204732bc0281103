"""The worker processes: who lives, what each runs, who died and what was recovered from it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.engine import rows
from tasks.engine.errors import UnknownJob
from tasks.engine.instance import RunningJob, Worker
from tasks.engine.operations import Outcome
from tasks.engine.records import Progress, State

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey
    from tasks.engine.storage import JobStorage

MOST_ALIVE = 1000  # as in lua/snapshot.lua and lua/job.lua
MOST_DEAD = 50
MOST_JOBS = 64
TAKER = ("slots", "queues", "wish", "version", "started")  # as in lua/snapshot.lua
RESTING_WISHES = ("quiet", "stop", "halt")  # with one of these a process takes nothing new


def bury(huey: JobHuey, codes: Mapping[int, int]) -> list[tuple[str, str]]:
    """Recover the jobs of this consumer's children that ended badly: {pid: exit code}, at once.

    Returns: (job id, waiting or failed) of each.
    """
    keys, host = huey.storage.keys, socket.gethostname()[:40]
    starts = {f"{host}:{pid}:": code for pid, code in codes.items()}
    names = [n.decode() for n in huey.storage.call("ZRANGE", keys.one("procs"), 0, MOST_ALIVE - 1)]
    ours = [name for name in names if name.rpartition(":")[0] + ":" in starts]
    if not ours:
        return []
    family = huey.worker_info.get("family", "").encode()
    known = huey.storage.pipeline([("HGET", keys.of("proc", name), "family") for name in ours])
    died = {
        name: ended(starts[name.rpartition(":")[0] + ":"])
        for name, its in zip(ours, known, strict=True)
        if its == family  # another machine may have our name and a process of that number
    }
    return huey.lease.sweep(died) if died else []


def ended(code: int) -> str:
    """Say how a process ended, from its exit code."""
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


class Taker(NamedTuple):
    """A live process as the snapshot sees it; `queues` is empty while it takes nothing new."""

    slots: int
    queues: frozenset[str]
    version: str
    started_ms: int


def takers(storage: JobStorage, procs: Sequence[bytes]) -> list[Taker]:
    """Return what these live processes take jobs from; one round trip."""
    key = storage.keys.of
    asks = [("HMGET", key("proc", proc.decode()), *TAKER) for proc in procs]
    return [taker_of(row) for row in storage.pipeline(asks)] if asks else []


def taker_of(row: Sequence[bytes | None]) -> Taker:
    """Return what a live process takes jobs from, from the fields TAKER of its record."""
    slots, queues, wish, version, started = ((value or b"").decode() for value in row)
    taken = "" if wish in RESTING_WISHES else queues
    return Taker(int(slots or 1), frozenset(taken.split(",")) - {""}, version, int(started or 0))


class Fleet:
    """The question about workers; Reads inherits it."""

    storage: JobStorage

    def workers(self) -> list[Worker]:
        """Return the worker processes alive now, 1 000 at most, then those that died in the last day."""
        keys = self.storage.keys
        time_, alive_, dead_ = self.storage.pipeline([
            ("TIME",), ("ZRANGE", keys.one("procs"), 0, MOST_ALIVE - 1, "WITHSCORES"),
            ("ZREVRANGE", keys.one("dead"), 0, MOST_DEAD - 1),
        ])  # fmt: skip
        alive = _scored(alive_)
        names = list(alive) + [name.decode() for name in dead_ if name.decode() not in alive]
        return self._read(names, alive, _ms(time_))

    def worker(self, worker_id: str) -> Worker:
        """Return one worker process, not compared with others' versions. Raises UnknownJob."""
        procs = self.storage.keys.one("procs")
        time_, expires = self.storage.pipeline([("TIME",), ("ZSCORE", procs, worker_id)])
        alive = {} if expires is None else {worker_id: float(expires)}
        for found in self._read([worker_id], alive, _ms(time_)):
            return found
        raise UnknownJob(f"there is no worker {worker_id}")

    def _read(self, names: Sequence[str], alive: Mapping[str, float], now_ms: int) -> list[Worker]:
        keys = self.storage.keys
        kinds = (("HGETALL", "proc"), ("HGETALL", "held"), ("LRANGE", "buried"))
        reply = self.storage.pipeline([
            (command, keys.of(kind, name), *((0, MOST_JOBS - 1) if command == "LRANGE" else ()))
            for name in names for command, kind in kinds
        ])  # fmt: skip
        rows_ = zip(names, *(reply[n :: len(kinds)] for n in range(len(kinds))), strict=True)
        found = [
            _worker(name, rows.flat(info), rows.flat(held), buried, alive.get(name), now_ms)
            for name, info, held, buried in rows_
            if info
        ]
        return self._with_jobs(
            _with_versions(found), dict(zip(names, reply[1 :: len(kinds)], strict=True))
        )

    def _with_jobs(self, found: Sequence[Worker], held: Mapping[str, Any]) -> list[Worker]:
        """Say of each worker what it runs; one round trip for all."""
        ids = {w.id: [*rows.flat(held[w.id])][:MOST_JOBS] if w.busy else [] for w in found}
        keys = self.storage.keys
        commands: list[Sequence[Any]] = []
        for job_id in (job_id for jobs in ids.values() for job_id in jobs):
            commands.append(("HMGET", keys.of("job", job_id), "t", "q", "b"))
            commands.append(("GET", keys.of("progress", job_id)))
        reply = iter(self.storage.pipeline(commands) if commands else ())
        return [
            replace(w, jobs=[_job(i, next(reply), next(reply)) for i in ids[w.id]]) for w in found
        ]


def _worker(name: str, info: Mapping[str, str], held: Mapping[str, str], buried: Sequence[bytes],
            expires: float | None, now_ms: int) -> Worker:  # fmt: skip
    state = info.get("wish") or info.get("state", "live")
    state = {"stop": "stopping", "halt": "stopping"}.get(state, state)
    if expires is None or expires < now_ms:
        state = "dead"
    seen = rows.instant(info.get("seen")) or rows.micros(0)
    slots = int(info.get("slots", 1))
    recovered = (line.decode().partition("\t") for line in buried)
    return Worker(
        id=name, host=info.get("host", ""), pid=int(info.get("pid", 0)), kind=info.get("kind", ""),
        queues=tuple(info.get("queues", "").split(",")), slots=slots,
        busy=min(len(held), slots), state=state, started_at=rows.instant(info.get("started")) or seen, seen_at=seen,
        version=info.get("version", ""), memory=int(info.get("rss", 0)),
        died_at=rows.instant(info.get("died")), gone=info.get("gone", ""),
        recovered=[Outcome(id=job_id, done=True, state=State(to)) for job_id, _, to in recovered],
    )  # fmt: skip


def _with_versions(found: Sequence[Worker]) -> list[Worker]:
    """Mark the live workers that run another version than the one that started last."""
    live = [worker for worker in found if worker.state != "dead"]
    if not live:
        return list(found)
    newest = max(live, key=lambda worker: worker.started_at).version
    return [replace(w, outdated=w in live and w.version != newest) for w in found]


def _job(job_id: str, figures: Sequence[bytes | None], said: bytes | None) -> RunningJob:
    task, queue, begun = ((value or b"").decode() for value in figures)
    return RunningJob(id=job_id, task=task, queue=queue, started_at=rows.instant(begun),
                      progress=rows.parse_progress(said) if said else Progress())  # fmt: skip


def _ms(time_: Sequence[Any]) -> int:
    return int(time_[0]) * 1000 + int(time_[1]) // 1000


def _scored(reply: Sequence[Any]) -> dict[str, float]:
    """Return {name: score} of a WITHSCORES reply, flat or in pairs."""
    if reply and isinstance(reply[0], list | tuple):
        return {name.decode(): float(score) for name, score in reply}
    return {n.decode(): float(s) for n, s in zip(reply[::2], reply[1::2], strict=True)}
