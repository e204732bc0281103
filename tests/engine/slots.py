"""A process whose slots share their calls to Redis, in the test's own process."""

from __future__ import annotations

import contextlib
import threading

from driving import state_of
from waiting import wait_until

from tasks.engine import JobHuey, State
from tasks.engine.errors import Unreachable
from tasks.engine.sources import FUNCTIONS, library


def register(huey: JobHuey) -> list[int]:
    """Give a Huey the tasks `quick` and `mail`. Returns: where they note what they were given."""
    ran: list[int] = []

    def note(number: int) -> None:
        ran.append(number)

    huey.quick = huey.task(name="quick")(note)
    huey.mail = huey.task(name="mail", queue="email")(note)
    return ran


def know_functions(huey: JobHuey) -> None:
    """Let Redis have what a worker calls, so that no call is made again for that."""
    for name in FUNCTIONS:
        huey.storage.client.function_load(library(name)[1], replace=True)


def add(huey: JobHuey, how_many: int, name: str = "quick") -> list[str]:
    return [getattr(huey, name)(n).id for n in range(how_many)]


def states(huey: JobHuey, ids: list[str]) -> list[State]:
    return [state_of(huey, job_id) for job_id in ids]


def work(huey: JobHuey, how_many: int) -> list[str]:
    """Run so many jobs in this slot. Returns: their ids in the order they ran."""
    ran: list[str] = []

    def step() -> bool:
        if (task := huey.dequeue()) is not None:
            ran.append(task.id)
            huey.execute(task)
        return len(ran) == how_many

    wait_until(step, what=f"{how_many} jobs ran")
    huey.dispatch.flush()
    return ran


def listen(huey: JobHuey, ended: threading.Event) -> None:
    """Be one more slot."""
    huey.join_loop()
    while not ended.is_set():
        with contextlib.suppress(Unreachable):
            if (task := huey.dequeue()) is not None:
                huey.execute(task)
    huey.leave_loop()


def is_called(huey: JobHuey, queue: str) -> bool:
    """Tell whether a call to look at a queue is there that nobody heard."""
    return bool(huey.storage.call("EXISTS", huey.storage.keys.of("wake", queue)))
