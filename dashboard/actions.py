"""run(): right -> command -> audit row. The one door for writes of pages, API and command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from flask import current_app, g, has_request_context, request

from dashboard import account_acts, alert_acts, mail_acts, query, saved
from dashboard.asking import Ask, Forbidden, Refused, Result
from dashboard.auth import Actor
from dashboard.formats import number
from dashboard.models import AuditEntry
from dashboard.rights import BY_NAME
from tasks import emails, outbox, queues
from tasks.database import session
from tasks.engine import JobFilter, JobHuey, Outcome, State, UnknownJob
from tasks.engine.instance import QueueStats
from tasks.engine.operating.bulk import MOST_FOUND, Plan
from tasks.engine.operating.freezing import frozen
from tasks.mailer import models as mail

NAMED = 50
MOST_TOLD = 4000
MOST_UNDONE = 20_000
KEPT_IDS = MOST_FOUND  # of a search
UNTOLD = ("password", "old", "token", "data", "args", "kwargs", "value")  # may be a secret


def run(huey: JobHuey, actor: Actor | None, name: str, target: str, **params: Any) -> Result:
    """Do one action and write its audit row, also when it is refused.

    Raises: Forbidden, Refused, and what the engine raises.
    """
    action = BY_NAME[name]
    if actor is None or not actor.may(action.role):
        audit(actor, name, target, "refused", f"needs {action.role}")
        raise Forbidden(
            f"{action.label} needs the role {action.role}; yours is {actor.role if actor else 'none'}"
        )
    try:
        result = DO[name](Ask(huey, actor, target, params))
    except Exception as exc:
        audit(actor, name, target, "failed", str(exc), params)
        raise
    finally:
        if has_request_context():
            current_app.extensions["watch"].forget()
    if result.operation is not None:
        options = json.dumps(dict(result.operation.options), ensure_ascii=False, default=str)
        params |= {"operation": result.operation.id, "given": options}
    params |= result.noted
    audit(
        actor,
        name,
        result.target or target,
        "done" if result.done else "refused",
        result.message,
        params,
    )
    return result


def audit(actor: Actor | None, action: str, target: str, outcome: str, message: str = "",
          params: Mapping[str, Any] | None = None) -> None:  # fmt: skip
    """Add one line to the audit log."""
    shown = {
        n: _plain(v)
        for n, v in (params or {}).items()
        if v not in (None, "", ()) and n not in UNTOLD
    }
    with session() as db:
        db.add(AuditEntry(
            actor=actor.name if actor else "nobody", role=actor.role if actor else "", action=action,
            target=target[:200], outcome=outcome, detail=_detail(message, shown),
            reason=str((params or {}).get("reason", ""))[:300],
            request_id=g.get("request_id", "") if has_request_context() else "",
            address=(request.remote_addr or "")[:64] if has_request_context() else "cli",
        ))  # fmt: skip


def _detail(message: str, shown: Mapping[str, Any]) -> str:
    """Return what an act was told as JSON of bounded length: what does not fit is cut, and said so."""
    short = {name: str(value)[:200] for name, value in shown.items()}
    for told in (dict(shown), {**short, "cut": True}, {"cut": True}):
        text = json.dumps({"message": message[:2000], **told}, ensure_ascii=False, default=str)
        if len(text) <= MOST_TOLD:
            break
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, JobFilter):
        return frozen(value)
    if isinstance(value, Mapping):
        return {name: item for name, item in value.items() if name not in UNTOLD}
    if isinstance(value, emails.Message):
        return f"{value.type} to {value.to}"  # its data may hold a code or a link
    if isinstance(value, list | tuple):
        return [str(item) for item in value[:NAMED]]
    return str(value)


def _one(outcomes: Sequence[Outcome], verb: str) -> Result:
    """Turn one job's outcome into a sentence. Raises UnknownJob."""
    outcome = outcomes[0]
    if not outcome.done and outcome.state is None:
        raise UnknownJob(f"there is no job {outcome.id}: it never was, or its retention is over")
    if not outcome.done:
        raise Refused(f"Nothing {verb}: {outcome.detail}")
    return Result(message=f"Job {outcome.id} {verb}", outcomes=outcomes)


def _changed(result: Result, name: str, before: Any, after: Any) -> Result:
    """Note for the audit what a thing was before an act and is after it."""
    return replace(result, noted={"before": {name: before}, "after": {name: after}})


