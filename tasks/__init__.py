"""Everything that runs outside the web process. A bare import loads nothing.

`huey_consumer tasks.huey` and `from tasks import huey` reach the one Huey, which is made then, with
every task module registered and the outbox joined.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

MODULES = ("emails", "reminders", "maintenance", "alerts.evaluation")


def __getattr__(name: str) -> Any:
    """Make `tasks.huey` when it is first asked for."""
    if name != "huey":
        raise AttributeError(f"module 'tasks' has no attribute {name!r}")
    settings = importlib.import_module("tasks.settings")
    try:
        queues = importlib.import_module("tasks.queues")
    except settings.SettingsError as exc:
        # `huey_consumer tasks.huey` comes in here: nobody else can say the sentence and exit 2.
        sys.stderr.write(f"{exc}\n")
        raise SystemExit(2) from None
    for module in MODULES:
        importlib.import_module(f"tasks.{module}")
    outbox = importlib.import_module("tasks.outbox")
    outbox.join(queues.huey)
    queues.huey.on_startup(name="logs")(importlib.import_module("tasks.logs").in_consumer)
    globals()["huey"] = queues.huey  # made once: later it is found without asking here
    return queues.huey
