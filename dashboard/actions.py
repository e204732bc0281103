"""run(): right -> command -> audit row. The one door for writes of pages, API and command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from flask import current_app, has_request_context

from dashboard import (
    account_acts,
    alert_acts,
    bulk_acts,
    formats,
    job_acts,
    mail_acts,
    query,
    queue_acts,
    saved,
)
from dashboard.asking import Ask, Forbidden, Refused, Result, could_not
from dashboard.audit_rows import audit
from dashboard.auth import Actor
from dashboard.bulk_acts import bulk_action
from dashboard.rights import BY_NAME
from tasks import emails
from tasks.database import session, utcnow
from tasks.engine import JobHuey, Outcome, UnknownJob
from tasks.mailer import models as mail


def run(huey: JobHuey, actor: Actor | None, name: str, target: str, **params: Any) -> Result:
    """Do one action and write its audit row, also when it is refused.

    Raises: Forbidden, Refused, and what the engine raises.
    """
    action, began = BY_NAME[name], utcnow()
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
            current_app.extensions["hits"].forget()
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
        began,  # what the act sets off comes after it in every history
    )
    return result


def start_bulk(huey: JobHuey, actor: Actor | None, kind: str, **params: Any) -> Result:
    """Start an operation of a kind, under the right that it needs. Raises as `run`.

    Args:
        params: filter or ids, reason, plan, older_than_s, given (what the kind takes).
    """
    name = bulk_action(kind)
    if name == "empty":
        raise Refused("A queue is emptied by its name, on its own page")
    return run(huey, actor, name, kind, **params)


def lift(huey: JobHuey, actor: Actor | None, addresses: Sequence[str], reason: str) -> Result:
    """Lift suppressions, one act and one audit row each; what could not be is said of each.

    Raises: as `run`; Refused where none was lifted.
    """
    outcomes = []
    given = {each.strip().lower(): each.strip() for each in addresses}  # one however it is written
    for address in filter(None, given.values()):
        try:
            said = run(huey, actor, "lift", address, reason=reason).message
            outcomes.append(Outcome(id=address, done=True, detail=said))
        except Refused as exc:
            outcomes.append(Outcome(id=address, done=False, detail=str(exc)))
    done = sum(outcome.done for outcome in outcomes)
    if not done:
        raise Refused(outcomes[0].detail if outcomes else "Nothing lifted: no address is ticked")
    if len(outcomes) == 1:
        return Result(message=outcomes[0].detail, outcomes=outcomes)
    many = f"{done} addresses get" if done > 1 else "1 address gets"
    return Result(message=f"{many} mail again{could_not(outcomes)}", outcomes=outcomes)


def _mute_group(ask: Ask) -> Result:
    until: datetime | None = ask.params.get("until")
    group = ask.huey.commands.mute_group(ask.target, until=until, by=ask.actor.name)
    return Result(message=f"{group.type} is muted{formats.until(until)}", value=group)


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
    "export_audit": lambda ask: Result(message=f"Audit downloaded as {ask.params['form']}"),
    "mute_group": _mute_group, "resolve_group": _group("resolve_group", "is resolved"),
    "reopen_group": _group("reopen_group", "is open again"), "note_group": _note_group,
    "save_view": _save_view, "delete_view": _delete_view,
    "send_email": _send, "resend": _resend, "suppress": _suppress, "lift": _lift,
    "create_operator": _create_operator, "create_token": _create_token, "revoke_token": _revoke_token,
    **job_acts.DO, **bulk_acts.DO, **queue_acts.DO, **account_acts.DO, **alert_acts.DO, **mail_acts.DO,
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