def _retry(ask: Ask) -> Result:
    emails.reopen(ask.target)
    outcomes = ask.huey.commands.retry(
        [ask.target], by=ask.actor.name, delay_s=ask.params.get("delay_s")
    )
    return _one(outcomes, "retried")


def _edit_retry(ask: Ask) -> Result:
    emails.reopen(ask.target)
    outcomes = ask.huey.commands.retry(
        [ask.target], by=ask.actor.name, args=ask.params.get("args"), kwargs=ask.params.get("kwargs"),
        delay_s=ask.params.get("delay_s"),
    )  # fmt: skip
    return _one(outcomes, "retried with other arguments")


def _queue_job(ask: Ask) -> Result:
    params = ask.params
    job_id = ask.huey.commands.queue_job(
        ask.target, params.get("kwargs") or {}, job_id=params["job_id"],
        copy_of=params.get("copy_of", ""), delay_s=params.get("delay_s"),
    )  # fmt: skip
    if job_id != params["job_id"]:
        raise Refused(f"Nothing queued: job {job_id} holds the same unique key")
    if params.get("copy_of"):
        said = f"Queued again as job {job_id}"
        audit(ask.actor, "duplicate", params["copy_of"], "done", said, {"copied_as": job_id})
    return Result(message=f"Job {job_id} of {ask.target} queued", target=job_id, value=job_id)


def _reveal(ask: Ask) -> Result:
    return Result(message="Secret arguments shown", value=ask.huey.reads.revealed(ask.target))


def _run_now(ask: Ask) -> Result:
    with session() as db:
        released = outbox.release(db, ask.target)
    if released:
        return Result(message=f"Job {ask.target} goes to Redis once more")
    return _one(ask.huey.commands.run_now([ask.target], by=ask.actor.name), "made ready")


def _cancel(ask: Ask) -> Result:
    reason = str(ask.params.get("reason", ""))
    if ask.huey is queues.huey:
        outcome = emails.cancel(ask.target, by=ask.actor.name, reason=reason)
    else:  # another app's Huey: it has no mail log
        outcome = ask.huey.commands.cancel([ask.target], by=ask.actor.name, reason=reason)[0]
    if outcome.done and outcome.state == "active":
        return Result(message="Asked to stop: the job sees it at its next step", outcomes=[outcome])
    return _one([outcome], "cancelled")


def _reschedule(ask: Ask) -> Result:
    before = ask.huey.reads.job(ask.target).scheduled_for
    outcomes = ask.huey.commands.reschedule(
        [ask.target], at=ask.params.get("at"), delay_s=ask.params.get("delay_s")
    )
    after = ask.huey.reads.job(ask.target).scheduled_for
    return _changed(_one(outcomes, "rescheduled"), "due", before, after)


def _set_priority(ask: Ask) -> Result:
    priority = int(ask.params["priority"])
    before = ask.huey.reads.job(ask.target).priority
    done = _one(ask.huey.commands.set_priority([ask.target], priority), f"has priority {priority}")
    return _changed(done, "priority", before, priority)


def _move(ask: Ask) -> Result:
    queue = str(ask.params["queue"])
    before = ask.huey.reads.job(ask.target).queue
    done = _one(ask.huey.commands.move([ask.target], queue), f"moved to {queue}")
    return _changed(done, "queue", before, queue)


def _tag(method: str, word: str) -> Callable[[Ask], Result]:
    def do(ask: Ask) -> Result:
        return _one(getattr(ask.huey.commands, method)([ask.target], *ask.params["tags"]), word)

    return do


def _patch(ask: Ask) -> Result:
    name = str(ask.params["name"])
    return _one(ask.huey.commands.patch([ask.target], name, ask.params["value"]), f"has another {name}")  # fmt: skip


# What a bulk action is called where its kind needs another right than most.
BULK: Mapping[str, str] = {
    "patch": "bulk_patch",
    "discard": "empty",
    "export": "export",
    "search": "search",
}
SEARCHES = 3  # that run at once
UNDO: Mapping[str, str] = {"cancel": "retry", "tag": "untag", "untag": "tag"}


def bulk_action(kind: str) -> str:
    """Return the action that starts an operation of this kind."""
    return BULK.get(kind, "bulk")


