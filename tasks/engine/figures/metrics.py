"""What a span of time saw: the fields of lua/lib/counts.lua -> sums, figures and percentiles."""

from __future__ import annotations

import json
import math
import threading
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from sys import intern
from typing import TYPE_CHECKING

from tasks.engine.errors import Unreachable
from tasks.engine.instance import Percentiles

if TYPE_CHECKING:
    from tasks.engine.storage import JobStorage

BUCKETS = 61
HALF_OCTAVES = 2 / math.log(2)
SHARES = (0.5, 0.95, 0.99)
KEPT_S = 176_400
FLUSH_EACH_S = 1.0
ENDS = {"c": "completed", "f": "failed", "x": "cancelled", "r": "retried"}
GAUGES = ("depth", "oldest")

Counts = dict[str, int]
"""{what: n} of one task in one queue; what is as in lua/lib/counts.lua."""
Sums = dict[tuple[str, str], Counts]
"""{(queue, task): counts}; a queue's own figures have the task "", the web's the queue "" too."""


def bucket(ms: int) -> int:
    """Return the histogram bucket of a time, as lib/counts.lua has it: two an octave, at most 60."""
    return 0 if ms < 1 else min(BUCKETS - 1, int(math.log(ms) * HALF_OCTAVES) + 1)


@lru_cache
def bucket_ms(bucket: int) -> float:
    """Return the middle of a histogram bucket, ms; the inverse of `bucket` in lib/counts.lua."""
    if bucket == 0:
        return 0.5
    return float(2 ** ((bucket - 0.5) / 2))


def bucket_top_ms(bucket: int) -> float:
    """Return the upper bound of a histogram bucket, ms."""
    return float(2 ** (bucket / 2))


def percentiles(buckets: Mapping[int, int]) -> Percentiles:
    """Return p50, p95 and p99 from summed buckets; never an average of percentiles."""
    samples = sum(buckets.values())
    if not samples:
        return Percentiles()
    found, seen, ranked = [], 0, iter(sorted(buckets.items()))
    bucket = 0
    for share in SHARES:
        while seen < share * samples:
            bucket, n = next(ranked)
            seen += n
        found.append(bucket_ms(bucket))
    return Percentiles(samples=samples, p50_ms=found[0], p95_ms=found[1], p99_ms=found[2])


def parse(fields: Mapping[bytes, bytes]) -> Sums:
    """Return the sums of one minute's hash."""
    sums: Sums = {}
    for field_, value in fields.items():
        name, what = _named(field_)
        counts = sums.get(name)
        if counts is None:
            counts = sums[name] = {}
        counts[what] = int(value)
    return sums


@lru_cache(maxsize=16_384)
def _named(field_: bytes) -> tuple[tuple[str, str], str]:
    """Return a field's queue and task, and what it counts: each minute has mostly the same ones."""
    queue, _, rest = field_.decode(errors="replace").partition("|")
    task, _, what = rest.rpartition("|")
    return (intern(queue), intern(task)), intern(what)


def merge(into: Sums, more: Sums) -> Sums:
    """Add `more` to `into`: counts are summed, of gauges the highest stays."""
    for name, counts in more.items():
        mine = into.setdefault(name, {})
        for what, n in counts.items():
            mine[what] = max(mine.get(what, 0), n) if what in GAUGES else mine.get(what, 0) + n
    return into


def pack(sums: Sums) -> bytes:
    """Return sums as few bytes; the same sums are the same bytes."""
    plain = {f"{queue}|{task}": counts for (queue, task), counts in sorted(sums.items())}
    return zlib.compress(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode())


def unpack(data: bytes) -> Sums:
    """Return what `pack` was given."""
    plain = json.loads(zlib.decompress(data))  # equal keys are one string within it
    return {_pair(name): counts for name, counts in plain.items()}


@lru_cache(maxsize=4096)
def _pair(name: str) -> tuple[str, str]:
    queue, _, task = name.partition("|")
    return intern(queue), intern(task)


