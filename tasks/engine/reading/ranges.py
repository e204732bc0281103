"""Queries that ask for queue, state and time alone: counted and walked by ranges, no job is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tasks.engine import rows
from tasks.engine.records import JobFilter, State

if TYPE_CHECKING:
    from tasks.engine.reads import Reads


def is_plain(query: JobFilter) -> bool:
    """Tell whether a query asks for nothing but queue, state and time."""
    return replace(query, since=None, until=None, queue=None, state=None) == JobFilter()


def _sets(reads: Reads, query: JobFilter) -> list[tuple[State, str]]:
    queues = [query.queue] if query.queue else reads.names()
    states = [query.state] if query.state else list(State)
    key = reads.storage.keys.of
    return [(state, key("state", f"{queue}:{state.value}")) for queue in queues for state in states]


def _bounds(query: JobFilter) -> tuple[Any, Any]:
    return (
        rows.score(query.since) if query.since else "-inf",
        rows.score(query.until) if query.until else "+inf",
    )


def count(reads: Reads, query: JobFilter) -> Counter[State]:
    """Count a plain query's jobs by state; one round trip."""
    sets, (low, high) = _sets(reads, query), _bounds(query)
    found = reads.storage.pipeline([("ZCOUNT", key, low, high) for _, key in sets])
    mix: Counter[State] = Counter()
    for (state, _), many in zip(sets, found, strict=True):
        mix[state] += int(many)
    return mix


def below(reads: Reads, query: JobFilter, cursor: str, limit: int) -> tuple[list[str], str, bool]:
    """Return the next ids of a plain query, newest first, the cursor after them, and whether none is left.

    Args:
        cursor: of the last call; empty starts at the newest.
    Cost: one round trip, O(sets * limit).
    """
    low, high = _bounds(query)
    top = f"({cursor[1:]}" if cursor else high
    asks = [
        ("ZREVRANGEBYSCORE", key, top, low, "WITHSCORES", "LIMIT", 0, limit + 1)
        for _, key in _sets(reads, query)
    ]
    found = [pair for reply in reads.storage.pipeline(asks) for pair in _pairs(reply)]
    found.sort(reverse=True)
    taken = found[:limit]
    after = f"o{taken[-1][0]}" if taken else cursor
    return [job_id for _, job_id in taken], after, len(found) <= limit


def _pairs(reply: Sequence[Any]) -> list[tuple[int, str]]:
    """Return (score, id) of a WITHSCORES reply, flat or in pairs."""
    if reply and isinstance(reply[0], list | tuple):
        return [(int(float(score)), name.decode()) for name, score in reply]
    return [(int(float(s)), n.decode()) for n, s in zip(reply[::2], reply[1::2], strict=True)]
