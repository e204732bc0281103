"""Pauses of tasks and tags as Redis keeps them: read, and which of them holds a job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from tasks.engine import rows
from tasks.engine.instance import Pause, PausedPart

LETTERS = {"task": "t", "tag": "g"}
KINDS = {letter: kind for kind, letter in LETTERS.items()}


def read(field: str, text: str, at: datetime, parked: int = 0) -> PausedPart | None:
    """Return one pause of the hash; None when it is over."""
    letter, _, name = field.partition(":")
    until, since, by, reason = text.split("\t", 3)
    ends = rows.instant(until)
    if ends and ends <= at:
        return None
    pause = Pause(at=rows.instant(since) or at, by=by, reason=reason, until=ends)
    return PausedPart(kind=KINDS[letter], name=name, pause=pause, parked=parked)


def read_all(found: Iterable[Sequence[bytes | int]], at: datetime) -> list[PausedPart]:
    """Return the pauses that hold, each given as (field, text, jobs parked)."""
    parts = (read(_text(f), _text(t), at, int(n)) for f, t, n in found)
    return sorted((part for part in parts if part), key=lambda part: (part.kind, part.name))


def holding(pauses: Mapping[str, str], task: str, tags: Iterable[str],
            at: datetime) -> PausedPart | None:  # fmt: skip
    """Return what keeps a job of this task with these tags from starting, as lib/pause decides."""
    for field in (f"t:{task}", *(f"g:{tag}" for tag in tags)):
        part = read(field, pauses[field], at) if field in pauses else None
        if part:
            return part
    return None


def _text(value: bytes | int) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
