"""The JSON API, for people to read."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from dashboard.api import CALLS
from dashboard.api_reference import grouped
from dashboard.openapi import document
from dashboard.pages import render
from dashboard.security import declare
from tasks import settings

bp = Blueprint("api_docs", __name__)


@bp.get("/api/docs")
def show() -> Any:
    """Show every call with its fields and a line to try it."""
    return render("api_docs.html", groups=grouped(document(CALLS), settings.get().base_url))


declare("viewer", show)
