"""Operations: the record of an operator's bulk action on a frozen query or on ids.

A record of the engine, kept 30 days: `stepping.py` carries it on, chunk by chunk, from its cursor.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tasks.engine import rows
from tasks.engine.errors import EngineError, UnknownJob
from tasks.engine.ids import new_id
from tasks.engine.operating.freezing import frozen, thaw
from tasks.engine.operations import Operation, Outcome, Touch
from tasks.engine.records import Event, JobFilter, State
from tasks.engine.storage import JobStorage
from tasks.engine.wording import one_line

KINDS = ("retry", "run_now", "cancel", "delete", "discard", "move", "reschedule", "priority", "tag",
         "untag", "patch", "export", "search")  # fmt: skip
RUNS = ("retry", "run_now")  # what makes its jobs run, so that a canary can be judged
KEPT_S = 30 * 86400
MOST_FOUND = 20_000  # ids that a search keeps
UNDER_WAY = ("running", "paused")
MOST_PACE = 100_000


class Plan(NamedTuple):
    """How an operation goes on.

    Args:
        pace: most jobs a second; None: as fast as it goes.
        canary: how many to try first; 0: none. share: per cent of them that must complete.
    """

    pace: float | None = None
    canary: int = 0
    share: int = 100

    def check(self, kind: str) -> None:
        """Raise EngineError for a plan that cannot be kept."""
        if self.pace is not None and not 0 < self.pace <= MOST_PACE:
            raise EngineError(f"{self.pace} is no pace: more than 0 jobs a second")
        if self.canary and kind not in RUNS:
            raise EngineError(f"only {' and '.join(RUNS)} can try some jobs first")
        if self.canary < 0 or not 1 <= self.share <= 100:
            raise EngineError("a canary is a number of jobs, and 1 to 100 per cent of them")


class Target(NamedTuple):
    """What an operation acts on: a frozen query, or ids; `exact` tells whether `matched` is."""

    query: JobFilter | None
    ids: Sequence[str]
    matched: int
    exact: bool = True


class Operations:
    """The records of operations."""

    def __init__(self, storage: JobStorage) -> None:
        self.storage, self.keys = storage, storage.keys

    def create(self, kind: str, target: Target, plan: Plan, options: Mapping[str, Any],
               shown: Mapping[str, Any], *, by: str, reason: str) -> Operation:  # fmt: skip
        """Write a new, running operation; an export is done at once: it is read when asked for.

        Args:
            options: as the scripts take them. shown: the same for people.
        """
        op_id, now = new_id(), int(time.time() * 1000)
        ends = {"state": "done", "finished": now} if kind == "export" else {"state": "running"}
        record = {
            "kind": kind, "matched": target.matched, "exact": int(target.exact), "done": 0,
            "skipped": 0, "failed": 0, "by": one_line(by), "reason": one_line(reason), "created": now,
            "cursor": "", "query": frozen(target.query) if target.query else "",
            "options": json.dumps(dict(options)), "shown": json.dumps(dict(shown), default=str),
            "pace": plan.pace or "", "canary": plan.canary, "share": plan.share,
            "phase": "canary" if plan.canary else "all", **ends,
        }  # fmt: skip
        flat = [part for pair in record.items() for part in pair]
        commands: list[Sequence[Any]] = [("HSET", self.keys.of("op", op_id), *flat)]
        for start in range(0, len(target.ids), 1000):
            chunk = target.ids[start : start + 1000]
            commands.append(("RPUSH", self.keys.of("op_ids", op_id), *chunk))
        commands.append(self._event(op_id, f"started by {one_line(by)}" if by else "started"))
        for name in ("op", "op_ids", "op_events"):
            commands.append(("EXPIRE", self.keys.of(name, op_id), KEPT_S))
        commands.append(("ZADD", self.keys.one("ops"), now, op_id))
        self.storage.write(commands)
        return self.get(op_id)

    def _event(self, op_id: str, text: str) -> Sequence[Any]:
        return ("RPUSH", self.keys.of("op_events", op_id), f"{int(time.time() * 1000)}\t{text}")

    def record(self, op_id: str) -> dict[str, str]:
        """Return an operation's figures. Raises UnknownJob."""
        found = rows.flat(self.storage.client_hgetall(self.keys.of("op", op_id)))
        if not found:
            raise UnknownJob(f"there is no operation {op_id}: they are kept 30 days")
        return found

    def get(self, op_id: str) -> Operation:
        """Return one operation. Raises UnknownJob."""
        return _operation(op_id, self.record(op_id))

    def newest(self, limit: int) -> list[Operation]:
        """Return the newest operations; those whose record expired are dropped from the index."""
        ids = self.storage.call("ZREVRANGE", self.keys.one("ops"), 0, limit - 1)
        found = self.storage.pipeline([("HGETALL", self.keys.of("op", i.decode())) for i in ids])
        gone = [op_id for op_id, record in zip(ids, found, strict=True) if not record]
        if gone:
            self.storage.call("ZREM", self.keys.one("ops"), *gone)
        pairs = zip(ids, found, strict=True)
        return [_operation(i.decode(), rows.flat(record)) for i, record in pairs if record]

    def running(self) -> list[str]:
        """Return the ids of those that run, among the newest 200."""
        ids = [i.decode() for i in self.storage.call("ZREVRANGE", self.keys.one("ops"), 0, 199)]
        states = self.storage.pipeline([("HGET", self.keys.of("op", i), "state") for i in ids])
        return [op_id for op_id, state in zip(ids, states, strict=True) if state == b"running"]

    def outcomes(self, op_id: str, limit: int, start: int = 0, which: str = "all") -> list[Outcome]:
        """Return what happened to each job, the newest first; the newest 20 000 are kept.

        Args:
            start: how many of the newest to leave out.
            which: all, skipped (and what could not be done), or failed: done here, failed after.
        """
        names = {"all": "op_outcomes", "skipped": "op_skipped", "failed": "op_failed"}
        key = self.keys.of(names[which], op_id)
        lines = self.storage.call("LRANGE", key, -start - limit, -start - 1)
        read = _failed if which == "failed" else _outcome
        return [read(line.decode()) for line in reversed(lines)]

    def found(self, op_id: str, limit: int = MOST_FOUND, start: int = 0) -> list[str]:
        """Return the ids that a search found, the newest change first, or those that were given; 20 000 at most."""
        key = self.keys.of("op_ids", op_id)
        return [i.decode() for i in self.storage.call("LRANGE", key, start, start + limit - 1)]

    def events(self, op_id: str) -> list[Event]:
        """Return what happened to an operation as a whole, the oldest first."""
        lines = self.storage.call("LRANGE", self.keys.of("op_events", op_id), -100, -1)
        parted = (line.decode(errors="replace").partition("\t") for line in lines)
        return [Event(at=rows.micros(int(ms) * 1000), text=text) for ms, _, text in parted]

    def touched(self, job_id: str) -> list[Touch]:
        """Return the last 20 operations that did something to a job, the oldest first."""
        lines = self.storage.call("LRANGE", self.keys.of("touched", job_id), 0, -1)
        parted = (line.decode().split("\t") for line in lines)
        return [Touch(operation=op, at=rows.micros(int(ms) * 1000), kind=kind) for op, ms, kind in parted]  # fmt: skip

    def set_state(self, op_id: str, state: str, by: str = "") -> Operation:
        """Pause, resume or stop; a finished operation stays as it is, a judged canary is overruled."""
        record = self.record(op_id)
        if record["state"] in UNDER_WAY and record["state"] != state:
            key = self.keys.of("op", op_id)
            fields: list[Any] = ["state", state]
            if state == "stopped":
                fields += ["finished", int(time.time() * 1000)]
            if state == "running" and record.get("why"):
                fields += ["phase", "all"]
            said = {"running": "resumed"}.get(state, state) + (f" by {one_line(by)}" if by else "")
            self.storage.write(
                [("HSET", key, *fields), ("HDEL", key, "why"), self._event(op_id, said)]
            )
        return self.get(op_id)


