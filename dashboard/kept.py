"""What the web process keeps of what is dear to make: made anew beside the pages."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from tasks.engine import Unreachable

T = TypeVar("T")
logger = logging.getLogger(__name__)
STALE_MOST = 4  # times its age that a value may have while it is made anew
AFTER_S = 0.1


class Kept(Generic[T]):
    """A value that is made anew beside the requests when it is older than `age_s`.

    Who asks meanwhile gets the last one; the making begins after `AFTER_S`, so that it does not share
    the interpreter with the page that found it old. One that nobody asked for in `STALE_MOST` times
    `age_s` is made while its first reader waits, as the very first is. Calls are guarded by the
    owner's lock.
    """

    def __init__(self, age_s: float) -> None:
        self.age_s = age_s
        self._kept: tuple[T, float] | None = None
        self._making: threading.Thread | None = None

    def get(self, make: Callable[[], T]) -> T:
        """Return the value, a new one where the last is far too old. Raises: what `make` does then."""
        kept = self._kept
        age_s = time.monotonic() - kept[1] if kept else float("inf")
        if kept is None or age_s > self.age_s * STALE_MOST:
            kept = self._kept = (make(), time.monotonic())
        elif age_s > self.age_s and not (self._making and self._making.is_alive()):
            self._making = threading.Timer(AFTER_S, self._renew, (make, kept))
            self._making.name, self._making.daemon = "figures", True
            self._making.start()
        return kept[0]

    def _renew(self, make: Callable[[], T], last: tuple[T, float]) -> None:
        """Put a new value in the place of `last`, unless that was forgotten or replaced meanwhile."""
        try:
            made = (make(), time.monotonic())
        except Unreachable:
            return  # the look that asked says so
        except Exception:
            logger.exception("figures could not be made anew; the last ones stay")
            return
        if self._kept is last:
            self._kept = made

    def forget(self) -> None:
        """Let the next call make it anew, and wait for it."""
        self._kept = None
