"""Jobs for operations, and operations stepped to their end."""

from __future__ import annotations

from typing import Any

from driving import States, run_all

from tasks.engine import JobFilter, JobHuey, State
from tasks.engine.operating.bulk import Plan


def add(huey: JobHuey, how_many: int, name: str = "note", queue: str = "default",
        delay: float | None = None) -> list[str]:  # fmt: skip
    """Add jobs. Returns: their ids, oldest first."""
    known = huey.__dict__.setdefault("made_here", {})
    if name not in known:
        known[name] = huey.task(name=name, queue=queue)(_note)
    calls = [known[name].s(f"{name} {n}", delay=delay) for n in range(how_many)]
    huey.enqueue_many(calls)
    return [call.id for call in calls]


def _note(text: str) -> str:
    return text


def cancelled(huey: JobHuey, how_many: int, name: str = "note") -> list[str]:
    ids = add(huey, how_many, name)
    huey.commands.cancel(ids)
    return ids


def operate(huey: JobHuey) -> None:
    """Step every operation to its end."""
    while huey.commands.step_operations():
        pass


def canary(huey: JobHuey, states: States, share: int, how_many: int = 30) -> Any:
    calls = [states.task.s("failed") for _ in range(how_many)]
    huey.enqueue_many(calls)
    run_all(huey)
    return huey.commands.start_operation(
        "retry", filter=JobFilter(state=State.FAILED), plan=Plan(canary=4, share=share)
    ).id
