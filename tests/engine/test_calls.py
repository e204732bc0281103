"""A call to look for work that died with the worker who took it is made again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from slots import is_called

from tasks.engine import JobFilter, JobHuey


@pytest.fixture
def uncalled(huey: JobHuey) -> JobHuey:
    """Return a Huey whose job in `email` has waited for 1.5 s, and whose call somebody took."""
    job = huey.task(name="mail", queue="email")(lambda: None)()
    huey.storage.call("HINCRBY", huey.storage.keys.of("job", job.id), "ra", -1500)
    assert huey.storage.wait(None)
    assert not is_called(huey, "email")
    return huey


def test_the_sweep_calls_again_where_a_job_waits_and_nobody_is_called(uncalled: JobHuey) -> None:
    uncalled.lease.sweep()
    assert is_called(uncalled, "email")
    assert not is_called(uncalled, "default"), "nothing waits there"


def limit(huey: JobHuey) -> None:
    """Let as many run as the queue allows."""
    mail = huey._registry._registry["test_calls.mail"]
    for _ in range(2):
        huey.enqueue(mail(priority=50))
        huey.dequeue()
    huey.storage.call("DEL", huey.storage.keys.of("wake", "email"))


STAYS: dict[str, Callable[[JobHuey], Any]] = {
    "its queue is paused": lambda huey: huey.commands.pause("email"),
    "its queue runs as many as it may": limit,
    "it came a moment ago": lambda huey: [
        huey.storage.call("HINCRBY", huey.storage.keys.of("job", job.id), "ra", 3_600_000)
        for job in huey.reads.jobs(JobFilter()).items
    ],
    "it is of a queue that this worker does not serve": lambda huey: huey.serve(["default"]),
}


@pytest.mark.parametrize("why", STAYS)
def test_nobody_is_called_in_vain(uncalled: JobHuey, why: str) -> None:
    STAYS[why](uncalled)
    uncalled.lease.sweep()
    assert not is_called(uncalled, "email")
