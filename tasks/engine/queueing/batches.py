"""Batches: jobs added together, counted by state, with a callback when all have ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from huey.api import Result, Task

from tasks.engine import rows
from tasks.engine.current import RUNNING
from tasks.engine.errors import EngineError, UnknownBatch
from tasks.engine.ids import FOREIGN, new_id
from tasks.engine.queueing.enqueueing import Enqueueing
from tasks.engine.records import FINAL, Batch, Job, State
from tasks.engine.storage import JobStorage

MOST_LISTED = 500


class Batching(Enqueueing):
    """The batch part of JobHuey."""

    _opened_at_once: dict[str, Task | None]  # of immediate mode: id -> callback

    def batch(self, tasks: Sequence[Task], *, callback: Task | None = None, name: str = "",
              by: str = "", batch_id: str | None = None) -> str:  # fmt: skip
        """Queue jobs as one batch.

        Args:
            callback: queued once when every job has ended, however; it is called with the batch's id
                before its own arguments.
            batch_id: the same id and the same tasks once more (after Unreachable) add nothing twice.
        Returns: the batch's id. Raises: as `enqueue_many`; EngineError for an id that is none.
        """
        batch_id = self._open(batch_id, len(tasks), callback, name, by)
        self._add_members(tasks, batch_id)
        self.close_batch(batch_id)
        return batch_id

    def open_batch(self, *, callback: Task | None = None, name: str = "", by: str = "",
                   batch_id: str | None = None) -> str:  # fmt: skip
        """Open a batch for jobs that come by `enqueue_many(tasks, batch=...)`, in as many calls as it takes.

        `close_batch` says that all came; where that fails to come, a worker closes the batch 15
        minutes after the last job, unless the job that opened it still runs.
        Args and return value: as of `batch`.
        """
        return self._open(batch_id, 0, callback, name, by)

    def close_batch(self, batch_id: str) -> None:
        """Say that all jobs of a batch were added: it ends, and calls back, when they have ended."""
        if self._immediate:
            if callback := self._opened_at_once.pop(batch_id, None):
                self.enqueue(callback)
            return
        self.storage.repeat("batch", 0, "seal", batch_id, "", "")

    def _open(
        self, batch_id: str | None, total: int, callback: Task | None, name: str, by: str
    ) -> str:
        batch_id = batch_id or new_id()
        if not FOREIGN.match(batch_id):
            raise EngineError(
                f"the batch id {batch_id!r} is refused: 1 to 64 of letters, digits and _.:-"
            )
        if callback is not None:
            callback = _told(callback, batch_id)
        if self._immediate:
            self._opened_at_once[batch_id] = callback
            return batch_id
        running = RUNNING.get()
        ask: dict[str, Any] = {"name": name[:200], "by": by[:200], "total": total,
                               "maker": running.id if running else ""}  # fmt: skip
        envelope = b""
        if callback is not None:
            callback.id = f"batch:{batch_id}"[:64]
            ask["cb"], envelope = self.spec_of(callback), self.serialize_task(callback)
        self.storage.repeat("batch", 0, "open", batch_id, json.dumps(ask), envelope)
        return batch_id

    def enqueue_many(self, tasks: Sequence[Task], *, batch: str = "") -> list[Result]:
        """Queue many jobs in few calls. Raises as `enqueue`; on Unreachable some may be queued.

        Args:
            batch: an open batch that the jobs become members of; the same ids once more add nothing
                twice, so after Unreachable the call is made again. One that comes just as the batch is
                closed is a member too: the callback waits for it, unless it was queued already.
        Raises also: UnknownBatch; EngineError where the batch was closed.
        """
        if not batch:
            return super().enqueue_many(tasks)
        if not self._immediate:
            self._refuse_closed(batch)
        return self._add_members(tasks, batch)

    def _add_members(self, tasks: Sequence[Task], batch_id: str) -> list[Result]:
        if self._immediate:
            return super().enqueue_many(tasks)
        members = [self._row_of(task) for task in tasks]
        for spec, _ in members:
            spec["bt"], spec["rq"] = batch_id, batch_id
        return self._add_rows(tasks, members)

    def _refuse_closed(self, batch_id: str) -> None:
        key = self.storage.keys.of("batch", batch_id)
        made, sealed, closed, ended = self.storage.call(
            "HMGET", key, "made", "sealed", "closed", "ended"
        )
        if not made:
            raise UnknownBatch(f"there is no batch {batch_id}: it never was, or 30 days are over")
        if ended or (sealed and not closed):
            raise EngineError(f"the batch {batch_id} was closed: no job can be added to it")


def _told(callback: Task, batch_id: str) -> Task:
    """Return the callback with the batch's id before its own arguments."""
    callback.args = (batch_id, *callback.args)
    return callback


class BatchReads:
    """The questions about batches; Reads inherits it."""

    storage: JobStorage
    some: Callable[[Sequence[str]], dict[str, Job]]

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

    def callbacks(self, batches: Sequence[Batch]) -> dict[str, Job]:
        """Return the callbacks' jobs that were queued and are kept, by batch. Cost: as of `some`."""
        jobs = self.some([batch.callback_job for batch in batches if batch.callback_job])
        found = {batch.id: jobs.get(batch.callback_job or "") for batch in batches}
        return {batch_id: job for batch_id, job in found.items() if job}


def _batch(batch_id: str, found: Mapping[str, str]) -> Batch:
    counts = {state: int(found.get(state.value, 0)) for state in State}
    made = rows.instant(found.get("made")) or rows.micros(0)
    return Batch(
        id=batch_id, name=found.get("name", ""), by=found.get("by", ""),
        total=max(int(found.get("total", 0)) - int(found.get("gone", 0)), sum(counts.values())),
        counts=counts, created_at=made, sealed="sealed" in found, closed_at=rows.instant(found.get("closed")), callback=found.get("task", ""),
        callback_job=found.get("job"), finished_at=rows.instant(found.get("ended")),
    )  # fmt: skip


def ends_about(batch: Batch, now: datetime) -> datetime | None:
    """Return when an open batch ends at the pace it had so far; None where that says nothing."""
    ended = sum(batch.counts[state] for state in FINAL)
    if batch.finished_at or not ended or ended >= batch.total:
        return None
    return now + (now - batch.created_at) / ended * (batch.total - ended)
