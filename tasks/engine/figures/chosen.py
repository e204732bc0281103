"""The counts of some queues or of one task over time, summed once a span and kept as few counts.

A day of every task does not fit into what a process keeps of whole spans. What most ask for does: the
counts of all queues together, of the fast ones, of one queue, of one task.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.engine.figures import metrics
from tasks.engine.figures.buckets import Buckets, Level
from tasks.engine.figures.kept import KeptSums, weight
from tasks.engine.figures.metrics import GAUGES, Counts, Sums

if TYPE_CHECKING:
    from tasks.engine.storage import JobStorage

KEPT_COUNTS = 200_000
SPANS_AT_ONCE = 48  # that are in memory together while a long range is summed


@dataclass(frozen=True, slots=True)
class Choice:
    """Whose counts: of these queues (None: all) and this task (None: all but `without`).

    `apart` keeps each queue and task by itself, `by_queue` each queue; else they are one sum.
    """

    queues: frozenset[str] | None = None
    task: str | None = None
    without: frozenset[str] = frozenset()
    apart: bool = False
    by_queue: bool = False

    @property
    def is_large(self) -> bool:
        """Tell whether it is about as many counts as there are: too many to be kept."""
        return self.apart or self.by_queue

    def takes(self, name: tuple[str, str]) -> bool:
        """Tell whether the counts of a queue and a task are wanted."""
        queue, task = name
        return (
            (self.queues is None or queue in self.queues)
            and (self.task is None or task == self.task)
            and task not in self.without
        )

    def of(self, sums: Sums) -> Sums:
        """Return the counts chosen; summed ones stand under a name without queue and task.

        Gauges stay with their queue: over time the highest of each counts, and those are summed.
        """
        if self == ALL_APART:
            return sums
        found = {name: counts for name, counts in sums.items() if self.takes(name)}
        return found if self.apart else _together(found, self.by_queue)


EVERYTHING, ALL_APART = Choice(), Choice(apart=True)


def choice(queue: str | None = None, task: str | None = None, queues: Iterable[str] | None = None,
           without: Iterable[str] = ()) -> Choice:  # fmt: skip
    """Return the choice of a queue, of several, or of a task; none of them is everything."""
    named = (queue,) if queue is not None else queues
    return Choice(None if named is None else frozenset(named), task, frozenset(without))


def _together(sums: Sums, by_queue: bool) -> Sums:
    found: Sums = {("", ""): {}}
    for name, counts in sums.items():
        together = found.setdefault((name[0] if by_queue else "", ""), {})
        for what, n in counts.items():
            together[what] = together.get(what, 0) + n
        if not name[1]:  # gauges are a queue's own
            _part(found, together, name, counts)
    return found


def _part(found: Sums, together: Counts, name: tuple[str, str], counts: Counts) -> None:
    """Put the gauges of a queue, which were added up with the rest, under its name again."""
    for what in GAUGES:
        if what in counts:
            del together[what]
            found.setdefault(name, {})[what] = counts[what]


Each = list[Sums]
"""The sums of each choice asked for, in their order."""


class Chosen:
    """Choices of the spans of one instance; what it returns must not be changed."""

    def __init__(self, storage: JobStorage, buckets: Buckets) -> None:
        self.buckets = buckets
        self._kept = KeptSums(storage, KEPT_COUNTS)

    def points(self, level: Level, many: int, numbers: Sequence[int], now_ms: int,
               choices: Sequence[Choice]) -> dict[int, Each]:  # fmt: skip
        """Return {n: the sums of `many` spans together}, n counted in that many spans."""
        found = dict(self._points(level.times(many), level, numbers, now_ms, choices))
        return {n: found[n] for n in numbers}

    def total(self, level: Level, many: int, numbers: range, now_ms: int,
              choices: Sequence[Choice]) -> Each:  # fmt: skip
        """Return the sums of points in a row together; those that are over are summed once."""
        whole = level.times(many)
        over = [n for n in numbers if whole.is_over(n, now_ms)]
        key = (f"total of {whole.kind}", *over[:1], *over[-1:])
        ended = self._known(key, choices)
        if ended is None:
            ended = _sum(self._points(whole, level, over, now_ms, choices), len(choices))
            self._keep(key, choices, ended)
        found = [dict(sums) for sums in ended]
        going_on = [n for n in numbers if n not in over]
        for _, each in self._points(whole, level, going_on, now_ms, choices):
            for mine, more in zip(found, each, strict=True):
                mine |= {name: _both(mine.get(name, {}), counts) for name, counts in more.items()}
        return found

    def _points(self, whole: Level, level: Level, numbers: Iterable[int], now_ms: int,
                choices: Sequence[Choice]) -> Iterator[tuple[int, Each]]:  # fmt: skip
        missing = []
        for n in numbers:
            kept = self._known((whole.kind, n), choices)
            if kept is not None:
                yield n, kept
            elif whole.is_over(n, now_ms):
                missing.append(n)
            else:
                yield n, self._going_on(whole, level, n, now_ms, choices)
        for n, each in self._read(whole, level, missing, now_ms, choices):
            if not any(choice.is_large for choice in choices):
                self._keep((whole.kind, n), choices, each)
            yield n, each

    def _read(self, whole: Level, level: Level, numbers: Sequence[int], now_ms: int,
              choices: Sequence[Choice]) -> Iterator[tuple[int, Each]]:  # fmt: skip
        """Read points that are over, some spans at a time; a range that is long pushes nothing out."""
        many = whole.step_s // level.step_s
        room, at_once = self.buckets.most // 2, max(1, SPANS_AT_ONCE // many)
        for start in range(0, len(numbers), at_once):
            part = numbers[start : start + at_once]
            spans = [n * many + place for n in part for place in range(many)]
            read = self.buckets.read(level, spans, now_ms, keep=room > 0)
            room -= sum(weight(sums) for sums in read.values())
            for n in part:
                inside = (
                    (0, _of_each(read[span], choices)) for span in range(n * many, (n + 1) * many)
                )
                yield n, _sum(inside, len(choices))

    def _going_on(self, whole: Level, level: Level, n: int, now_ms: int,
                  choices: Sequence[Choice]) -> Each:  # fmt: skip
        """Return a point that is not over, from its parts: those that are over are kept."""
        part = level if whole is not level else level.part
        if part is None:
            return _of_each(self.buckets.read(level, [n], now_ms)[n], choices)
        many, last = whole.step_s // part.step_s, now_ms // 1000 // part.step_s
        inside = range(n * many, min((n + 1) * many - 1, last) + 1)
        return _sum(self._points(part, part, inside, now_ms, choices), len(choices))

    def _known(self, key: tuple[object, ...], choices: Sequence[Choice]) -> Each | None:
        """Return what is kept; None where a choice of it is missing."""
        kept = [self._kept.get((*key, choice)) for choice in choices]
        known = [sums for sums in kept if sums is not None]
        return known if len(known) == len(choices) else None

    def _keep(self, key: tuple[object, ...], choices: Sequence[Choice], each: Each) -> None:
        for choice, sums in zip(choices, each, strict=True):
            self._kept.add((*key, choice), sums)


def _of_each(sums: Sums, choices: Sequence[Choice]) -> Each:
    return [choice.of(sums) for choice in choices]


def _sum(many: Iterable[tuple[int, Each]], choices: int) -> Each:
    found: Each = [{} for _ in range(choices)]
    for _, each in many:
        _add(found, each)
    return found


def _both(one: Counts, other: Counts) -> Counts:
    """Return two counts together, in a dict of its own."""
    return metrics.merge({("", ""): dict(one)}, {("", ""): other})["", ""]


def _add(found: Each, each: Each) -> None:
    for mine, more in zip(found, each, strict=True):
        metrics.merge(mine, more)
