"""gunicorn's own configuration, read from this folder: what the Procfile's line leaves out."""

import importlib
import sys
from typing import Any

from dashboard.auth import check_first_operator
from dashboard.collecting import settle
from tasks.settings import SettingsError, get

control_socket_disable = True  # it would write outside DATA_DIR


def on_starting(server: Any) -> None:
    """Refuse a wrong setting here, before any worker: a worker that exits is started for ever."""
    try:
        found = get()
        check_first_operator(found)
        if found.queue_options or found.worker_queues:
            importlib.import_module("tasks.queues")
    except SettingsError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(2)


def post_worker_init(worker: Any) -> None:
    """Let no page wait for a collection of everything that was imported."""
    settle()
