"""Addresses without a session: health and readiness."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app, jsonify

from dashboard.security import declare
from tasks import database

bp = Blueprint("public", __name__)


@bp.get("/healthz")
def healthz() -> Any:
    """Say that the process answers; touches nothing else."""
    return jsonify({"status": "ok"})


@bp.get("/readyz")
def readyz() -> Any:
    """Say whether Redis, database and migrations are ready: 200, or 503 with the reasons."""
    reasons = []
    if not current_app.extensions["huey"].reads.is_reachable():
        reasons.append("redis does not answer")
    try:
        if not database.at_head():
            reasons.append("migrations are behind: run flask db upgrade")
    except Exception:
        reasons.append("the database does not answer")
    return jsonify(
        {"status": "unready" if reasons else "ready", "reasons": reasons}
    ), 503 if reasons else 200


declare("public", healthz, readyz)
