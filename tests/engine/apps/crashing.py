"""An application that the consumers of test_recovery run; its Redis and name are in the environment."""

from __future__ import annotations

import os
import threading
from typing import Any

from tasks.engine import JobHuey, Queue, current_job

huey = JobHuey(
    os.environ["APP_NAME"],
    url=os.environ["APP_REDIS"],
    queues=(Queue("default"), Queue("email", concurrency=2, breaker="SMTP")),
    lease_s=float(os.environ.get("APP_LEASE", "1")),
    beat_s=0.2,
)


def _gate(name: str) -> str:
    return huey.storage.keys.of("value", f"gate:{name}")


def _began() -> str:
    return huey.storage.keys.of("value", "began")


@huey.task()
def held(gate: str) -> int:
    """Run until somebody opens the gate. Returns: how often a worker died holding the job."""
    job = current_job()
    huey.storage.call("INCR", _began())
    while not huey.storage.call("EXISTS", _gate(gate)):
        threading.Event().wait(0.02)
    return job.recovered


@huey.task()
def locked(gate: str) -> None:
    """Hold the lock `door` until somebody opens the gate."""
    with huey.lock_task("door"):
        while not huey.storage.call("EXISTS", _gate(gate)):
            threading.Event().wait(0.02)


@huey.task()
def many(values: list[Any]) -> list[Any]:
    """Return what a chord's members returned."""
    return values


@huey.task()
def told(batch_id: str) -> str:
    """Return what a batch's callback is told."""
    return batch_id


@huey.task()
def good() -> str:
    """Do nothing, well."""
    return "well"


@huey.task()
def poison() -> None:
    """Kill the process that runs it."""
    os._exit(1)


@huey.task()
def parts(steps: int) -> str:
    """Say each step, so that it hears a wish to stop."""
    job = current_job()
    for step in range(steps):
        job.progress(step)
        threading.Event().wait(0.02)
    return "all of them"


def open_gate(name: str) -> None:
    """Let the jobs held at `name` end."""
    huey.storage.call("SET", _gate(name), "1")


def began() -> int:
    """Return how often a job began to be held."""
    return int(huey.storage.call("GET", _began()) or 0)
