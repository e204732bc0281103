"""How each queue stands, from the rows of snapshot.lua; what did not change is not read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.engine import rows
from tasks.engine.figures.measuring import Rate
from tasks.engine.figures.metrics import forecast
from tasks.engine.instance import QueueStats
from tasks.engine.queues import left_of
from tasks.engine.records import State

if TYPE_CHECKING:
    from tasks.engine.queues import Queue

LIVE = {"lc": "concurrency", "rate": "rate", "kept": "retention", "fkept": "retention_failed"}
PER_MINUTE = ("enqueued", "completed", "failed")
STATES = tuple(State)


class Read(NamedTuple):
    """What was read of a queue: its row, its rate, its declaration, and all that comes of these alone."""

    row: Sequence[Any]
    rate: Rate | None
    declared: Queue | None
    options: Mapping[str, str]
    told: Mapping[str, Any]
    idle: QueueStats | None = None  # where nothing waits and no pause ends: as it stays


class Standing:
    """The queues of one instance as they stood at the last look."""

    def __init__(self, declared: Mapping[str, Queue]) -> None:
        self.declared = declared
        self._read: dict[str, Read] = {}

    def of(self, name: str, row: Sequence[Any], at: datetime, rate: Rate | None) -> QueueStats:
        """Return a queue's figures of this moment."""
        known, declared = self._read.get(name), self.declared.get(name)
        if known is None or (known.row, known.rate, known.declared) != (row, rate, declared):
            known = self._read[name] = _read(row, rate, declared)
        if known.idle is None:
            return self._now(name, known, at)
        return known.idle

    def _now(self, name: str, known: Read, at: datetime) -> QueueStats:
        """Return the figures of a queue of which some change with time alone; else keep them."""
        told, row, rate, pause = known.told, known.row, known.rate, rows.pause_of(known.options, at)
        waiting = told["counts"][State.WAITING]
        found = QueueStats(
            name=name, paused=pause is not None, pause=pause,
            oldest_waiting_s=_age_s(at, row[1]) if row[1] else None,
            forecast=forecast(waiting, rate.into, rate.out, at) if rate else None,
            rate_left=left_of(known.options, at.timestamp() * 1000) if waiting else None, **told,
        )  # fmt: skip
        if not waiting and "pa" not in known.options:
            self._read[name] = known._replace(idle=found)
        return found


def _read(row: Sequence[Any], rate: Rate | None, declared: Queue | None) -> Read:
    options = rows.flat(row[2])
    limit = options.get("lc") or options.get("cc") or (declared.concurrency if declared else None)
    told = {
        "counts": dict(zip(STATES, row[0], strict=True)), "breaker": rows.breaker_of(options),
        "concurrency": int(limit) if limit else None,
        "rate": options.get("rate") or (declared.rate if declared else None),
        "retention": rows.retention_of(options, declared),
        "live": tuple(name for field, name in LIVE.items() if field in options),
        "per_minute": {n: getattr(rate.newest, n) if rate else 0 for n in PER_MINUTE},
        "into": rate.into if rate else 0.0, "out": rate.out if rate else 0.0,
        "rated_over": rate.minutes if rate else 0,
    }  # fmt: skip
    return Read(row, rate, declared, options, told)


def _age_s(at: datetime, score: bytes) -> float:
    """Return seconds since a score; the server's clock has ms there, a score has us."""
    return max(0.0, at.timestamp() - int(score) / 1_000_000)
