"""What the web server runs: the dashboard, with the learning platform's front door beside it."""

from __future__ import annotations

import sys

from werkzeug.exceptions import Forbidden, Unauthorized

import academy
from dashboard import create_app
from dashboard.auth import first_operator, header_actor
from tasks.settings import SettingsError

try:
    app = create_app()
    first_operator()
except SettingsError as exc:
    sys.stderr.write(f"{exc}\n")
    raise SystemExit(2) from exc


def authorize(role: str) -> None:
    """Tell the academy whether a request's bearer token covers a role; a cookie never does.

    Raises: Unauthorized or Forbidden.
    """
    actor = header_actor()
    if actor is None:
        raise Unauthorized("this call takes a bearer token")
    if not actor.may(role):
        raise Forbidden(f"this call needs the role {role}")


academy.init_app(app, authorize=authorize)
