"""A wait that ends as soon as it may, and that has an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_S = 60.0  # only a failure takes so long; a machine that is busy with others may need it


def wait_until(condition: Callable[[], T], what: str | Callable[[], str] = "") -> T:
    """Wait for a condition and return its answer. Raises AssertionError after PATIENCE_S.

    `what` is what was waited for, or is called at the end to say how it stands then.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := condition()):
        if time.monotonic() > deadline:
            said = what() if callable(what) else what
            raise AssertionError(f"not so after {PATIENCE_S:g} s: {said or condition}")
        time.sleep(0.02)
    return answer
