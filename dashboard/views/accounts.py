"""Operators and tokens, for admins; and everybody's own account: password, sessions, keys, theme."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, redirect, request, url_for
from flask_login import current_user

from dashboard import accounts, actions, audit_log, auth
from dashboard.models import ROLES
from dashboard.pages import render, say
from dashboard.security import declare
from tasks.engine import EngineError

bp = Blueprint("accounts", __name__)
LAST = 8
WHAT = {"role": "set_role", "password": "reset_password", "disable": "disable", "enable": "enable"}


@bp.get("/operators")
def table() -> Any:
    """List who has a login, and the tokens of programs."""
    return _table({}, "")


def _table(given: dict[str, str], error: str, status: int = 200) -> Any:
    return render("operators.html", operators=accounts.operators(), tokens=auth.tokens(), roles=ROLES,
                  given=given, error=error, status=status)  # fmt: skip


def _run(name: str, target: str, **params: Any) -> actions.Result:
    return actions.run(actions.huey(), auth.actor(), name, target, **params)


@bp.post("/operators")
def create() -> Any:
    """Give a person a login."""
    given = {name: request.form.get(name, "")[:320].strip() for name in ("email", "role")}
    try:
        done = _run("create_operator", given["email"], role=given["role"],
                    password=request.form.get("password", "")[:400])  # fmt: skip
    except ValueError as exc:
        return _table(given, str(exc), 422)
    say(done.message)
    return redirect(url_for("accounts.table"), 303)


@bp.get("/operators/<int:operator_id>")
def show(operator_id: int) -> Any:
    """Show one operator: role, password, sessions, what they did."""
    person = accounts.by_id(operator_id)
    return render("operator.html", person=person, roles=ROLES, sessions=accounts.sessions(person.id),
                  acts=audit_log.page(audit_log.Wanted(who=person.email), limit=LAST))  # fmt: skip


@bp.post("/operators/<int:operator_id>/<any(role, password, disable, enable):what>")
def change(operator_id: int, what: str) -> Any:
    """Change somebody's role, password or access."""
    given = {"role": "role", "password": "password"}.get(what, "")
    params = {given: request.form.get(given, "")[:400]} if given else {}
    try:
        say(_run(WHAT[what], accounts.by_id(operator_id).email, **params).message)
    except (ValueError, actions.Refused, EngineError) as exc:
        say(str(exc), "bad")
    return redirect(url_for("accounts.show", operator_id=operator_id), 303)


@bp.post("/operators/tokens")
def make_token() -> Any:
    """Make a token, and show it this once."""
    name, role = request.form.get("name", "").strip()[:80], request.form.get("role", "")
    if not name:
        say("Nothing made: a token needs a name", "bad")
        return redirect(url_for("accounts.table"), 303)
    token, row = _run("create_token", name, role=role, owner=auth.owner_of(_me())).value
    return render("token_made.html", token=token, made=row)


@bp.post("/operators/tokens/<int:token_id>/revoke")
def revoke(token_id: int) -> Any:
    """End a token."""
    say(_run("revoke_token", str(token_id)).message)
    return redirect(url_for("accounts.table"), 303)


# One's own


def _me() -> auth.Actor:
    found = auth.actor()
    if found is None:
        abort(401)
    return found


def _token() -> str:
    """Return the id of this browser's session; "" where the app around signs people in."""
    user = current_user._get_current_object()
    return user.token if isinstance(user, auth.SignedIn) else ""


@bp.get("/account")
def own() -> Any:
    """Show one's own account: role, sessions, what this browser keeps."""
    return _own("")


def _own(error: str, status: int = 200) -> Any:
    token = "" if _me().kind != "operator" else _token()
    found = accounts.sessions(_me().id) if token else ()
    return render(
        "account.html", sessions=found, here=auth.digest(token), error=error, status=status
    )


@bp.post("/account/password")
def password() -> Any:
    """Change one's own password; this browser stays signed in, every other session ends."""
    actor = _me()
    given = {name: request.form.get(name, "")[:400] for name in ("old", "password", "again")}
    if given["password"] != given.pop("again"):
        return _own("The two new passwords differ.", 422)
    try:
        done = _run("change_password", actor.name, address=request.remote_addr or "", **given)
    except (ValueError, auth.Throttled, actions.Refused) as exc:
        return _own(str(exc), 429 if isinstance(exc, auth.Throttled) else 422)
    auth.start_session(accounts.by_id(actor.id))
    say(done.message)
    return redirect(url_for("accounts.own"), 303)


@bp.post("/account/sessions/end")
def end_sessions() -> Any:
    """Sign out everywhere else."""
    say(_run("end_sessions", _me().name, token=_token()).message)
    return redirect(url_for("accounts.own"), 303)


declare("admin", table, show, create, change, make_token, revoke)
declare("viewer", own, password, end_sessions)