@dataclass(frozen=True, kw_only=True)  # without slots: the percentiles are taken once
class Figures:
    """What one span of time saw of some jobs, from `at` on.

    `enqueued` counts new jobs, `ready` those that began to wait, `taken` those that began to run.
    `depth` (most waiting) and `oldest_s` are None where nobody looked. The histograms are
    {bucket: n}: waited once taken, ran once an attempt ended, ready to finished.
    """

    at: datetime
    span_s: int
    enqueued: int = 0
    ready: int = 0
    taken: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    retried: int = 0
    recovered: int = 0
    depth: int | None = None
    oldest_s: int | None = None
    waits: Mapping[int, int] = field(default_factory=dict)
    runs: Mapping[int, int] = field(default_factory=dict)
    processing: Mapping[int, int] = field(default_factory=dict)
    observed: Mapping[str, int] = field(default_factory=dict)

    @property
    def finished(self) -> int:
        """Completed and failed jobs."""
        return self.completed + self.failed

    @property
    def failed_share(self) -> float | None:
        """Failed of finished jobs; None where none finished."""
        return self.failed / self.finished if self.finished else None

    @cached_property
    def wait(self) -> Percentiles:
        """How long jobs waited."""
        return percentiles(self.waits)

    @cached_property
    def run(self) -> Percentiles:
        """How long attempts ran."""
        return percentiles(self.runs)

    @cached_property
    def whole(self) -> Percentiles:
        """How long it took from ready to finished."""
        return percentiles(self.processing)

    @cached_property
    def busy_ms(self) -> float:
        """All attempts' time together, from the buckets' middles."""
        return sum(bucket_ms(bucket) * n for bucket, n in self.runs.items())

    def mean_ms(self, what: str) -> float | None:
        """Return the mean of a figure that `huey.observe` kept; None below one sample."""
        samples = self.observed.get(f"{what}:n", 0)
        return self.observed.get(f"{what}:ms", 0) / samples if samples else None


def figures(at: datetime, span_s: int, counts: Iterable[Counts]) -> Figures:
    """Return the figures of summed counts."""
    plain: dict[str, int] = {}
    histograms: dict[str, dict[int, int]] = {"w": {}, "p": {}, "run": {}}
    for one in counts:
        for what, n in one.items():
            counter, histogram, bucket = _place(what)
            if counter:
                plain[counter] = plain.get(counter, 0) + n
            if histogram:
                buckets = histograms[histogram]
                buckets[bucket] = buckets.get(bucket, 0) + n
    known = bool(plain.get("sampled"))
    return Figures(
        at=at, span_s=span_s, enqueued=plain.get("n", 0) + plain.get("l", 0),
        ready=plain.get("n", 0) + plain.get("a", 0), taken=sum(histograms["w"].values()),
        **{name: plain.get(letter, 0) for letter, name in ENDS.items()}, recovered=plain.get("d", 0),
        depth=plain.get("depth", 0) if known else None,
        oldest_s=plain.get("oldest", 0) if known else None,
        waits=histograms["w"], runs=histograms["run"], processing=histograms["p"],
        observed={what: n for what, n in plain.items() if ":" in what},
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _place(what: str) -> tuple[str, str, int]:
    """Return the counter that a field adds to, its histogram and the bucket there; "" for none."""
    letter, bucket = what[0], what[1:]
    if not bucket.isdigit():
        return what, "", 0
    if letter in ENDS:
        return letter, "run", int(bucket)
    return "", letter, int(bucket)


def forecast(waiting: int, into: float, out: float, at: datetime) -> str | None:
    """Say where a queue goes; `into` and `out` are jobs a minute that begin to wait and to run."""
    if waiting == 0:
        return None
    if into - out >= 0.5:
        return f"growing {into - out:,.0f} a minute".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if out - into < 0.01:
        return None
    minutes_left = waiting / (out - into)
    if minutes_left < 2:
        return f"empty in {max(1, round(minutes_left * 60))} s"
    if minutes_left > 24 * 60:
        return f"empty in {minutes_left / 1440:.0f} d"
    return f"empty about {at + timedelta(minutes=minutes_left):%H:%M}"


class Observations:
    """Sums of a web process, written in one call at most once a second, never inside a request.

    Dropped while Redis is away.
    """

    def __init__(self, storage: JobStorage) -> None:
        self.storage = storage
        self._lock = threading.Lock()
        self._sums: dict[str, tuple[int, float]] = {}
        self._thread: threading.Thread | None = None

    def add(self, what: str, ms: float) -> None:
        """Keep one figure."""
        with self._lock:
            samples, total = self._sums.get(what, (0, 0.0))
            self._sums[what] = (samples + 1, total + ms)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._later, name="observe", daemon=True)
                self._thread.start()

    def _later(self) -> None:
        time.sleep(FLUSH_EACH_S)
        with self._lock:
            sums, self._sums, self._thread = self._sums, {}, None
        self.write(sums)

    def write(self, sums: Mapping[str, tuple[int, float]]) -> None:
        """Write sums into the current minute."""
        key = self.storage.keys.of("minute", str(int(time.time()) // 60))
        commands: list[tuple[object, ...]] = [("EXPIRE", key, KEPT_S)]
        for what, (samples, total) in sums.items():
            commands.insert(0, ("HINCRBY", key, f"||{what}:n", samples))
            commands.insert(0, ("HINCRBY", key, f"||{what}:ms", round(total)))
        try:
            self.storage.pipeline(commands)
        except Unreachable:
            return
