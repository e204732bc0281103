"""Carry operations on: the next chunk, at the pace asked for, after the canary was judged.

Any process may step, and several at once: a chunk counts only from the cursor it was made for.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.engine import rows, values
from tasks.engine.errors import EngineError
from tasks.engine.operating.bulk import MOST_FOUND, Operations
from tasks.engine.operating.freezing import thaw
from tasks.engine.queueing import arguments
from tasks.engine.reading import ranges

if TYPE_CHECKING:
    from tasks.engine.commands import Commands

logger = logging.getLogger("tasks.engine")
CHUNK = 200
FIRST, LEAST = 50, 25
AIM_S = 0.003  # of one call: chunks shrink and grow to it, so that no worker waits long behind one
BURST_S = 2.5  # what a pace may save up: housekeeping comes by each second or each beat
BeforeAct = Callable[[str, Sequence[str]], Mapping[str, str]]
AfterAct = Callable[[str, Sequence[str], str], None]


class Chunk(NamedTuple):
    """The next jobs of an operation, and where it stands after them."""

    ids: Sequence[str]
    after: str
    last: bool


class Stepper:
    """Does chunks of the running operations.

    Args:
        before: asked with the kind and ids of each chunk; returns why some are to be skipped.
        after: told the kind, ids and reason of what was done.
    """

    def __init__(self, commands: Commands) -> None:
        self.commands, self.storage = commands, commands.storage
        self.bulk = Operations(commands.storage)
        self.size = FIRST
        self.before: BeforeAct | None = None
        self.after: AfterAct | None = None

    def step(self) -> int:
        """Do one chunk of each running operation. Returns: how many can go on at once."""
        return sum(self._one(op_id) for op_id in self.bulk.running())

    def step_for(self, seconds: float) -> bool:
        """Step for so long at most. Returns: whether something can go on at once."""
        until = time.monotonic() + seconds
        while self.step():
            if time.monotonic() > until:
                return True
        return False

    def _one(self, op_id: str) -> bool:
        try:
            return self._carry_on(op_id)
        except EngineError:
            raise
        except Exception:  # of `before` or `after`: the chunk is done again, or was done
            logger.exception("a chunk of operation %s was not done; it is tried again", op_id)
            return False

    def _carry_on(self, op_id: str) -> bool:
        record = self.bulk.record(op_id)
        if record["kind"] == "search":
            return self._look_on(op_id, record)
        many, left = self._room(record)
        if record.get("phase") == "canary":
            many = min(many, int(record["canary"]) - int(record["done"]))
            if int(record["done"]) >= int(record["canary"]):
                return bool(self.storage.scripts.run("bulk_canary", 0, op_id))
        if many < 1:
            return False
        chunk = self._chunk(op_id, record, many)
        self._act(op_id, record, chunk, left - len(chunk.ids))
        return not chunk.last and (not record.get("pace") or left - len(chunk.ids) >= 1)

    def _look_on(self, op_id: str, record: Mapping[str, str]) -> bool:
        """Look at the next jobs of a search, within the budget of a page, and keep what matches."""
        found, looked, after = self.commands.huey.reads.look_on(thaw(record["query"]), record["cursor"])  # fmt: skip
        did = self.storage.scripts.run(
            "search_step", 0, op_id, record["cursor"], after or record["cursor"],
            int(after is None), looked, MOST_FOUND, *found,
        )  # fmt: skip
        return bool(did) and after is not None

    def _room(self, record: Mapping[str, str]) -> tuple[int, float]:
        """Return how many jobs the pace allows now, and what it has saved up."""
        if not record.get("pace"):
            return self.size, 0.0
        pace, now = float(record["pace"]), self.commands.huey.reads.now_ms()
        since = max(0, now - int(record.get("stepped", record["created"])))
        saved = float(record.get("tokens", 1)) + since / 1000 * pace
        saved = min(saved, max(1.0, pace * BURST_S))
        return min(self.size, int(saved)), saved

    def _chunk(self, op_id: str, record: Mapping[str, str], many: int) -> Chunk:
        before = record["cursor"]
        if not record["query"]:
            start = int(before or 0)
            key = self.bulk.keys.of("op_ids", op_id)
            found = self.storage.call("LRANGE", key, start, start + many)
            ids = [job_id.decode() for job_id in found[:many]]
            return Chunk(ids, str(start + len(ids)), len(found) <= many)
        query, reads = thaw(record["query"]), self.commands.huey.reads
        if ranges.is_plain(query):
            return Chunk(*ranges.below(reads, query, before, many))
        page = reads.jobs(query, before or None, many)
        return Chunk([job.id for job in page.items], page.next or before, page.next is None)

    def _act(self, op_id: str, record: Mapping[str, str], chunk: Chunk, left: float) -> None:
        kind, options = record["kind"], json.loads(record["options"])
        refused = self.before(kind, chunk.ids) if self.before and chunk.ids else {}
        envelopes: list[bytes] = []
        if kind == "patch":
            envelopes = self._patches(chunk.ids, options)
        options |= {"refused": dict(refused), "tokens": max(0.0, left)}
        query = thaw(record["query"]) if record["query"] else None
        if query is not None and query.until is not None:
            options["until"] = rows.score(query.until)
        began = time.perf_counter()
        did = self.storage.scripts.run(
            "bulk_step", 0, op_id, record["cursor"], chunk.after, int(chunk.last),
            json.dumps(options), len(chunk.ids), *chunk.ids, *envelopes,
        )  # fmt: skip
        self._fit(len(chunk.ids), time.perf_counter() - began)
        if isinstance(did, list) and did and self.after:
            self.after(kind, [job_id.decode() for job_id in did], record["reason"])

    def _fit(self, many: int, took_s: float) -> None:
        """Fit the next chunk to the time that this one took; at most twice as large at once."""
        if many:
            fitting = int(many * AIM_S / max(took_s, 1e-6))
            self.size = max(LEAST, min(CHUNK, fitting, 2 * many))

    def _patches(self, ids: Sequence[str], options: dict[str, Any]) -> list[bytes]:
        """Put each job's new arguments into `options`, or why there are none; return the envelopes."""
        huey = self.commands.huey
        value = values.opened(options.pop("value"), huey.cipher)
        edit = arguments.patched(options.pop("name"), value, huey.parameters)
        changes, failed, envelopes = {}, {}, []
        for job_id, data in self.commands.find_envelopes(ids):
            try:
                change = arguments.change(huey, data, edit) if data else None
            except EngineError as exc:
                failed[job_id] = str(exc)[:200]
                continue
            if change is not None:
                changes[job_id] = change.figures()
                envelopes.append(change.envelope)
        options |= {"changes": changes, "failed": failed}
        return envelopes
