"""QUEUES, and the one `huey` built from it: a new queue is one row here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tasks import settings
from tasks.engine import JobHuey, Queue
from tasks.keyring import Keyring

QUEUES = (
    Queue("email", concurrency=5, breaker="SMTP"),
    Queue("payments", concurrency=4, retention="30d/100000", retention_failed="90d/100000"),
    Queue("notifications", concurrency=8),
    Queue("sync", concurrency=2, retention="7d/10000", retention_failed="30d/10000"),
    Queue("maintenance", concurrency=2, retention="7d/10000", retention_failed="30d/10000"),
)
DEFAULT_REDIS = "redis://127.0.0.1:6379/0"


def configured(found: settings.Settings) -> tuple[Queue, ...]:
    """Return QUEUES with the options that the environment sets.

    Raises: SettingsError for an option of a queue that does not exist, or a value it cannot take.
    """
    names = {queue.name for queue in QUEUES}
    for name in found.queue_options:
        if name not in names:
            raise settings.SettingsError(
                f"QUEUE_{name.upper()}_… names queue {name}; there are {', '.join(sorted(names))}"
            )
    return tuple(_one(queue, found) for queue in QUEUES)


def _one(queue: Queue, found: settings.Settings) -> Queue:
    options: dict[str, Any] = dict(found.queue_options.get(queue.name, {}))
    if queue.name == "email" and found.email_queue_concurrency:
        options["concurrency"] = str(found.email_queue_concurrency)
    for option, text in options.items():
        try:
            value: Any = _positive(text) if option == "concurrency" else text
            queue = replace(queue, **{option: value})
        except ValueError as exc:
            raise settings.SettingsError(
                f"QUEUE_{queue.name.upper()}_{option.upper()} is {text!r}; it takes: {exc}"
            ) from exc
    return queue


def _positive(text: str) -> int:
    if not text.strip().isdigit() or int(text) < 1:
        raise ValueError("a whole number from 1 up")
    return int(text)


def build(found: settings.Settings) -> JobHuey:
    """Return a Huey from settings; connects to nothing yet. Raises SettingsError."""
    names = [queue.name for queue in QUEUES]
    for name in found.worker_queues:
        if name not in names:
            raise settings.SettingsError(
                f"WORKER_QUEUES names {name}; there are {', '.join(names)}"
            )
    return JobHuey(
        "jobdeck", url=found.redis_url or DEFAULT_REDIS, queues=configured(found),
        cipher=Keyring(found.job_encryption_keys), lease_s=found.worker_lease_s,
        beat_s=found.worker_beat_s, serve=found.worker_queues or None, version="0.1.0",
        strict=found.deployed,
    )  # fmt: skip


huey = build(settings.get())
