"""How jobs reach Redis: in chunks, of which one is made ready while Redis stores the one before."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

from tasks.engine.codec import encoder
from tasks.engine.errors import Unreachable
from tasks.engine.scripts import Begun, Scripts

CHUNK = 200
KIND = ("q", "t", "p", "m", "rq")
_kind = itemgetter(*KIND)
PLAIN = frozenset({"id", "by", *KIND})  # what lua/add_one and add_plain store
ENCODE = encoder(ascii_only=True)

Row = tuple[dict[str, Any], bytes]
Added = tuple[str, str]  # (status, id); see lua/lib/insert.lua


class Chunk(NamedTuple):
    """Jobs that go together, and the call that stores them."""

    rows: Sequence[Row]
    script: str
    args: Sequence[Any]


class Sent(NamedTuple):
    """A chunk that Redis has, or may have, and whose answer is still to be heard."""

    chunk: Chunk
    begun: Begun


class Adding:
    """Stores jobs by lua/add_plain (one: lua/add_one) where all of a chunk are of the usual kind, else by lua/add."""

    def __init__(self, scripts: Scripts) -> None:
        self.scripts = scripts

    def add(self, rows: Iterable[Row], answers: list[Added] | None = None) -> list[Added]:
        """Store jobs, each (spec, envelope); safe to repeat, so a lost reply is asked for again.

        One chunk is at Redis at a time: of two on two connections either may be stored first.
        Where making a row raises no further chunk is sent; `answers` then has those that are stored.
        Returns: (status, id) for each, in order. Raises: Unreachable.
        """
        request = new_request()
        found = [] if answers is None else answers
        sent: list[Sent] = []
        try:
            for some in _chunks(rows):
                chunk = _written(some, request)
                self._hear_all(sent, found)
                sent.append(self._send(chunk))
        finally:
            self._hear_all(sent, found)
        return found

    def add_one(self, row: Row) -> Added:
        """Store one job, as `add` does. Raises: Unreachable."""
        return self._hear(self._send(_written([row], new_request())))[0]

    def _send(self, chunk: Chunk) -> Sent:
        try:
            return Sent(chunk, self.scripts.begin(chunk.script, *chunk.args))
        except Unreachable:
            return Sent(chunk, self.scripts.begin(chunk.script, *chunk.args))

    def _hear_all(self, sent: list[Sent], found: list[Added]) -> None:
        while sent:
            found += self._hear(sent.pop())

    def _hear(self, sent: Sent) -> list[Added]:
        """Return what became of a chunk, asked for once more where the reply was lost."""
        chunk = sent.chunk
        try:
            reply = self.scripts.end(sent.begun)
        except Unreachable:
            reply = self.scripts.run(chunk.script, *chunk.args)
        if chunk.script != "add":
            if reply:
                return [("new", spec["id"]) for spec, _ in chunk.rows]
            reply = self.repeat("add", 0, *_words(chunk.rows))
        return [(status.decode(), job_id.decode()) for status, job_id in reply]

    def repeat(self, script: str, *args: Any) -> Any:
        """Run a script, once more when its reply was lost."""
        try:
            return self.scripts.run(script, *args)
        except Unreachable:
            return self.scripts.run(script, *args)


def new_request() -> str:
    """Return what tells one call from another for the same id; kept with the job."""
    return os.urandom(5).hex()


def _written(rows: Sequence[Row], request: str) -> Chunk:
    """Write the call that stores these."""
    for spec, _ in rows:
        spec.setdefault("rq", request)
    if not _is_plain(rows):
        return Chunk(rows, "add", (0, *_words(rows)))
    first = rows[0][0]
    more, front = _further(first), (100 - first["p"]) << 40
    same = (0, first["q"], first["t"], first["rq"])
    if len(rows) == 1:
        unusual = [front, *more] if more else more
        return Chunk(rows, "add_one", (*same, first["id"], rows[0][1], *unusual))
    pairs = [part for spec, envelope in rows for part in (spec["id"], envelope)]
    return Chunk(rows, "add_plain", (*same, front, 7 + len(more), *more, *pairs))


def _further(spec: dict[str, Any]) -> list[Any]:
    """Return the figures that are not as usual, as names and values; `by` comes first."""
    found = []
    if "by" in spec:
        found += ["by", spec["by"]]
    if spec["p"] != 0:
        found += ["p", spec["p"]]
    if spec["m"] != 1:
        found += ["m", spec["m"]]
    return found


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rest = iter(rows)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def _is_plain(rows: Sequence[Row]) -> bool:
    """Tell whether all are of the usual kind, the same one, and no id comes twice."""
    if len(rows) == 1:
        return rows[0][0].keys() <= PLAIN
    specs = [spec for spec, _ in rows]
    if not all(spec.keys() <= PLAIN for spec in specs):
        return False
    alike = len(set(map(_kind, specs))) == 1 and len({spec.get("by") for spec in specs}) == 1
    return alike and len({spec["id"] for spec in specs}) == len(specs)


def _words(rows: Sequence[Row]) -> list[Any]:
    return [ENCODE([spec for spec, _ in rows]), *(envelope for _, envelope in rows)]
