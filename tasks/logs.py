"""Logs: one event a line on stderr, for people or as JSON, with the job it happened in."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime

from tasks import settings
from tasks.engine.current import RUNNING

_once, _started = threading.Lock(), threading.Event()
EXTRA = ("request_id", "operator")  # what web processes add to a record, when they have it


class _About(logging.Filter):
    """Adds the running job to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        job = RUNNING.get()
        names = {name: getattr(record, name) for name in EXTRA if hasattr(record, name)}
        if job is not None:
            names = {"job": job.id, "queue": job.queue, "task": job.task, **names}
        record.about = names
        return True


class Console(logging.Formatter):
    """A line for people: time, level, where, what, and key=value of what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows it."""
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        about = "".join(f" {name}={value}" for name, value in _about(record).items())
        line = f"{at} {record.levelname:<7} {record.name}: {_one_line(record)}{about}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class Json(logging.Formatter):
    """A JSON object for programs, one a line, also with a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        event = {"at": at.replace("+00:00", "Z"), "level": record.levelname.lower(),
                 "logger": record.name, "event": record.getMessage(), **_about(record)}  # fmt: skip
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False, default=str)


def _about(record: logging.LogRecord) -> dict[str, object]:
    found: dict[str, object] = getattr(record, "about", {})
    return found


def _one_line(record: logging.LogRecord) -> str:
    """Return the message; a line break in it would forge a second event."""
    return record.getMessage().replace("\r", "\\r").replace("\n", "\\n")


def start(found: settings.Settings) -> None:
    """Send every log of this process to stderr, as LOG_LEVEL and LOG_FORMAT say."""
    handler = logging.StreamHandler()
    handler.setFormatter(Json() if found.log_format == "json" else Console())
    handler.addFilter(_About())
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old.formatter, (Console, Json))]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(found.log_level)


def in_consumer() -> None:
    """Send a consumer's logs our way, once; its worker threads all call this as they start."""
    with _once:
        if not _started.is_set():
            start(settings.get())
            take_over()
            _started.set()


def take_over() -> None:
    """Take away the handler that huey_consumer gave Huey's own logger, and the engine shares."""
    for name in ("huey", "tasks.engine"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
