"""What people write, as a script may keep it."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey

_FOUND: WeakKeyDictionary[JobHuey, tuple[int, str]] = WeakKeyDictionary()


def one_line(text: str) -> str:
    """Return what an operator wrote as a script may keep it: one line of at most 200 characters."""
    return re.sub(r"[\t\r\n]+", " ", text)[:200]


def cancelled_by(by: str, reason: str) -> str:
    """Return why a job is cancelled, as its page says it."""
    who = f"cancelled by {by}" if by else "cancelled"
    return one_line(f"{who}: {reason}" if reason else who)


def consumer_of(huey: JobHuey) -> str:
    """Return the command that starts a worker of this Huey, by where it stands: `huey_consumer shop.huey`.

    Of several modules that hold it the one where its tasks are is told; without any the program alone.
    It is looked for again only when a module has come: that takes 10 ms.
    """
    modules, known = _FOUND.get(huey, (0, ""))
    if modules != len(sys.modules):
        known = _looked_up(huey)
        _FOUND[huey] = len(sys.modules), known
    return known


def _looked_up(huey: JobHuey) -> str:
    found = [
        f"{module}.{name}" for module, held in list(sys.modules.items()) if module != "__main__"
        for name, value in list(getattr(held, "__dict__", {}).items()) if value is huey
    ]  # fmt: skip
    homes = {task.partition(".")[0] for task in huey.reads.tasks()}
    found.sort(key=lambda name: (name.partition(".")[0] not in homes, len(name)))
    return f"huey_consumer {found[0]}" if found else "huey_consumer"
