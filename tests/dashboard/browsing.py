"""A browser's half of the talk: cookies, the token of the page, forms."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask, session
from flask_wtf.csrf import generate_csrf
from sqlalchemy import select
from werkzeug.test import TestResponse

from dashboard import auth
from dashboard.models import AuditEntry, Operator
from tasks import database as db

PASSWORD = "seven quiet herons"
TOKEN = re.compile(r'name="csrf(?:_|-)token" (?:value|content)="([^"]+)"')


class Browser:
    """One browser: cookies, the token of the page it last read, and forms."""

    def __init__(self, app: Flask, base: str = "http://localhost", **environ: Any) -> None:
        self.client, self.environ, self.base, self.token = app.test_client(), environ, base, ""

    def get(self, path: str, **more: Any) -> TestResponse:
        """Read an address; remember the CSRF token that it carries."""
        answer = self.client.get(path, base_url=self.base, environ_base=self.environ, **more)
        if found := TOKEN.search(answer.text if answer.mimetype == "text/html" else ""):
            self.token = found[1]
        return answer

    def post(self, path: str, form: dict[str, Any] | None = None, **more: Any) -> TestResponse:
        """Send a form with the token of the page it stands on."""
        body = {"csrf_token": self.token, **(form or {})}
        return self.client.post(
            path, data=body, base_url=self.base, environ_base=self.environ, **more
        )

    def sign_in(self, email: str, password: str = PASSWORD, **form: str) -> TestResponse:
        """Fill in the sign-in page."""
        self.get("/login")
        return self.post("/login", {"email": email, "password": password, **form})

    def enter(self, operator: Operator) -> None:
        """Begin a session without the sign-in page, whose hash alone takes a tenth of a second."""
        app = self.client.application
        with app.test_request_context("/", base_url=self.base):
            auth.start_session(operator)
            self.token = generate_csrf()
            answer = app.response_class()
            app.session_interface.save_session(app, session, answer)  # type: ignore[arg-type]
        name, _, value = answer.headers["Set-Cookie"].partition(";")[0].partition("=")
        self.client.set_cookie(name, value)

    def is_in(self) -> bool:
        """Tell whether the overview opens."""
        return self.get("/").status_code == 200


def audit() -> list[tuple[str, str, str]]:
    """Return what the audit has, the first first: (act, target, outcome)."""
    with db.reading() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.action != "sign_in"))
        return [(row.action, row.target, row.outcome) for row in rows]
