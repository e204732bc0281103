"""GET /metrics for Prometheus; a bearer token of any role, or a session."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from dashboard import actions, prometheus
from dashboard.pages import watch
from dashboard.security import declare
from tasks.database import reading, unless_away
from tasks.engine import Unreachable
from tasks.mailer import models as mail

bp = Blueprint("metrics", __name__)


@bp.get("/metrics")
def show() -> Any:
    """Answer in Prometheus' text format; what is away is left out, and said by a gauge."""
    view, huey = watch(), actions.huey()
    mails: dict[str, int] = unless_away(_mails, {})
    try:
        text = prometheus.text(huey, view, huey.version, mails)
    except Unreachable:
        text = prometheus.text(huey, watch(), huey.version, mails)
    return Response(text, content_type=prometheus.TYPE)


def _mails() -> dict[str, int]:
    with reading() as db:
        return mail.counts(db)


declare("viewer", show)
