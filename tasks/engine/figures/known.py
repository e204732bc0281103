"""Figures that were told before: of the same counts of the same time they are told once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from tasks.engine.figures import metrics
from tasks.engine.figures.metrics import Counts, Figures

QUESTIONS = 32

Name = TypeVar("Name", bound=Hashable)
Seen = tuple[datetime, int, Sequence[Counts]]
"""What a time saw: when it began, its seconds, the counts. Nobody may change the counts."""


class Known:
    """What was told of the last QUESTIONS that were asked, each with its newest answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, dict[Hashable, tuple[Seen, Figures]]] = OrderedDict()

    def figures(self, question: Hashable, asked: Iterable[tuple[Name, Seen]]) -> dict[Name, Figures]:  # fmt: skip
        """Return {name: figures} in the order given; those that have not changed are the same objects."""
        with self._lock:
            known = self._kept.pop(question, {})
        fresh: dict[Hashable, tuple[Seen, Figures]] = {}
        found: dict[Name, Figures] = {}
        for name, seen in asked:
            last = known.get(name)
            if last is None or last[0] != seen:
                last = (seen, metrics.figures(*seen))
            fresh[name], found[name] = last, last[1]
        with self._lock:
            self._kept[question] = fresh
            while len(self._kept) > QUESTIONS:
                self._kept.popitem(last=False)
        return found
