"""Error groups: the questions, inherited by Reads, and what an operator decides, by Commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tasks.engine import rows
from tasks.engine.errors import EngineError, UnknownGroup
from tasks.engine.reading.plans import RESTING
from tasks.engine.records import ErrorGroup, ErrorGroups
from tasks.engine.wording import one_line

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey
    from tasks.engine.storage import JobStorage

GROUP_STATES = ("open", "muted", "resolved", "returned")
UNSOLVED = ("open", "returned")
HOURS, MINUTES = 24, 90
NOTE_LIMIT = 1000


class Grouping:
    """The questions about failures that are alike."""

    storage: JobStorage

    def error_groups(self, states: Sequence[str] = UNSOLVED, limit: int = 100) -> ErrorGroups:
        """Return error groups in these states, the newest failure first, with 24 hours each.

        Cost: one round trip; at most 1 000 groups are kept.
        """
        return self._groups("", states, limit, HOURS, 0)

    def error_group(self, group: str) -> ErrorGroup:
        """Return one error group with its last 24 hours and 90 minutes. Raises UnknownGroup."""
        found = self._groups(group, GROUP_STATES, 1, HOURS, MINUTES).items
        if not found:
            raise UnknownGroup(
                f"there is no error group {group}: it is kept 30 days after its last failure"
            )
        return found[0]

    def _groups(self, group: str, states: Sequence[str], limit: int, hours: int,
                minutes: int) -> ErrorGroups:  # fmt: skip
        seconds = int(self.storage.call("TIME")[0])
        hour, minute = seconds // 3600, seconds // 60
        fields = [f"h{hour - n}" for n in range(hours - 1, -1, -1)]
        fields += [f"m{minute - n}" for n in range(minutes - 1, -1, -1)]
        ask = {"group": group, "states": list(states), "limit": limit, "fields": fields}
        now_ms, counts, found = self.storage.scripts.run("groups", json.dumps(ask))
        at = rows.instant(now_ms.decode()) or datetime.now(UTC)
        return ErrorGroups(
            at=at, counts=dict(zip(GROUP_STATES, counts, strict=True)),
            items=[_group(row, hours, at) for row in found],
        )  # fmt: skip


class Deciding:
    """What an operator decides about an error group."""

    huey: JobHuey
    storage: JobStorage

    def mute_group(self, group: str, *, until: datetime | None = None, by: str = "") -> ErrorGroup:
        """Say nothing of a group until a time, or for good. Raises UnknownGroup."""
        return self._decide(group, "muted", until, by)

    def resolve_group(self, group: str, *, by: str = "") -> ErrorGroup:
        """Call a group solved; its next failure makes it returned. Raises UnknownGroup."""
        return self._decide(group, "resolved", None, by)

    def reopen_group(self, group: str, *, by: str = "") -> ErrorGroup:
        """Open a group again. Raises UnknownGroup."""
        return self._decide(group, "open", None, by)

    def note_group(self, group: str, note: str, *, by: str = "") -> ErrorGroup:
        """Write a note on a group, in place of the one before. Raises UnknownGroup; EngineError."""
        if len(note) > NOTE_LIMIT:
            raise EngineError(f"a note has at most {NOTE_LIMIT} characters")
        return self._decide(group, "", None, by, note=note.strip())

    def _decide(self, group: str, state: str, until: datetime | None, by: str,
                **more: str) -> ErrorGroup:  # fmt: skip
        ask: dict[str, Any] = {"st": state, "by": one_line(by), "until": "", **more}
        if until is not None:
            ask["until"] = str(int(until.timestamp() * 1000))
        if not self.storage.scripts.run("decide", 0, group, json.dumps(ask, ensure_ascii=False)):
            raise UnknownGroup(f"there is no error group {group}")
        return self.huey.reads.error_group(group)


def _group(row: Sequence[Any], hours: int, at: datetime) -> ErrorGroup:
    group, record, spark, resting = row
    found = rows.flat(record)
    muted_until = rows.instant(found.get("until"))
    state = found["st"]
    if state == "muted" and muted_until and muted_until <= at:
        state, muted_until = "open", None
    counts = [int(n or 0) for n in spark]
    first, last = rows.instant(found.get("first")) or at, rows.instant(found.get("last")) or at
    return ErrorGroup(
        id=group.decode(), type=found.get("class", ""), pattern=found.get("title", ""),
        title=found.get("said") or found.get("title", ""),
        place=found.get("place", ""), state=state, first_at=first, last_at=last,
        times=int(found.get("n", 0)), jobs=dict(zip(RESTING, resting, strict=True)),
        tasks={n.removeprefix("t|"): int(v) for n, v in found.items() if n.startswith("t|")},
        last_job=found.get("job", ""), since_at=rows.instant(found.get("since")),
        muted_until=muted_until, by=found.get("by", ""), note=found.get("note", ""),
        away_s=int(found["away"]) / 1000 if found.get("away") else None,
        noted_at=rows.instant(found.get("noted")), noted_by=found.get("noter", ""),
        hours=counts[:hours], minutes=counts[hours:],
    )  # fmt: skip
