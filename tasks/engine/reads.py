"""Everything the dashboard may ask. Secret arguments leave here as MASK.

Each call is one or two round trips, bounded, and raises Unreachable while Redis is away.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from tasks.engine import rows
from tasks.engine.errors import EngineError, UnknownQueue
from tasks.engine.figures.buckets import Buckets
from tasks.engine.figures.chosen import Chosen
from tasks.engine.figures.known import Known
from tasks.engine.figures.measuring import Measuring
from tasks.engine.instance import Findings, QueueStats, ServerState, Snapshot
from tasks.engine.operating import dry_run
from tasks.engine.operating.bulk import MOST_FOUND, Operations
from tasks.engine.operating.checking import Check
from tasks.engine.operating.grouping import Grouping
from tasks.engine.operations import DryRun, Operation, Outcome, Touch
from tasks.engine.queueing.batches import BatchReads
from tasks.engine.reading import pauses
from tasks.engine.reading.explaining import Explaining
from tasks.engine.reading.finding import Finding
from tasks.engine.reading.fleet import Fleet, taker_of
from tasks.engine.reading.standing import Standing
from tasks.engine.records import Event, JobFilter, State
from tasks.engine.scripts import CLUSTER, Beside
from tasks.engine.ticking.ticks import Ticks

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey

T = TypeVar("T")
LOWEST = (6, 2)
WRITES = {
    "aof_last_write_status": "the last write to the append-only file failed: make room on its disk",
    "aof_last_bgrewrite_status": "the last rewrite of the append-only file failed: it grows until one"
    " succeeds; look at its disk",
    "rdb_last_bgsave_status": "the last save to disk failed: look at the disk and at Redis's log",
}


class Reads(Finding, Explaining, Measuring, Grouping, Ticks, Fleet, BatchReads):
    """The engine's questions; made by JobHuey as `huey.reads`."""

    def __init__(self, huey: JobHuey) -> None:
        self.huey, self.storage = huey, huey.storage
        self.bulk = Operations(huey.storage)
        self.buckets = Buckets(huey.storage)
        self.chosen = Chosen(huey.storage, self.buckets)
        self.known = Known()
        self.standing = Standing(huey.declared)

    # The server

    def ping(self) -> float:
        """Return the milliseconds one round trip takes."""
        started = time.perf_counter()
        self.storage.call("PING")
        return (time.perf_counter() - started) * 1000

    def fsck(self) -> Findings:
        """Return what the check of all keys found last. Raises Unreachable."""
        return Check(self.storage).findings()

    def is_reachable(self) -> bool:
        """Tell whether Redis answers; raises nothing."""
        try:
            self.ping()
        except EngineError:
            return False
        return True

    def now_ms(self) -> int:
        """Return Redis's clock, Unix milliseconds."""
        seconds, micros = self.storage.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def server(self) -> ServerState:
        """Return what the server says of itself, and what is wrong for our purpose."""
        info = self.storage.call("INFO")
        kind = "valkey" if "valkey_version" in info else "redis"
        version = str(info.get(f"{kind}_version", info.get("redis_version", "0")))
        return ServerState(
            version=version, kind=kind, used_memory=int(info.get("used_memory", 0)),
            max_memory=int(info.get("maxmemory", 0)), faults=tuple(_faults(info, version, self.storage.moves)),
            too_old=_number(version) < LOWEST, refuses=self._refusal(info),
        )  # fmt: skip

    def _refusal(self, info: Mapping[str, Any]) -> str:
        """Return why the server takes no change since it could not write to its disk; empty where it does."""
        if all(info.get(name, "ok") == "ok" for name in WRITES):
            return ""
        try:
            self.ping()
        except EngineError as exc:
            return str(exc)
        return ""

    def changed_at(self) -> datetime:
        """Return the time of the last change of any job; later changes have a later one."""
        last = self.storage.call("HGET", self.storage.keys.one("meta"), "clock")
        return rows.micros(last or 0)

    # Queues

    def snapshot(self) -> Snapshot:
        """Return all counts, ages, pauses and breakers at one moment."""
        return self.snapshot_beside(lambda: None)[0]

    def snapshot_beside(self, do: Callable[[], T]) -> tuple[Snapshot, T]:
        """Return the snapshot, and what `do` returns, which is done while Redis counts."""
        script = Beside(self.storage.scripts, "snapshot", *self.huey.declared)
        done = script.while_(do)
        return self._snapshot(script.reply), done

    def _snapshot(self, reply: Sequence[Any]) -> Snapshot:
        now_ms, found, procs, newest, paused, open_errors, failing = reply
        at = rows.instant(now_ms.decode()) or datetime.now(UTC)
        rates = self.rates(int(now_ms))
        named = [(row[3].decode(), row) for row in found]
        queues = [self.standing.of(name, row, at, rates.get(name)) for name, row in named]
        totals = {state: sum(queue.counts[state] for queue in queues) for state in State}
        alive = sorted((taker_of(row) for row in procs), key=lambda one: -one.started_ms)
        return Snapshot(at=at, queues=queues, totals=totals, workers_live=len(procs),
                        slots=sum(one.slots for one in alive), versions=Counter(one.version for one in alive),
                        served=frozenset().union(*(one.queues for one in alive)),
                        last_finished_at=rows.micros(newest) if newest else None, open_errors=open_errors, failing_errors=failing,
                        paused_parts=pauses.read_all(paused, at))  # fmt: skip

    def queues(self) -> list[QueueStats]:
        """Return every queue's figures."""
        return list(self.snapshot().queues)

    def queue(self, name: str) -> QueueStats:
        """Return one queue's figures. Raises UnknownQueue."""
        for queue in self.queues():
            if queue.name == name:
                return queue
        raise UnknownQueue(f"there is no queue {name!r}; there are {', '.join(self.names())}")

    # Tasks

    def tasks(self) -> list[str]:
        """Return the names of the registered tasks."""
        return sorted(self.huey._registry._registry)

    # Operations

    def operation(self, operation_id: str) -> Operation:
        """Return one operation. Raises UnknownJob."""
        return self.bulk.get(operation_id)

    def operations(self, limit: int = 50) -> list[Operation]:
        """Return the newest operations."""
        return self.bulk.newest(limit)

    def operation_outcomes(self, operation_id: str, limit: int = 200, start: int = 0,
                           which: str = "all") -> list[Outcome]:  # fmt: skip
        """Return what happened to each job, the newest first, leaving out `start` of them.

        Args:
            which: all, skipped, or failed (done here, failed after).
        """
        return self.bulk.outcomes(operation_id, limit, start, which)

    def operation_found(self, operation_id: str, limit: int = MOST_FOUND, start: int = 0) -> list[str]:  # fmt: skip
        """Return the ids that a search found, the newest change first, leaving out `start` of them."""
        return self.bulk.found(operation_id, limit, start)

    def operation_events(self, operation_id: str) -> list[Event]:
        """Return what happened to an operation as a whole, the oldest first."""
        return self.bulk.events(operation_id)

    def touched(self, job_id: str) -> list[Touch]:
        """Return the last operations that did something to a job, the oldest first."""
        return self.bulk.touched(job_id)

    def dry_run(self, kind: str, wanted: JobFilter, cursor: str | None = None,
                skipped: bool = False) -> DryRun:  # fmt: skip
        """Say what an operation would act on. Raises UnknownQueue. Cost: half a second at most.

        Args:
            cursor: `next` of another dry run, for other samples. skipped: samples of what it passes over.
        """
        return dry_run.look(self, kind, wanted, cursor, skipped)

    def dry_run_of(self, kind: str, ids: Sequence[str], start: int = 0,
                   skipped: bool = False) -> DryRun:  # fmt: skip
        """Say the same of jobs that were chosen one by one, with samples from the one at `start` on."""
        return dry_run.look_at(self, kind, list(self.some(ids).values()), start, skipped)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _faults(info: Mapping[str, Any], version: str, moves: bool = False) -> Iterable[str]:
    if _number(version) < LOWEST:
        yield f"version {version} is older than 6.2"
    if info.get("maxmemory_policy", "noeviction") != "noeviction":
        yield f"maxmemory-policy is {info['maxmemory_policy']}: keys may vanish; set noeviction"
    if not info.get("aof_enabled"):
        yield "the append-only file is off: a restart may lose jobs; set appendonly yes"
    if info.get("role", "master") != "master":
        yield "the server is a replica and takes no writes"
    if info.get("cluster_enabled") and not moves:
        yield f"the server is a node of a Cluster, and jobs are out of reach where they move: {CLUSTER}"
    yield from (said for name, said in WRITES.items() if info.get(name, "ok") != "ok")


def _hash(reply: Any) -> dict[bytes, bytes]:
    return (
        dict(reply)
        if isinstance(reply, Mapping)
        else dict(zip(reply[::2], reply[1::2], strict=True))
    )