def start_bulk(huey: JobHuey, actor: Actor | None, kind: str, **params: Any) -> Result:
    """Start an operation of a kind, under the right that it needs. Raises as `run`.

    Args:
        params: filter or ids, reason, plan, older_than_s, given (what the kind takes).
    """
    name = bulk_action(kind)
    if name == "empty":
        raise Refused("A queue is emptied by its name, on its own page")
    return run(huey, actor, name, kind, **params)


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
    return Result(message=f"Started on {operation.matched} jobs", operation=operation)


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


def _pause(ask: Ask) -> Result:
    until: datetime | None = ask.params.get("until")
    queue = ask.huey.commands.pause(
        ask.target, by=ask.actor.name, reason=str(ask.params.get("reason", "")), until=until
    )
    then = f" until {until:%H:%M} UTC" if until else ""
    return Result(message=f"{ask.target} is paused{then}", value=queue)


def _pause_part(kind: str) -> Callable[[Ask], Result]:
    def do(ask: Ask) -> Result:
        until: datetime | None = ask.params.get("until")
        pause = getattr(ask.huey.commands, f"pause_{kind}")
        part = pause(ask.target, by=ask.actor.name, reason=str(ask.params.get("reason", "")), until=until)  # fmt: skip
        then = f" until {until:%H:%M} UTC" if until else ""
        return Result(message=f"{kind.capitalize()} {ask.target} is paused{then}", value=part)

    return do


def _resume_part(kind: str) -> Callable[[Ask], Result]:
    def do(ask: Ask) -> Result:
        getattr(ask.huey.commands, f"resume_{kind}")(ask.target, by=ask.actor.name)
        return Result(message=f"{kind.capitalize()} {ask.target} runs again")

    return do


def _mute_group(ask: Ask) -> Result:
    until: datetime | None = ask.params.get("until")
    group = ask.huey.commands.mute_group(ask.target, until=until, by=ask.actor.name)
    then = f" until {until:%H:%M} UTC on {until:%-d %b}" if until else ""
    return Result(message=f"{group.type} is muted{then}", value=group)


def _group(method: str, word: str) -> Callable[[Ask], Result]:
    def do(ask: Ask) -> Result:
        group = getattr(ask.huey.commands, method)(ask.target, by=ask.actor.name)
        return Result(message=f"{group.type} {word}", value=group)

    return do


def _note_group(ask: Ask) -> Result:
    note = str(ask.params.get("note", ""))
    group = ask.huey.commands.note_group(ask.target, note, by=ask.actor.name)
    return Result(
        message=f"Note on {group.type} {'kept' if group.note else 'taken away'}", value=group
    )


def _save_view(ask: Ask) -> Result:
    text = str(ask.params.get("query", ""))
    if not ask.target or not query.parse(text):
        raise Refused("A view needs a name and a search")
    shown = str(ask.params.get("columns", ""))
    refused = saved.save(ask.target, text, shown, ask.actor.name)
    if refused:
        raise Refused(f"Not kept: {refused}")
    return Result(message=f"View {ask.target} is kept")


def _delete_view(ask: Ask) -> Result:
    view = saved.get(int(ask.target))
    if view is None:
        raise UnknownJob("there is no such view")
    if view.owner != ask.actor.name and not ask.actor.may("admin"):
        raise Refused(f"View {view.name} is of {view.owner}: they or an admin may delete it")
    saved.delete(view.id)
    return Result(message=f"View {view.name} is deleted")


def _run_periodic(ask: Ask) -> Result:
    added, job_id = ask.huey.commands.run_periodic(ask.target, by=ask.actor.name)
    if not added:
        raise Refused(f"Nothing run: job {job_id} of {ask.target} is under way")
    return Result(message=f"{ask.target} runs now as job {job_id}", value=job_id)


def _disable_periodic(ask: Ask) -> Result:
    until: datetime | None = ask.params.get("until")
    reason = str(ask.params.get("reason", ""))
    ask.huey.commands.disable_periodic(ask.target, by=ask.actor.name, reason=reason, until=until)
    return Result(message=f"{ask.target} is off" + (f" until {until:%H:%M} UTC" if until else ""))


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


def _send(ask: Ask) -> Result:
    queued = emails.send(ask.params["mail"], delay=ask.params.get("delay"), at=ask.params.get("at"),
                         priority=ask.params.get("priority"))  # fmt: skip
    return Result(message=f"Mail queued as job {queued.job_id}", value=queued)


def _resend(ask: Ask) -> Result:
    queued = emails.resend(int(ask.target), ask.params.get("to") or None)
    return Result(message=f"A new copy is queued as job {queued.job_id}", value=queued)


