"""Help: keys, the query language, states, roles; and whether single keys do anything."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app, redirect, request

from dashboard.models import ROLES
from dashboard.pages import render
from dashboard.query import FIELDS
from dashboard.rights import ACTIONS
from dashboard.security import declare, local_path

bp = Blueprint("help", __name__)
YEAR_S = 365 * 86400
STATES = (
    ("scheduled", "is due later"),
    ("waiting", "is ready and waits for a free slot, in order of priority"),
    ("active", "runs on a worker, under a lease"),
    ("retrying", "failed and is due again after a while"),
    ("completed", "ended well"),
    ("failed", "used up its attempts, or met a fault that no retry mends"),
    ("cancelled", "was taken out before it ran, or stopped when asked to"),
)


@bp.get("/help")
def show() -> Any:
    """Explain keys, queries, states and roles."""
    by_role = {role: [a for a in ACTIONS if a.role == role] for role in ROLES}
    return render("help.html", states=STATES, by_role=by_role, query_fields=FIELDS)


@bp.post("/keys")
def keys() -> Any:
    """Keep in a cookie whether single keys do anything."""
    response = redirect(local_path(request.form.get("next")), 303)
    response.set_cookie("keys", "off" if request.form.get("keys") == "off" else "on", max_age=YEAR_S,
                        samesite="Lax", httponly=True,
                        secure=current_app.config["SESSION_COOKIE_SECURE"])  # fmt: skip
    return response


declare("viewer", show, keys)
