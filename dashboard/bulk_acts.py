"""What an operator does to many jobs at once: operations, started, stopped, taken back. Joined to ACTIONS by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dashboard.asking import Ask, Refused, Result
from dashboard.formats import jobs, number
from tasks.engine import JobFilter, State
from tasks.engine.operating.bulk import MOST_FOUND, Plan

MOST_UNDONE = 20_000
KEPT_IDS = MOST_FOUND  # of a search
SEARCHES = 3  # that run at once
# What a bulk action is called where its kind needs another right than most.
BULK: Mapping[str, str] = {
    "patch": "bulk_patch",
    "discard": "empty",
    "export": "export",
    "search": "search",
}
UNDO: Mapping[str, str] = {"cancel": "retry", "tag": "untag", "untag": "tag"}


def bulk_action(kind: str) -> str:
    """Return the action that starts an operation of this kind."""
    return BULK.get(kind, "bulk")


def _bulk(ask: Ask) -> Result:
    if bulk_action(ask.target) == "bulk":
        return _start(ask, ask.target)
    raise Refused(f"{ask.target} is not started this way")


def _start(ask: Ask, kind: str, **more: Any) -> Result:
    params = {**ask.params, **more}
    operation = ask.huey.commands.start_operation(
        kind, filter=params.get("filter"), ids=params.get("ids"), by=ask.actor.name,
        reason=str(params.get("reason", "")), plan=Plan(**(params.get("plan") or {})),
        older_than_s=params.get("older_than_s"), **(params.get("given") or {}),
    )  # fmt: skip
    return Result(message=f"Started on {jobs(operation.matched)}", operation=operation)


def _empty(ask: Ask) -> Result:
    if ask.params.get("typed") != ask.target:
        raise Refused(f"Nothing removed: type {ask.target} to empty it")
    ask.huey.reads.queue(ask.target)
    waiting = JobFilter(queue=ask.target, state=State.WAITING)
    return _start(ask, "discard", filter=waiting)


def _search(ask: Ask) -> Result:
    """Start a search to the end; a few at once, since each has every job read."""
    begun = [
        o for o in ask.huey.reads.operations(50) if o.kind == "search" and o.state == "running"
    ]
    if len(begun) >= SEARCHES:
        raise Refused(
            f"Nothing started: {SEARCHES} searches run already. Wait for one, or stop it."
        )
    result = _start(ask, "search")
    many = result.operation.matched if result.operation else 0
    return replace(result, message=f"Searching {number(many)} jobs")


def _download(ask: Ask) -> Result:
    operation = ask.huey.reads.operation(ask.target)
    if operation.kind != "export":
        raise Refused("Only an export has a file")
    return Result(message=f"Downloaded {operation.matched} jobs", value=operation)


def _undo(ask: Ask) -> Result:
    operation = ask.huey.reads.operation(ask.target)
    kind = UNDO.get(operation.kind)
    found = ask.huey.reads.operation_outcomes(operation.id, MOST_UNDONE) if kind else []
    ids = [o.id for o in found if o.done and (kind != "retry" or o.state is State.CANCELLED)]
    if kind is None or not ids:
        raise Refused(f"{operation.kind} cannot be taken back")
    given = {name: value for name, value in operation.options.items() if name == "tags"}
    return _start(ask, kind, ids=ids, reason=f"takes back operation {operation.id}", given=given)


def _operation(method: str, word: str) -> Callable[[Ask], Result]:
    def do(ask: Ask) -> Result:
        operation = getattr(ask.huey.commands, method)(ask.target, by=ask.actor.name)
        return Result(message=f"Operation {word}", operation=operation)

    return do


DO: Mapping[str, Callable[[Ask], Result]] = {
    "bulk": _bulk, "bulk_patch": lambda ask: _start(ask, "patch"), "empty": _empty,
    "export": lambda ask: _start(ask, "export"), "search": _search,
    "download_export": _download, "undo_operation": _undo,
    "stop_operation": _operation("stop_operation", "stopped"),
    "pause_operation": _operation("pause_operation", "paused"),
    "resume_operation": _operation("resume_operation", "goes on"),
}  # fmt: skip
