"""Idempotency-Key: a repeat is answered as the first time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta

from flask import Response, request
from sqlalchemy import and_, delete, or_, select
from sqlalchemy.exc import IntegrityError

from dashboard import auth
from dashboard.models import IdempotencyKey
from dashboard.problems import BadField, answer
from tasks import database
from tasks.database import reading, utcnow

KEY_KEPT = timedelta(days=7)
UNDER_WAY = timedelta(minutes=2)  # longer than any request lives: its process is gone


def idempotent(make: Callable[[], Response]) -> Response:
    """Answer a repeat with the same Idempotency-Key as the first time."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return make()
    if not 1 <= len(key) <= 255:
        raise BadField("Idempotency-Key", "1 to 255 characters are expected")
    actor = auth.actor()
    owner = f"{actor.kind}:{actor.id}" if actor else ""
    sha = hashlib.sha256(request.get_data(cache=True)).hexdigest()
    known = _claim(owner, key, sha)
    if known is not None:
        return known
    try:
        response = make()
    except Exception:
        _keep(owner, key, None, "")
        raise
    _keep(owner, key, response.status_code, response.get_data(as_text=True))
    return response


def _claim(owner: str, key: str, sha: str) -> Response | None:
    """Take a key, or return the answer it has; 409 while the first is under way, 422 for another body."""
    try:
        with database.session() as db:
            dead = and_(
                IdempotencyKey.status.is_(None), IdempotencyKey.created_at < utcnow() - UNDER_WAY
            )
            old = IdempotencyKey.created_at < utcnow() - KEY_KEPT
            db.execute(delete(IdempotencyKey).where(or_(old, dead)))
            db.add(IdempotencyKey(actor=owner, key=key, body_hash=sha))
        return None
    except IntegrityError:
        pass
    with reading() as db:
        row = db.scalars(
            select(IdempotencyKey).where(IdempotencyKey.actor == owner, IdempotencyKey.key == key)
        ).first()
    if row is None or row.status is None:
        return answer(
            409,
            "The first request with this Idempotency-Key is still under way; try again in a moment.",
        )
    if row.body_hash != sha:
        return answer(
            422,
            "This Idempotency-Key was used with another body; make a new key.",
            [("Idempotency-Key", "used with another body")],
        )
    return Response(row.answer, row.status, content_type="application/json")


def _keep(owner: str, key: str, status: int | None, text: str) -> None:
    with database.session() as db:
        row = db.scalars(
            select(IdempotencyKey).where(IdempotencyKey.actor == owner, IdempotencyKey.key == key)
        ).first()
        if row is None:
            return
        if status is None:
            db.delete(row)
        else:
            row.status, row.answer = status, text
