"""Sums of spans that are over, as far as there is room: the ones used longest ago make it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING

from tasks.engine.figures.metrics import Sums

if TYPE_CHECKING:
    from tasks.engine.storage import JobStorage


class KeptSums:
    """Sums by any key; what is in it must not be changed by anyone."""

    def __init__(self, storage: JobStorage, most: int) -> None:
        """Keep at most `most` counts, some 60 bytes each."""
        self.storage, self.most = storage, most
        self._lock = threading.Lock()
        self._sums: OrderedDict[Hashable, Sums] = OrderedDict()
        self._counts = 0
        self._flushes = storage.flushes

    def get(self, key: Hashable) -> Sums | None:
        """Return the sums of a key; None where they are not kept."""
        with self._lock:
            self._forget_flushed()
            found = self._sums.get(key)
            if found is not None:
                self._sums.move_to_end(key)
            return found

    def add(self, key: Hashable, sums: Sums) -> None:
        """Keep sums."""
        with self._lock:
            if key not in self._sums:
                self._sums[key] = sums
                self._counts += weight(sums)
            while self._counts > self.most and self._sums:
                self._counts -= weight(self._sums.popitem(last=False)[1])

    def _forget_flushed(self) -> None:
        """Forget everything when everything in Redis was dropped by this process."""
        if self._flushes != self.storage.flushes:
            self._flushes, self._counts = self.storage.flushes, 0
            self._sums.clear()


def weight(sums: Sums) -> int:
    """Return how many counts there are, and one for the span."""
    return 1 + sum(len(counts) for counts in sums.values())
