"""A wish to stop that comes by a signal."""

from __future__ import annotations

import contextlib
import os
import select


class Flag:
    """An event that a signal's handler may set.

    `threading.Event` may not: its `set` takes a lock that the interrupted `wait` may hold, and then
    neither ever goes on.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._reads, self._writes = os.pipe()
        os.set_blocking(self._writes, False)

    def set(self) -> None:
        """Set it and wake who waits."""
        self._is_set = True
        with contextlib.suppress(BlockingIOError):  # full: there is enough to wake by
            os.write(self._writes, b".")

    def is_set(self) -> bool:
        """Tell whether it was set."""
        return self._is_set

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is set. Returns: whether it is; False after `timeout_s`."""
        if not self._is_set:
            select.select([self._reads], [], [], timeout_s)
        return self._is_set
