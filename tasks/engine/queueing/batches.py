"""Batches: jobs added together, counted by state, with a callback when all have ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from huey.api import Task

from tasks.engine import rows
from tasks.engine.errors import EngineError, UnknownBatch
from tasks.engine.ids import FOREIGN, new_id
from tasks.engine.queueing.enqueueing import Enqueueing
from tasks.engine.records import FINAL, Batch, State
from tasks.engine.storage import JobStorage

OURS = ("new", "again", "same")  # of what `add` answers: the job is a member
MOST_LISTED = 500


class Batching(Enqueueing):
    """The batch part of JobHuey."""

    def batch(self, tasks: Sequence[Task], *, callback: Task | None = None, name: str = "",
              by: str = "", batch_id: str | None = None) -> str:  # fmt: skip
        """Queue jobs as one batch.

        Args:
            callback: queued once when every job has ended, however; it is called with the batch's id
                before its own arguments.
            batch_id: the same id and the same tasks once more (after Unreachable) add nothing twice.
        Returns: the batch's id. Raises: as `enqueue_many`; EngineError for an id that is none.
        """
        batch_id = batch_id or new_id()
        if not FOREIGN.match(batch_id):
            raise EngineError(
                f"the batch id {batch_id!r} is refused: 1 to 64 of letters, digits and _.:-"
            )
        if self._immediate:
            return self._at_once(tasks, callback, batch_id)
        self._open(batch_id, len(tasks), callback, name, by)
        self._seal(batch_id, self.add_to_batch(tasks, batch_id))
        return batch_id

    def _seal(self, batch_id: str, statuses: Sequence[str]) -> None:
        """Say that all jobs of a batch were added, and what `add` answered for each."""
        total = sum(status in OURS for status in statuses)
        self.storage.repeat("batch", 0, "seal", batch_id, json.dumps({"total": total}), "")

    def _at_once(self, tasks: Sequence[Task], callback: Task | None, batch_id: str) -> str:
        for task in tasks:
            self.enqueue(task)
        if callback is not None:
            self.enqueue(_told(callback, batch_id))
        return batch_id

    def _open(self, batch_id: str, total: int, callback: Task | None, name: str, by: str) -> None:
        ask: dict[str, Any] = {"name": name[:200], "by": by[:200], "total": total}
        envelope = b""
        if callback is not None:
            callback = _told(callback, batch_id)
            callback.id = f"batch:{batch_id}"[:64]
            ask["cb"], envelope = self.spec_of(callback), self.serialize_task(callback)
        self.storage.repeat("batch", 0, "open", batch_id, json.dumps(ask), envelope)

    def add_to_batch(self, tasks: Sequence[Task], batch_id: str) -> list[str]:
        """Queue jobs as members of an open batch. Returns: what `add` answered for each."""
        rows_ = [self._row_of(task) for task in tasks]
        for spec, _ in rows_:
            spec["bt"], spec["rq"] = batch_id, batch_id
        answers = self.storage.add(rows_)
        for task, (status, job_id) in zip(tasks, answers, strict=True):
            self._added(task, status, job_id)
        return [status for status, _ in answers]


def _told(callback: Task, batch_id: str) -> Task:
    """Return the callback with the batch's id before its own arguments."""
    callback.args = (batch_id, *callback.args)
    return callback


class BatchReads:
    """The questions about batches; Reads inherits it."""

    storage: JobStorage

    def batch(self, batch_id: str) -> Batch:
        """Return one batch. Raises UnknownBatch."""
        found = self.storage.client_hgetall(self.storage.keys.of("batch", batch_id))
        if not found:
            raise UnknownBatch(f"there is no batch {batch_id}: it never was, or 30 days are over")
        return _batch(batch_id, rows.flat(found))

    def batches(self, limit: int = 50) -> list[Batch]:
        """Return the newest batches."""
        many = max(1, min(MOST_LISTED, limit))
        ids = [
            i.decode()
            for i in self.storage.call("ZREVRANGE", self.storage.keys.one("batches"), 0, many - 1)
        ]
        if not ids:
            return []
        reply = self.storage.pipeline([("HGETALL", self.storage.keys.of("batch", i)) for i in ids])
        return [_batch(i, rows.flat(found)) for i, found in zip(ids, reply, strict=True) if found]


def _batch(batch_id: str, found: Mapping[str, str]) -> Batch:
    counts = {state: int(found.get(state.value, 0)) for state in State}
    made = rows.instant(found.get("made")) or rows.micros(0)
    return Batch(
        id=batch_id, name=found.get("name", ""), by=found.get("by", ""),
        total=int(found.get("total", 0)) - int(found.get("gone", 0)),
        counts=counts, created_at=made, sealed="sealed" in found, callback=found.get("task", ""),
        callback_job=found.get("job"), finished_at=rows.instant(found.get("ended")),
    )  # fmt: skip


def ends_about(batch: Batch, now: datetime) -> datetime | None:
    """Return when an open batch ends at the pace it had so far; None where that says nothing."""
    ended = sum(batch.counts[state] for state in FINAL)
    if batch.finished_at or not ended or ended >= batch.total:
        return None
    return now + (now - batch.created_at) / ended * (batch.total - ended)
