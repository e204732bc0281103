"""fsck: walk every key of the instance, a few at a time, and mend what disagrees with the jobs' records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tasks.engine import rows
from tasks.engine.instance import Findings
from tasks.engine.keys import kind_of
from tasks.engine.operating.recounting import Place, Recount
from tasks.engine.rows import instant
from tasks.engine.storage import JobStorage

AT_ONCE = 100
PAGE = 200
STEP_EACH_MS = 2_000
ROUND_EACH_MS = 600_000
RECOUNTED_AT_ONCE = 30
KEYS = frozenset(
    {
        "job",
        "final",
        "envelope",
        "progress",
        "attempts",
        "logs",
        "touched",
        "unique",
        "held",
        "batch",
    }
)
SETS = frozenset({"state", "waiting", "parked", "due", "handoff", "index", "children", "found"})


class Check:
    """The walk: its place, its time and its sums are in Redis, so any worker takes the next step.

    A step looks at about 200 keys or members of sets, in calls of at most 100; a round begins ten
    minutes after the last one ended. The standing counts are recounted every ten minutes, before
    the step that is due then. `last` keeps 50 findings.
    """

    def __init__(self, storage: JobStorage) -> None:
        self.storage, self.key = storage, storage.keys.one("fsck")
        self.recount = Recount(storage)
        self._due_ms = 0  # it is not time before this, as far as this process has seen

    def step(self, now_ms: int) -> bool:
        """Take the next step when it is time. Returns: whether one was taken. Raises Unreachable."""
        if now_ms < self._due_ms <= now_ms + ROUND_EACH_MS:
            return False
        found = self._record()
        rest = STEP_EACH_MS if found.keys() & {"cursor", "counts"} else ROUND_EACH_MS
        at = int(found.get("at", 0))
        self._due_ms = at + rest if at <= now_ms else now_ms  # the clock went back: at once
        if now_ms < self._due_ms:
            return False
        if self._count(found, now_ms):
            return True
        begin = {"cursor": "0", "sets": "[]", "begun": str(now_ms), "checked": "0", "found": "{}"}
        place = begin | {n: found[n] for n in begin if "cursor" in found and n in found}
        self._save(self._go_on(place, mend=True) | {"counted": found["counted"]}, now_ms)
        return True

    def _count(self, found: dict[str, str], now_ms: int) -> bool:
        """Recount for a while if it is time. Returns: whether that goes on in the next step."""
        if "counts" not in found and 0 <= now_ms - int(found.get("counted", 0)) < ROUND_EACH_MS:
            return False
        begun = Place.of(found["counts"]) if "counts" in found else self.recount.begin(each=False)
        self.recount.go_on(begun, mend=True, calls=RECOUNTED_AT_ONCE)
        if not begun.todo:
            found["counted"] = str(now_ms)
            return False
        self.storage.write([("HSET", self.key, "counts", begun.text(), "at", now_ms)])
        return True

    def all(self, *, mend: bool) -> dict[str, int]:
        """Walk everything now. Returns: how often what was found. Raises Unreachable.

        Cost: a call of some milliseconds for each 100 keys.
        """
        place = {"cursor": "0", "sets": "[]", "checked": "0", "found": "{}"}
        while "cursor" in (place := self._go_on(place, mend=mend)):
            pass
        return dict(Counter(json.loads(place["found"])) + self.recount.all(mend=mend))

    def findings(self) -> Findings:
        """Return what the check found last. Raises Unreachable."""
        asked = [("HGETALL", self.key), ("LRANGE", self.storage.keys.one("fsck_last"), 0, -1)]
        record, lines = self.storage.pipeline(asked)
        found = rows.flat(record)
        last = [line.decode().split("\t", 2) for line in reversed(lines)]
        return Findings(
            finished_at=instant(found.get("ended")), checked=int(found.get("last_checked", 0)),
            last=[(at, what, name) for ms, what, name in last if (at := instant(ms))],
        )  # fmt: skip

    def _record(self) -> dict[str, str]:
        reply = self.storage.client_hgetall(self.key)
        return {name.decode(): value.decode() for name, value in reply.items()}

    def _save(self, place: dict[str, str], now_ms: int) -> None:
        fields = place | {"at": str(now_ms)}
        if "cursor" not in place:
            fields |= {"ended": str(now_ms), "last_checked": place["checked"]}
        flat = [part for pair in fields.items() for part in pair]
        self.storage.write([("DEL", self.key), ("HSET", self.key, *flat)])

    def _go_on(self, place: dict[str, str], *, mend: bool) -> dict[str, str]:
        """Do one step from `place`. Returns: the next place, without cursor at the end."""
        sets: list[list[str]] = json.loads(place["sets"])
        cursor, items = place["cursor"], list[str]()
        if not sets:
            cursor, page = self._page(cursor)
            items, sets = self._sorted(page)
        while sets and len(items) < PAGE:
            items += self._members(sets)
        found = Counter(json.loads(place["found"])) + self.look(items, mend=mend)
        after = place | {
            "cursor": cursor, "sets": json.dumps(sets), "found": json.dumps(found),
            "checked": str(int(place["checked"]) + len(items)),
        }  # fmt: skip
        if cursor == "0" and not sets:
            del after["cursor"]
        return after

    def _page(self, cursor: str) -> tuple[str, list[str]]:
        prefix = self.storage.keys.prefix
        pattern = prefix.replace("[", "\\[") + "*"
        reply: Any = self.storage.call("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE)
        return _text(reply[0]), [key.decode()[len(prefix) :] for key in reply[1]]

    def _sorted(self, page: Sequence[str]) -> tuple[list[str], list[list[str]]]:
        """Return the items of the keys on a page, and the sets to walk: [kind, name, cursor]."""
        kinds = [kind_of(name) for name in page]
        items = [f"{kind}\t{name}" for kind, name in kinds if kind in KEYS]
        return items, [[kind, name, "0"] for kind, name in kinds if kind in SETS]

    def _members(self, sets: list[list[str]]) -> Iterator[str]:
        """Return some members of the first set; it goes when it is done."""
        kind, name, cursor = sets[0]
        keys = self.storage.keys
        key = keys.of(kind, name) if name else keys.one(kind)
        reply: Any = self.storage.call("ZSCAN", key, cursor, "COUNT", PAGE)
        cursor, pairs = _text(reply[0]), reply[1]
        ids = [pair[0] for pair in pairs] if pairs and isinstance(pairs[0], tuple) else pairs[::2]
        sets[0][2] = cursor
        if cursor == "0":
            sets.pop(0)
        return (f"{kind}\t{name}\t{job_id.decode()}" for job_id in ids)

    def look(self, items: Sequence[str], *, mend: bool) -> Counter[str]:
        """Check some items. Returns: how often what was found. Raises Unreachable."""
        found: Counter[str] = Counter()
        for start in range(0, len(items), AT_ONCE):
            chunk = items[start : start + AT_ONCE]
            reply = self.storage.scripts.run("fsck", 0, int(mend), *chunk)
            found.update(what.decode() for what in reply[::2])
        return found


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
