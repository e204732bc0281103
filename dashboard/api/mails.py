"""Mail: queue one, the log, suppressions."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from flask import Response, jsonify
from pydantic import ValidationError

from dashboard import actions, answers, auth, shapes
from dashboard.api.calls import act, body, call, query
from dashboard.api.idempotency import idempotent
from dashboard.api.jobs import job_answer
from dashboard.problems import BadField
from tasks import emails, faults
from tasks.database import reading, utcnow
from tasks.engine import UnknownJob, Unreachable
from tasks.mailer import models as mail
from tasks.mailer.messages import ALERT, email_type
from tasks.mailer.messages import address as checked

LATEST_SEND = timedelta(minutes=1)  # a clock that is a little off still sends at once

# Mail


@call("POST", "/api/email", "operator", "Queue a mail", body=shapes.EmailBody, status=202)
def send_email() -> Any:
    started = time.perf_counter()
    try:
        return idempotent(_send_email)
    finally:
        actions.huey().observe("api", (time.perf_counter() - started) * 1000)


def _send_email() -> Response:
    given = body(shapes.EmailBody)
    if given.delay is not None and given.send_at is not None:
        raise BadField("send_at", "say delay or send_at, not both")
    if given.send_at is not None and given.send_at < utcnow() - LATEST_SEND:
        raise BadField(
            "send_at", f"{given.send_at.isoformat()} has passed; leave it out to send now"
        )
    if given.type == ALERT.name:
        raise BadField("type", "alerts are sent by rules alone")
    message = emails.Message(type=given.type, to=given.to, data=given.data)
    _check_email(message)
    delay = timedelta(seconds=given.delay) if given.delay is not None else None
    queued = act(
        "send_email",
        given.to,
        mail=message,
        delay=delay,
        at=given.send_at,
        priority=given.priority,
    ).value
    return _queued(queued.job_id)


def _check_email(message: emails.Message) -> None:
    """Name the field that is wrong. Raises BadField, ValidationError."""
    try:
        kind = email_type(message.type)
    except ValueError as exc:
        raise BadField("type", str(exc)) from exc
    try:
        checked(message.to)
    except ValueError as exc:
        raise BadField("to", str(exc)) from exc
    try:
        kind.data.model_validate(dict(message.data))
    except ValidationError as exc:
        field, wrong = faults.fields(exc)[0]
        raise BadField(f"data.{field}", wrong) from exc


def _queued(job_id: str) -> Response:
    try:
        answered, status = job_answer("all", job_id, 202)
    except Unreachable:
        answered, status = (
            jsonify({"id": job_id, "state": "waiting", "why_waiting": "in the outbox"}),
            202,
        )
    response: Response = answered
    response.status_code = status
    return response


@call("GET", "/api/emails", "viewer", "The mail log, the newest first", query=shapes.MailListing)
def mail_log() -> Any:
    asked = query(shapes.MailListing)
    with reading() as db:
        found = mail.find(
            db,
            to=asked.to,
            state=asked.state,
            type=asked.type,
            cursor=asked.cursor,
            limit=asked.limit,
        )
    next_ = found[-1].id if len(found) == asked.limit else None
    return jsonify({"items": [answers.mail_json(row) for row in found], "next": next_})


@call("GET", "/api/emails/<int:email_id>", "viewer", "One mail with its attempts")
def one_mail(email_id: int) -> Any:
    with reading() as db:
        found, tries = mail.get(db, email_id), mail.attempts(db, email_id)
    if found is None:
        raise UnknownJob(f"there is no mail {email_id}")
    listed = [{"number": t.number, "started_at": answers.when(t.started_at), "phase": t.phase, "outcome": t.outcome,
               "code": t.code, "enhanced": t.enhanced, "text": t.text, "duration_ms": t.duration_ms,
               "server": t.server} for t in tries]  # fmt: skip
    return jsonify({**answers.mail_json(found), "tries": listed})


@call(
    "POST",
    "/api/emails/<int:email_id>/resend",
    "operator",
    "Send a new copy",
    body=shapes.Resend,
    status=202,
)
def resend(email_id: int) -> Any:
    given = body(shapes.Resend)
    return _queued(act("resend", str(email_id), to=given.to).value.job_id)


@call("POST", "/api/emails/release", "operator", "Let held mails go after all", body=shapes.Release,
      status=202)  # fmt: skip
def release() -> Any:
    given = body(shapes.Release)
    with reading() as db:
        ids = given.ids or mail.held_ids(db, to=given.to, kind=given.type)
    found = act("release", "held mails", ids=ids).outcomes if ids else ()
    items = [{"email_id": int(o.id), "released": o.done, "detail": o.detail} for o in found]
    return jsonify({"matched": len(items), "items": items}), 202


@call("GET", "/api/emails/suppressions", "viewer", "Addresses that get no mail")
def suppressions() -> Any:
    with reading() as db:
        found = mail.suppressions(db)
    return jsonify(
        {
            "items": [
                {
                    "address": s.address,
                    "reason": s.reason,
                    "source": s.source,
                    "created_at": answers.when(s.created_at),
                }
                for s in found
            ]
        }
    )


@call(
    "PUT",
    "/api/emails/suppressions/<path:address>",
    "operator",
    "Suppress an address",
    body=shapes.Reason,
)
def suppress(address: str) -> Any:
    act("suppress", address, reason=body(shapes.Reason).reason)
    return jsonify({"address": address.lower()})


@call(
    "DELETE",
    "/api/emails/suppressions/<path:address>",
    "operator",
    "Lift a suppression",
    status=204,
)
def lift(address: str) -> Any:
    act("lift", address)
    return "", 204


@call("POST", "/api/emails/suppressions/lift", "operator", "Lift suppressions", body=shapes.Lift)
def lift_many() -> Any:
    given = body(shapes.Lift)
    found = actions.lift(actions.huey(), auth.actor(), given.addresses, given.reason).outcomes
    items = [{"address": o.id, "lifted": o.done, "detail": o.detail} for o in found]
    return jsonify({"matched": len(items), "items": items})
