"""Sign in, sign out, the first operator's link, the theme."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from flask_login import current_user

from dashboard import audit_rows, auth
from dashboard.security import declare, local_path

bp = Blueprint("auth", __name__)


@bp.route("/login", methods=["GET", "POST"])
def login() -> Any:
    """Sign in; the same answer for a wrong name and a wrong password."""
    if request.method == "GET":
        if auth.actor() is not None:
            return redirect(local_path(request.args.get("next")))
        return render_template("login.html", email="", error="", first=not auth.has_operator())
    email = request.form.get("email", "")[:320]
    try:
        operator = auth.sign_in(email, request.form.get("password", ""))
    except auth.Throttled as exc:
        return _again(email, str(exc).capitalize() + ".", 429)
    if operator is None:
        audit_rows.audit(None, "sign_in", email, "refused", "wrong name or password")
        return _again(email, "Address and password do not belong together.", 401)
    audit_rows.audit(auth.Actor(operator.email, operator.role), "sign_in", operator.email, "done")
    return redirect(local_path(request.form.get("next")), 303)


def _again(email: str, error: str, status: int) -> Any:
    page = render_template("login.html", email=email, error=error, first=False)
    headers = {"Retry-After": "60"} if status == 429 else {}
    return page, status, headers


@bp.post("/logout")
def logout() -> Any:
    """Sign out."""
    user = current_user._get_current_object()
    if isinstance(user, auth.SignedIn):
        auth.sign_out(user.token)
    return redirect(url_for("auth.login"), 303)


@bp.route("/setup/<token>", methods=["GET", "POST"])
def setup(token: str) -> Any:
    """Make the first operator, once."""
    if not auth.setup_is_open(token):
        abort(404, "This link was used, is older than 30 minutes, or there is an operator already.")
    if request.method == "GET":
        return render_template("setup.html", email="", error="", token=token)
    email, password = request.form.get("email", "")[:320], request.form.get("password", "")
    if password != request.form.get("again", ""):
        return render_template(
            "setup.html", email=email, error="The two passwords differ.", token=token
        ), 422
    try:
        operator = auth.use_setup(token, email, password)
    except ValueError as exc:
        return render_template("setup.html", email=email, error=str(exc), token=token), 422
    if operator is None:
        abort(404, "This link was used already.")
    auth.start_session(operator)
    audit_rows.audit(auth.Actor(operator.email, "admin"), "setup", operator.email, "done")
    return redirect(url_for("overview.show"), 303)


@bp.post("/theme")
def theme() -> Any:
    """Keep the theme in a cookie: light, dark, or automatic."""
    chosen = request.form.get("theme", "")
    response = redirect(local_path(request.form.get("next")), 303)
    if chosen in ("light", "dark"):
        response.set_cookie("theme", chosen, max_age=365 * 86400, samesite="Lax", httponly=True,
                            secure=current_app.config["SESSION_COOKIE_SECURE"])  # fmt: skip
    else:
        response.delete_cookie("theme")
    return response


declare("public", login)
declare("public", setup)
declare("viewer", logout)
declare("viewer", theme)
