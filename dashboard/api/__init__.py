"""The JSON API: the same reads and the same actions as the pages."""

from __future__ import annotations

from typing import Any

from flask import Flask, jsonify

from dashboard.api import accounts, alerts, bulk, errors, jobs, mails, queues, running
from dashboard.api.calls import CALLS, bp
from dashboard.openapi import document
from dashboard.security import declare

__all__ = [
    "CALLS",
    "accounts",
    "alerts",
    "bulk",
    "errors",
    "init_app",
    "jobs",
    "mails",
    "queues",
    "running",
]


@bp.get("/api/openapi.json")
def openapi() -> Any:
    """Describe this API."""
    return jsonify(document(CALLS))


declare("public", openapi)


def init_app(app: Flask) -> None:
    """Register the API."""
    app.register_blueprint(bp)
