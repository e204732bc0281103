"""Mail: the log, one mail with its SMTP answers, previews, suppressed addresses."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, flash, redirect, request, url_for

from dashboard import actions, auth
from dashboard.models import row_id
from dashboard.pages import render
from dashboard.security import MAIL_CSP, declare, local_path
from tasks import emails
from tasks.database import reading
from tasks.engine import EngineError, UnknownJob
from tasks.mailer import models
from tasks.mailer.messages import EVERY, MESSAGES, NAMES, email_type

bp = Blueprint("emails", __name__)
AT_ONCE = 50
LISTED = 500  # suppressed addresses, the newest


@bp.get("/emails")
def log() -> Any:
    """Search the mail log by address, state and type."""
    to, state, kind = (request.args.get(name, "").strip()[:320] for name in ("to", "state", "type"))
    cursor = request.args.get("cursor", type=row_id)
    with reading() as db:
        found = models.find(
            db,
            to=to or None,
            state=state or None,
            type=kind or None,
            cursor=cursor,
            limit=AT_ONCE + 1,
        )
        counts = models.counts(db)
        suppressed = models.suppressed(db, to) if "@" in to else None
    more = found[AT_ONCE - 1].id if len(found) > AT_ONCE else None
    return render("emails.html", mails=found[:AT_ONCE], counts=counts, next=more, to=to, state=state, type=kind,
                  types=EVERY, states=models.STATES, suppressed=suppressed)  # fmt: skip


@bp.get("/emails/<int:email_id>")
def show(email_id: int) -> Any:
    """Show one mail: what was sent, and what the server said at each attempt."""
    with reading() as db:
        mail, tries, body = (
            models.get(db, email_id),
            models.attempts(db, email_id),
            models.body(db, email_id),
        )
        suppressed = models.suppressed(db, mail.to_addr) if mail else None
    if mail is None:
        raise UnknownJob(f"there is no mail {email_id}")
    return render("email.html", figures=(mail.state, mail.attempts, mail.updated_at), mail=mail, tries=tries,
                  has_body=body is not None, kind=email_type(mail.type), suppressed=suppressed)  # fmt: skip


@bp.get("/emails/<int:email_id>/body")
def body(email_id: int) -> Any:
    """Answer with a mail's HTML alone, under its own policy."""
    with reading() as db:
        found = models.body(db, email_id)
    if found is None:
        raise UnknownJob("this mail's body is not kept")
    return mail_page(found.html)


def mail_page(html: str) -> Response:
    """Return mail HTML that can run nothing and load nothing."""
    return Response(
        html, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": MAIL_CSP}
    )


@bp.get("/emails/preview")
def preview() -> Any:
    """Show each type with each sample."""
    kind, sample, _ = _chosen()
    rendered = emails.preview(kind, sample)
    return render(
        "preview.html",
        types=EVERY,
        samples=tuple(NAMES),
        kind=email_type(kind),
        sample=sample,
        rendered=rendered,
    )


def _chosen() -> tuple[str, str, str]:
    kind, sample = request.args.get("type", MESSAGES[0].name), request.args.get("sample", "default")
    return kind, sample, request.args.get("locale", "en")


@bp.get("/emails/preview/body")
def preview_body() -> Any:
    """Answer with a preview's HTML alone, under its own policy."""
    kind, sample, _ = _chosen()
    return mail_page(emails.preview(kind, sample).html)


@bp.get("/emails/suppressions")
def suppressions() -> Any:
    """List the addresses that get no mail."""
    with reading() as db:
        found = models.suppressions(db, LISTED + 1)
    return render("suppressions.html", rows=found[:LISTED], more=len(found) > LISTED)


def _back(target: str) -> Any:
    return redirect(target, 303)


@bp.post("/emails/<int:email_id>/resend")
def resend(email_id: int) -> Any:
    """Send a new copy, also to a corrected address."""
    try:
        result = actions.run(
            actions.huey(),
            auth.actor(),
            "resend",
            str(email_id),
            to=request.form.get("to", "").strip() or None,
        )
    except (ValueError, EngineError) as exc:
        flash(str(exc), "bad")
        return _back(url_for("emails.show", email_id=email_id))
    flash(result.message, "plain")
    return _back(url_for("emails.show", email_id=result.value.email_id))


@bp.post("/emails/<int:email_id>/release")
def release(email_id: int) -> Any:
    """Send a held mail after all."""
    try:
        flash(actions.run(actions.huey(), auth.actor(), "release", str(email_id)).message, "plain")
    except (actions.Refused, EngineError) as exc:
        flash(str(exc), "bad")
    return _back(url_for("emails.show", email_id=email_id))


@bp.post("/emails/release")
def release_all() -> Any:
    """Send after all what the mail log shows as held."""
    to, kind = (request.form.get(name, "").strip()[:320] for name in ("to", "type"))
    with reading() as db:
        ids = models.held_ids(db, to=to or None, kind=kind or None)
    try:
        done = ids and actions.run(actions.huey(), auth.actor(), "release", "held mails", ids=ids)
        flash(done.message if done else "No mail is held", "plain")
    except (actions.Refused, EngineError) as exc:
        flash(str(exc), "bad")
    return _back(url_for("emails.log", state="held", to=to or None, type=kind or None))


@bp.post("/emails/suppressions/<any(suppress, lift):what>")
def suppress(what: str) -> Any:
    """Suppress an address, or lift it or all that are ticked."""
    given = [address.strip()[:320] for address in request.form.getlist("address")] or [""]
    reason = request.form.get("reason", "")[:200]
    try:
        if what == "lift":
            said = actions.lift(actions.huey(), auth.actor(), given, reason).message
        else:
            said = actions.run(actions.huey(), auth.actor(), what, given[0], reason=reason).message
        flash(said, "plain")
    except (ValueError, actions.Refused) as exc:
        flash(str(exc), "bad")
    return _back(local_path(request.form.get("next") or url_for("emails.suppressions")))


declare(
    "viewer",
    log,
    show,
    body,
    preview,
    preview_body,
    suppressions,
    resend,
    suppress,
    release,
    release_all,
)
