"""Errors as problem+json (RFC 9457): nothing that a client sends makes a 500."""

from __future__ import annotations

import logging
from typing import Any

from flask import Blueprint, Response, json
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException

from academy.errors import AcademyError
from tasks import faults
from tasks.outbox import OutboxFull

logger = logging.getLogger("academy")
TRY_AGAIN_S = 5


def problem(status: int, title: str, detail: str, errors: list[dict[str, str]] | None = None,
            headers: dict[str, str] | None = None) -> Response:  # fmt: skip
    """Return a problem; `errors` has a field and a message for each wrong field."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = errors
    return Response(json.dumps(body), status, headers, mimetype="application/problem+json")


def register(blueprint: Blueprint) -> None:
    """Answer every error of the blueprint's views as a problem."""
    blueprint.register_error_handler(AcademyError, _refused)
    blueprint.register_error_handler(ValidationError, _invalid)
    blueprint.register_error_handler(HTTPException, _http)
    blueprint.register_error_handler(OutboxFull, _full)
    blueprint.register_error_handler(OperationalError, _database_away)


def _refused(exc: AcademyError) -> Response:
    return problem(exc.status, exc.title, str(exc))


def _invalid(exc: ValidationError) -> Response:
    errors = [{"field": field, "message": wrong} for field, wrong in faults.fields(exc)]
    names = ", ".join(sorted({error["field"] for error in errors}))
    return problem(422, "Invalid request", f"not accepted: {names}", errors)


def _http(exc: HTTPException) -> Response:
    found = exc.get_response()
    kept = {
        k: v for k, v in found.headers.items() if k in ("WWW-Authenticate", "Allow", "Retry-After")
    }
    return problem(exc.code or 500, exc.name, exc.description or exc.name, headers=kept)


def _full(exc: OutboxFull) -> Response:
    return problem(503, "Outbox full", str(exc), headers={"Retry-After": "30"})


def _database_away(exc: OperationalError) -> Response:
    logger.error("the database does not answer: %s", exc.orig)
    detail = "the database does not answer; nothing was changed, try again in a moment"
    return problem(503, "Database not available", detail, headers={"Retry-After": str(TRY_AGAIN_S)})