def _operation(op_id: str, record: Mapping[str, str]) -> Operation:
    ends = {name.removeprefix("end:"): int(n) for name, n in record.items() if name[:4] == "end:"}
    return Operation(
        id=op_id, kind=record["kind"], state=record["state"], matched=int(record["matched"]),
        done=int(record["done"]), skipped=int(record["skipped"]), failed=int(record["failed"]),
        by=record["by"], reason=record["reason"], query=record["query"],
        created_at=rows.instant(record["created"]) or rows.micros(0),
        finished_at=rows.instant(record.get("finished")), exact=record.get("exact", "1") == "1",
        changed=int(record.get("changed", 0)), options=json.loads(record.get("shown") or "{}"),
        pace=float(record["pace"]) if record.get("pace") else None,
        canary=int(record.get("canary", 0)), share=int(record.get("share", 100)),
        trying=record.get("phase") == "canary", why=record.get("why", ""), ends=ends,
        stepped_at=rows.instant(record.get("stepped")),
    )  # fmt: skip


def _outcome(line: str) -> Outcome:
    job_id, code, state, ms, note = line.split("\t", 4)
    return Outcome(id=job_id, done=code == "1", state=State(state) if state else None, detail=note,
                   at=rows.instant(ms), failed=code == "2")  # fmt: skip


def _failed(line: str) -> Outcome:
    job_id, _, ms = line.partition("\t")
    return Outcome(id=job_id, done=True, state=State.FAILED, at=rows.instant(ms), failed=True)


__all__ = ["KINDS", "RUNS", "Operations", "Plan", "Target", "frozen", "thaw"]
