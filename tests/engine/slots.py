"""A process whose slots share their calls to Redis, in the test's own process."""

from __future__ import annotations

from driving import state_of

from tasks.engine import JobHuey, State


def register(huey: JobHuey) -> list[int]:
    """Give a Huey the tasks `quick` and `mail`. Returns: where they note what they were given."""
    ran: list[int] = []

    def note(number: int) -> None:
        ran.append(number)

    huey.quick = huey.task(name="quick")(note)
    huey.mail = huey.task(name="mail", queue="email")(note)
    return ran


def add(huey: JobHuey, how_many: int, name: str = "quick") -> list[str]:
    return [getattr(huey, name)(n).id for n in range(how_many)]


def states(huey: JobHuey, ids: list[str]) -> list[State]:
    return [state_of(huey, job_id) for job_id in ids]