def _suppress(ask: Ask) -> Result:
    from tasks.mailer.messages import address

    with session() as db:
        mail.suppress(
            db, address(ask.target), "manual", f"{ask.actor.name}: {ask.params.get('reason', '')}"
        )
    return Result(message=f"{ask.target} gets no mail any more")


def _lift(ask: Ask) -> Result:
    with session() as db:
        if not mail.lift(db, ask.target):
            raise Refused(f"{ask.target} is not suppressed")
    return Result(message=f"{ask.target} gets mail again")


def _create_operator(ask: Ask) -> Result:
    from dashboard import auth

    made = auth.create_operator(ask.target, ask.params["password"], ask.params["role"])
    return Result(message=f"{made.email} is {made.role}", value=made)


def _create_token(ask: Ask) -> Result:
    from dashboard import auth

    return Result(
        message=f"Token {ask.target} made",
        value=auth.create_token(
            ask.target, ask.params["role"], ask.params.get("owner", ask.actor.name)
        ),
    )


def _revoke_token(ask: Ask) -> Result:
    from dashboard import auth

    if not auth.revoke_token(int(ask.target)):
        raise UnknownJob(f"there is no token {ask.target}")
    return Result(message=f"Token {ask.target} revoked")


DO: Mapping[str, Callable[[Ask], Result]] = {
    "retry": _retry, "edit_retry": _edit_retry, "cancel": _cancel, "pause": _pause, "run_now": _run_now,
    "reschedule": _reschedule, "set_priority": _set_priority, "move": _move, "patch": _patch,
    "tag": _tag("tag", "tagged"), "untag": _tag("untag", "untagged"),
    "bulk": _bulk, "bulk_patch": lambda ask: _start(ask, "patch"), "empty": _empty,
    "export": lambda ask: _start(ask, "export"), "search": _search,
    "export_audit": lambda ask: Result(message=f"Audit downloaded as {ask.params['form']}"), "download_export": _download, "undo_operation": _undo,
    "queue_job": _queue_job, "queue_secret_job": _queue_job, "reveal": _reveal,
    "delete": lambda ask: _one(ask.huey.commands.delete([ask.target], by=ask.actor.name), "deleted"),
    "resume": lambda ask: Result(message=f"{ask.target} runs again", value=ask.huey.commands.resume(ask.target)),
    "run_periodic": _run_periodic, "disable_periodic": _disable_periodic, "enable_periodic": _enable_periodic,
    "pause_task": _pause_part("task"), "resume_task": _resume_part("task"),
    "pause_tag": _pause_part("tag"), "resume_tag": _resume_part("tag"),
    "stop_operation": _operation("stop_operation", "stopped"),
    "pause_operation": _operation("pause_operation", "paused"),
    "resume_operation": _operation("resume_operation", "goes on"),
    "mute_group": _mute_group, "resolve_group": _group("resolve_group", "is resolved"),
    "reopen_group": _group("reopen_group", "is open again"), "note_group": _note_group,
    "save_view": _save_view, "delete_view": _delete_view,
    "set_limits": _set_limits, "probe": _probe, "quiet": _worker("quiet", "takes nothing new"),
    "wake": _worker("wake", "takes jobs again"), "stop": _worker("stop", "ends after what runs"),
    "stop_now": _worker("stop_now", "ends at once"),
    "send_email": _send, "resend": _resend, "suppress": _suppress, "lift": _lift,
    "create_operator": _create_operator, "create_token": _create_token, "revoke_token": _revoke_token,
    **account_acts.DO, **alert_acts.DO, **mail_acts.DO,
}  # fmt: skip


__all__ = ["DO", "Ask", "Forbidden", "Refused", "Result", "audit", "run"]


def huey() -> JobHuey:
    """Return the app's Huey."""
    found: JobHuey = current_app.extensions["huey"]
    return found


def step_operations(seconds: float = 0.0) -> bool:
    """Step operations for so long: what the dashboard does while no worker lives."""
    return huey().commands.stepper.step_for(seconds)


def check_keys(actor: Actor, *, mend: bool) -> dict[str, int]:
    """Check every key of the engine, and mend. Returns: how often what was found."""
    found = huey().commands.fsck(mend=mend)
    if mend:
        what = "; ".join(f"{name}: {n}" for name, n in found.items()) or "nothing was wrong"
        audit(actor, "check_keys", "keys", "done", what)
    return found
