"""Errors as answers: problem+json for programs, a page in the usual frame for people."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, current_app, g, jsonify, request
from pydantic import ValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, SecurityError

from dashboard import auth
from dashboard.accounts import UnknownOperator
from dashboard.actions import Forbidden, Refused
from dashboard.alert_acts import UnknownAlert
from dashboard.audit_rows import audit
from dashboard.auth import Throttled
from dashboard.pages import render, theme
from dashboard.security import SAFE, is_api
from tasks import faults, settings
from tasks.alerts.rules import BadRule
from tasks.emails import AlreadySent
from tasks.engine import (
    EngineError,
    UnknownBatch,
    UnknownGroup,
    UnknownJob,
    UnknownQueue,
    UnknownTask,
    Unreachable,
    WrongState,
)
from tasks.outbox import OutboxFull

TITLES = {
    400: "The request cannot be read", 401: "Sign in first", 403: "Not allowed", 404: "Not found",
    405: "Not that way", 409: "Not in this state", 413: "Too large", 415: "Not this kind",
    422: "Something in the request is wrong", 429: "Too many tries", 500: "Something broke here", 503: "Not available now",
}  # fmt: skip
STATUS: tuple[tuple[type[Exception], int], ...] = (
    (Throttled, 429), (Forbidden, 403), (UnknownJob, 404), (UnknownQueue, 404), (UnknownTask, 404), (UnknownBatch, 404),
    (UnknownGroup, 404), (UnknownAlert, 404), (UnknownOperator, 404), (Refused, 409),
    (AlreadySent, 409), (WrongState, 409), (Unreachable, 503), (OutboxFull, 503), (EngineError, 422),
    (ValueError, 422),
)  # fmt: skip
OTHER_HOST = "This host name is not answered here. TRUSTED_HOSTS names those that are.\n"
SQL_AWAY = (OperationalError, InterfaceError, PoolTimeout)


class BadField(ValueError):
    """One field of a request is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field, self.message = field, message


def init_app(app: Flask) -> None:
    """Register the handlers."""
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(ValidationError, _validation)
    app.register_error_handler(
        BadField,
        lambda exc: answer(422, f"{exc.field}: {exc.message}", [(exc.field, exc.message)]),
    )
    app.register_error_handler(
        BadRule, lambda exc: answer(422, str(exc), [(exc.field, exc.message)])
    )
    for kind, status in STATUS:
        app.register_error_handler(kind, _known(status))
    for kind in SQL_AWAY:
        app.register_error_handler(kind, _no_database(app))
    app.register_error_handler(Exception, _unknown(app))


def answer(status: int, detail: str, errors: list[tuple[str, str]] | None = None, *,
           framed: bool = False) -> Response:  # fmt: skip
    """Return an error as JSON or as a page; `framed`: with the rail, for who is signed in."""
    title = TITLES.get(status, "Error")
    if "HX-Request" in request.headers:  # a toast or the live light says it
        return Response(detail, status, content_type="text/plain; charset=utf-8")
    if not is_api():
        shown: dict[str, Any] = {"status": status, "title": title, "detail": detail}
        if framed and auth.actor() is not None:
            return render("http_framed.html", code=status, **shown)
        return Response(_page(**shown), status, content_type="text/html; charset=utf-8")
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
    }
    body["request_id"] = g.get("request_id", "")
    if errors:
        body["errors"] = [{"field": field, "message": message} for field, message in errors]
    response = jsonify(body)
    response.status_code, response.content_type = status, "application/problem+json"
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _page(**shown: Any) -> str:
    """Return an error's page; it asks neither Redis nor the database, since one may be the fault."""
    template = current_app.jinja_env.get_template("http_error.html")
    return template.render(
        **shown, env=settings.get().app_env, theme=theme(), root=request.script_root
    )


def _needed() -> str:
    """Say which role the address asks for."""
    view = current_app.view_functions.get(request.endpoint or "")
    return f"needs {getattr(view, 'role', None) or 'a role that nobody has'}"


def _http(exc: HTTPException) -> Response:
    status = exc.code or 500
    if isinstance(exc, SecurityError):  # of another host no address is built, so no page either
        return Response(OTHER_HOST, 400, content_type="text/plain; charset=utf-8")
    if exc.response is not None or status < 400:
        return exc.get_response()  # type: ignore[return-value]
    said = exc.description if exc.description != type(exc).description else ""
    if status == 403 and request.method not in SAFE:
        audit(auth.actor(), request.endpoint or "", request.path, "refused", _needed())
    detail = said or {
        401: "This address needs a bearer token (flask tokens create) or a signed-in browser.",
        403: f"Your role does not cover this: it {_needed()}.", 413: "A body of at most 1 MiB is accepted.",
        404: "There is nothing at this address.",
    }.get(status, exc.description or "")  # fmt: skip
    response = answer(status, detail)
    allowed = getattr(exc, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _validation(exc: ValidationError) -> Response:
    errors = faults.fields(exc)
    return answer(422, f"{errors[0][0]}: {errors[0][1]}", errors)


def _known(status: int) -> Any:
    return lambda exc: answer(status, str(exc), framed=True)


def _no_database(app: Flask) -> Any:
    def handle(exc: Exception) -> Response:
        app.logger.error(
            "request %s: the database does not answer: %s", g.get("request_id", ""), exc
        )
        return answer(
            503, "The database does not answer, so nobody can be let in. Jobs go on running."
        )

    return handle


def _unknown(app: Flask) -> Any:
    def handle(exc: Exception) -> Response:
        app.logger.exception("request %s failed", g.get("request_id", ""))
        return answer(
            500,
            f"Nothing was changed that you asked for. Name this to whoever runs it: {g.get('request_id', '')}",
        )

    return handle
