"""What an operator does to queues, tasks, tags, periodic tasks and workers. Joined to ACTIONS by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from dashboard import formats
from dashboard.asking import Ask, Refused, Result
from tasks.engine.instance import QueueStats


def _pause(ask: Ask) -> Result:
    until: datetime | None = ask.params.get("until")
    queue = ask.huey.commands.pause(
        ask.target, by=ask.actor.name, reason=str(ask.params.get("reason", "")), until=until
    )
    return Result(message=f"{ask.target} is paused{formats.until(until)}", value=queue)


def _pause_part(kind: str) -> Callable[[Ask], Result]:
    def do(ask: Ask) -> Result:
        until: datetime | None = ask.params.get("until")
        pause = getattr(ask.huey.commands, f"pause_{kind}")
        part = pause(ask.target, by=ask.actor.name, reason=str(ask.params.get("reason", "")), until=until)  # fmt: skip
        return Result(
            message=f"{kind.capitalize()} {ask.target} is paused{formats.until(until)}", value=part
        )

    return do


def _resume_part(kind: str) -> Callable[[Ask], Result]:
    def do(ask: Ask) -> Result:
        getattr(ask.huey.commands, f"resume_{kind}")(ask.target, by=ask.actor.name)
        return Result(message=f"{kind.capitalize()} {ask.target} runs again")

    return do


def _run_periodic(ask: Ask) -> Result:
    added, job_id = ask.huey.commands.run_periodic(ask.target, by=ask.actor.name)
    if not added:
        raise Refused(f"Nothing run: job {job_id} of {ask.target} is under way")
    return Result(message=f"{ask.target} runs now as job {job_id}", value=job_id)


def _disable_periodic(ask: Ask) -> Result:
    until: datetime | None = ask.params.get("until")
    reason = str(ask.params.get("reason", ""))
    ask.huey.commands.disable_periodic(ask.target, by=ask.actor.name, reason=reason, until=until)
    return Result(message=f"{ask.target} is off{formats.until(until)}")


def _enable_periodic(ask: Ask) -> Result:
    ask.huey.commands.enable_periodic(ask.target, by=ask.actor.name)
    return Result(message=f"{ask.target} is on")


def _set_limits(ask: Ask) -> Result:
    given = {
        name: ask.params[name]
        for name in ("concurrency", "rate", "retention", "retention_failed")
        if name in ask.params
    }
    before = ask.huey.reads.queue(ask.target)
    after = ask.huey.commands.set_limits(ask.target, **given)
    return Result(
        message=f"Limits of {ask.target} changed", value=after,
        noted={"before": _limits(before), "after": _limits(after)},
    )  # fmt: skip


def _limits(queue: QueueStats) -> dict[str, Any]:
    kept = {"retention": queue.retention.get("completed"), "retention_failed": queue.retention.get("failed")}  # fmt: skip
    return {"concurrency": queue.concurrency, "rate": queue.rate, **kept}


def _probe(ask: Ask) -> Result:
    if not ask.huey.commands.probe(ask.target):
        raise Refused(f"Nothing to try: {ask.target} is not held up")
    return Result(message=f"{ask.target} tries now")


def _worker(method: str, word: str) -> Callable[[Ask], Result]:
    def do(ask: Ask) -> Result:
        worker = getattr(ask.huey.commands, method)(ask.target)
        return Result(message=f"Worker {worker.host}:{worker.pid} {word}", value=worker)

    return do


DO: Mapping[str, Callable[[Ask], Result]] = {
    "pause": _pause,
    "resume": lambda ask: Result(message=f"{ask.target} runs again", value=ask.huey.commands.resume(ask.target)),
    "pause_task": _pause_part("task"), "resume_task": _resume_part("task"),
    "pause_tag": _pause_part("tag"), "resume_tag": _resume_part("tag"),
    "run_periodic": _run_periodic, "disable_periodic": _disable_periodic, "enable_periodic": _enable_periodic,
    "set_limits": _set_limits, "probe": _probe, "quiet": _worker("quiet", "takes nothing new"),
    "wake": _worker("wake", "takes jobs again"), "stop": _worker("stop", "ends after what runs"),
    "stop_now": _worker("stop_now", "ends at once"),
}  # fmt: skip
