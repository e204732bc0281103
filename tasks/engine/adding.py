"""How jobs reach Redis: in chunks, of which one is written while Redis stores those before."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

from tasks.engine.codec import encoder
from tasks.engine.errors import Unreachable
from tasks.engine.scripts import Scripts, UnknownScript

CHUNK = 200
UNDER_WAY = 2  # chunks: the one that Redis stores, and the one that it finds when that is done
AFTER = 4  # which argument of lua/add_plain names a job that has to be stored before
NOT_YET = 2  # what it answers where that is not stored
KIND = ("q", "t", "p", "m", "rq")
_kind = itemgetter(*KIND)
PLAIN = frozenset({"id", "by", "tg", "ix", *KIND})  # what lua/add_one and add_plain store
ENCODE = encoder(ascii_only=True)

Row = tuple[dict[str, Any], bytes]
Added = tuple[str, str]  # (status, id); see lua/lib/insert.lua


class Chunk(NamedTuple):
    """Jobs that go together, and the call that stores them."""

    rows: Sequence[Row]
    script: str
    args: tuple[Any, ...]

    def behind(self, before: Chunk) -> tuple[Any, ...]:
        """Return the arguments of a call that stores nothing where `before` is not stored."""
        last = before.rows[-1][0]["id"]
        return (*self.args[:AFTER], last, *self.args[AFTER + 1 :])


class Adding:
    """One call that stores jobs in their order: by lua/add_plain where a chunk is of the usual kind.

    Chunks go one behind another on one connection. What became of one that got no answer, was refused
    or came too early is asked for again before any after it, and none of those stores itself before it.
    """

    def __init__(self, scripts: Scripts, found: list[Added]) -> None:
        self.scripts, self.found = scripts, found
        self._line = scripts.line()
        self._under_way: deque[Chunk] = deque()

    def run(self, rows: Iterable[Row]) -> None:
        """Store jobs, each (spec, envelope), and add to `found` what became of each, in order.

        Safe to repeat. Where making a row raises no further chunk is sent; `found` then has those that
        are stored. Raises: Unreachable.
        """
        request = new_request()
        try:
            for some in _chunks(rows):
                self._send(_written(some, request))
        finally:
            try:
                self._hear(0)
            finally:
                self._line.close()

    def _send(self, chunk: Chunk) -> None:
        plain = chunk.script == "add_plain"  # the others do not look for what has to be before
        self._hear(UNDER_WAY - 1 if plain else 0)
        args = chunk.behind(self._under_way[-1]) if self._under_way else chunk.args
        sent = self._line.send(chunk.script, *args)
        self._under_way.append(chunk)
        if not sent:  # nor will there be an answer to those before it
            self._hear(0)

    def _hear(self, left: int) -> None:
        """Hear what became of chunks until only `left` are under way."""
        while len(self._under_way) > left:
            chunk = self._under_way.popleft()
            try:
                self.found += self._became(chunk)
            except BaseException:
                self._under_way.clear()  # or `found` would have a gap
                raise

    def _became(self, chunk: Chunk) -> list[Added]:
        try:
            reply = self._line.hear()
        except UnknownScript:
            reply = NOT_YET
        except Unreachable:
            reply = self.scripts.run(chunk.script, *chunk.args)
        if reply == NOT_YET:
            reply = repeat(self.scripts, chunk.script, *chunk.args)
        if chunk.script == "add":
            return _told(reply)
        if reply:
            return [("new", spec["id"]) for spec, _ in chunk.rows]
        return _told(repeat(self.scripts, "add", 0, *_words(chunk.rows)))


def add_one(scripts: Scripts, row: Row) -> Added:
    """Store one job, as `Adding` does. Raises: Unreachable."""
    spec, envelope = row
    if "rq" not in spec:
        spec["rq"] = new_request()
    if spec.keys() <= PLAIN and repeat(scripts, "add_one", *_alone(spec, envelope)):
        return "new", spec["id"]
    return _told(repeat(scripts, "add", 0, *_words([row])))[0]


def repeat(scripts: Scripts, script: str, *args: Any) -> Any:
    """Run a script, once more when its reply was lost."""
    try:
        return scripts.run(script, *args)
    except Unreachable:
        return scripts.run(script, *args)


def new_request() -> str:
    """Return what tells one call from another for the same id; kept with the job."""
    return os.urandom(5).hex()


def _told(reply: Sequence[Sequence[bytes]]) -> list[Added]:
    return [(status.decode(), job_id.decode()) for status, job_id in reply]


def _written(rows: Sequence[Row], request: str) -> Chunk:
    """Write the call that stores these."""
    for spec, _ in rows:
        spec.setdefault("rq", request)
    if not _is_plain(rows):
        return Chunk(rows, "add", (0, *_words(rows)))
    first = rows[0][0]
    if len(rows) == 1:
        return Chunk(rows, "add_one", _alone(*rows[0]))
    further, step = _further(first), 3 if first.get("ix") else 2
    if step == 3:
        words = [word for spec, envelope in rows for word in (spec["id"], envelope, spec["ix"])]
    else:
        words = [word for spec, envelope in rows for word in (spec["id"], envelope)]
    args = (0, first["q"], first["t"], first["rq"], "", _front(first), 9 + len(further), step)
    return Chunk(rows, "add_plain", (*args, *further, *words))


def _alone(spec: dict[str, Any], envelope: bytes) -> tuple[Any, ...]:
    args = (0, spec["q"], spec["t"], spec["rq"], spec["id"], envelope)
    further = _further(spec)
    if spec.get("ix"):
        further += ["ix", spec["ix"]]
    return (*args, _front(spec), *further) if further else args


def _front(spec: dict[str, Any]) -> int:
    """Return where its priority begins among the waiting."""
    front: int = (100 - spec["p"]) << 40
    return front


def _further(spec: dict[str, Any]) -> list[Any]:
    """Return the figures that are not as usual, as names and values; `by` comes first."""
    found = []
    if "by" in spec:
        found += ["by", spec["by"]]
    if spec["p"] != 0:
        found += ["p", spec["p"]]
    if spec["m"] != 1:
        found += ["m", spec["m"]]
    if spec.get("tg"):
        found += ["tg", spec["tg"]]
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
    more = {(spec.get("by"), spec.get("tg") or "", not spec.get("ix")) for spec in specs}
    alike = len(set(map(_kind, specs))) == 1 and len(more) == 1
    return alike and len({spec["id"] for spec in specs}) == len(specs)


def _words(rows: Sequence[Row]) -> list[Any]:
    return [ENCODE([spec for spec, _ in rows]), *(envelope for _, envelope in rows)]
