"""Minutes, tens of minutes and hours in Redis: read through a cache, rolled up by housekeeping.

A span that is over never changes, so each process reads it once. One that is not rolled up yet is
composed of its parts. Rolling up is done by whichever worker comes first and may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.engine.figures import metrics
from tasks.engine.figures.kept import KeptSums
from tasks.engine.figures.metrics import Sums

if TYPE_CHECKING:
    from tasks.engine.storage import JobStorage

CACHED_COUNTS = 300_000
SETTLED_S = 5
AT_ONCE = 12


@dataclass(frozen=True, slots=True)
class Level:
    """A resolution: `kind` of its keys, seconds of a span, how long they are kept, its parts."""

    kind: str
    step_s: int
    kept_s: int
    part: Level | None = None

    def times(self, many: int) -> Level:
        """Return the level whose spans are `many` of this one's."""
        return self if many == 1 else Level(f"{many} {self.kind}", self.step_s * many, self.kept_s)

    def is_over(self, span: int, now_ms: int) -> bool:
        """Tell whether a span will not change any more."""
        return now_ms >= ((span + 1) * self.step_s + SETTLED_S) * 1000


MINUTE = Level("minute", 60, 48 * 3600)
TENS = Level("tens", 600, 14 * 86400, MINUTE)
HOUR = Level("hour", 3600, 400 * 86400, TENS)


def level_for(span_s: int, back_s: int) -> Level:
    """Return the finest level that reaches back so far and needs no more than some 300 spans."""
    for level in (MINUTE, TENS):
        if span_s + back_s <= level.kept_s and span_s <= level.step_s * 300:
            return level
    return HOUR


class Buckets:
    """The spans of one instance."""

    def __init__(self, storage: JobStorage) -> None:
        self.storage, self.most = storage, CACHED_COUNTS
        self._kept = KeptSums(storage, CACHED_COUNTS)

    def read(
        self, level: Level, spans: Sequence[int], now_ms: int, *, keep: bool = True
    ) -> dict[int, Sums]:
        """Return {span: sums} in the order given; at most three round trips, one when kept.

        What it returns must not be changed. `keep` False: what is read is not kept.
        """
        found = {span: self._kept.get((level.kind, span)) for span in spans}
        missing = [span for span, sums in found.items() if sums is None]
        fetched = self._fetch(level, missing, now_ms, keep) if missing else {}
        for span, sums in fetched.items():
            if keep and level.is_over(span, now_ms):
                self._kept.add((level.kind, span), sums)
        return {span: fetched[span] if sums is None else sums for span, sums in found.items()}

    def _fetch(
        self, level: Level, spans: Sequence[int], now_ms: int, keep: bool
    ) -> dict[int, Sums]:
        keys = [self.storage.keys.of(level.kind, str(span)) for span in spans]
        if level.part is None:
            reply = self.storage.pipeline([("HGETALL", key) for key in keys])
            return {span: metrics.parse(_hash(row)) for span, row in zip(spans, reply, strict=True)}
        rolled, *reply = self.storage.pipeline(
            [("HGET", self.storage.keys.one("rolled"), level.kind), *(("GET", key) for key in keys)]
        )
        last = int(rolled) if rolled else -1
        packed = dict(zip(spans, reply, strict=True))
        found = {span: metrics.unpack(data) if data else {} for span, data in packed.items()}
        open_spans = [span for span in spans if packed[span] is None and span > last]
        return found | self._compose(level, open_spans, now_ms, keep)

    def _compose(self, level: Level, spans: Iterable[int], now_ms: int,
                 keep: bool = True) -> dict[int, Sums]:  # fmt: skip
        """Return the sums of spans from their parts, as far as those are kept."""
        part = level.part
        assert part is not None  # noqa: S101 - only TENS and HOUR have open spans
        many, now = level.step_s // part.step_s, now_ms // 1000
        first, last = (now - part.kept_s) // part.step_s, now // part.step_s
        wanted = {
            span: range(max(first, span * many), min(last, span * many + many - 1) + 1)
            for span in spans
        }
        inside = [n for numbers in wanted.values() for n in numbers]
        parts = self.read(part, inside, now_ms, keep=keep)
        found: dict[int, Sums] = {}
        for span, numbers in wanted.items():
            found[span] = {}
            for number in numbers:
                metrics.merge(found[span], parts[number])
        return found

    # Rolling up

    def roll(self, now_ms: int, at_once: int = AT_ONCE) -> int:
        """Roll up the spans that are over, oldest first. Returns: how many this call did."""
        return self._roll(TENS, now_ms, at_once) + self._roll(HOUR, now_ms, at_once)

    def _roll(self, level: Level, now_ms: int, at_once: int) -> int:
        reply = self.storage.call("HMGET", self.storage.keys.one("rolled"), "tens", "hour")
        tens, own = reply[0], reply[0] if level is TENS else reply[1]
        end = (now_ms // 1000 - SETTLED_S) // level.step_s  # the first span that is not over
        if level is HOUR:
            end = min(end, (int(tens) + 1) // 6 if tens else 0)
        before, done = own.decode() if own else "", 0
        for span in range(self._start(level, before, now_ms), end)[:at_once]:
            if not self._step(level, before, span, now_ms):
                break
            before, done = str(span), done + 1
        return done

    def _start(self, level: Level, before: str, now_ms: int) -> int:
        """Return the first span to roll: after the last one, but only where its parts are kept."""
        part = level.part
        assert part is not None  # noqa: S101 - as in _compose
        oldest = (now_ms // 1000 - part.kept_s) // level.step_s
        if before:
            return max(int(before) + 1, oldest)
        last = now_ms // 1000 // part.step_s
        stamps = range(oldest * level.step_s // part.step_s, last + 1)
        reply = self.storage.pipeline(
            [("EXISTS", self.storage.keys.of(part.kind, str(stamp))) for stamp in stamps]
        )
        first = next((n for n, known in zip(stamps, reply, strict=True) if known), last)
        return first * part.step_s // level.step_s

    def _step(self, level: Level, before: str, span: int, now_ms: int) -> bool:
        sums = self._compose(level, [span], now_ms)[span]
        totals = b""
        if level is TENS and sums:
            totals = metrics.pack(metrics.merge(self._stored_totals()[1], _countable(sums)))
            totals = f"{span} ".encode() + totals
        return bool(self.storage.scripts.run(
            "roll", 0, level.kind, before, span, level.kept_s + level.step_s,
            metrics.pack(sums) if sums else b"", totals,
        ))  # fmt: skip

    # Totals

    def _stored_totals(self) -> tuple[int, Sums]:
        """Return the last span in the stored totals, and the totals."""
        data = self.storage.call("GET", self.storage.keys.one("totals"))
        if not data:
            return -1, {}
        span, _, packed = data.partition(b" ")
        return int(span), metrics.unpack(packed)

    def totals(self, now_ms: int) -> Sums:
        """Return every counter since the beginning; they never go down."""
        span, sums = self._stored_totals()
        last = now_ms // 60_000
        first = max((span + 1) * 10, last - MINUTE.kept_s // 60)
        for part in self.read(MINUTE, range(first, last + 1), now_ms).values():
            metrics.merge(sums, _countable(part))
        return sums


def _countable(sums: Sums) -> Sums:
    """Leave out what is no counter."""
    return {
        name: {what: n for what, n in counts.items() if what not in metrics.GAUGES}
        for name, counts in sums.items()
    }


def _hash(reply: Any) -> dict[bytes, bytes]:
    if isinstance(reply, Mapping):
        return dict(reply)
    return dict(zip(reply[::2], reply[1::2], strict=True))
