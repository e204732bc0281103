"""API tokens: shown once, kept as a hash, ended at once."""

from __future__ import annotations

import pytest
from browsing import Browser
from flask import Flask
from sqlalchemy import select, update

from dashboard import auth
from dashboard.models import ApiToken, Operator
from tasks import database as db
from tasks.database import utcnow

STATS = "/api/admin/queues/stats"


def ask(app: Flask, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return app.test_client().get(STATS, headers=headers).status_code


def test_a_token_is_kept_as_a_hash_with_its_first_letters(database: str) -> None:
    token, row = auth.create_token("ci", "viewer", "cli")
    assert token.startswith("jd_")
    assert len(token) >= 43
    with db.reading() as session:
        kept = session.get(ApiToken, row.id)
    assert kept is not None
    assert kept.token_hash == auth.digest(token)
    assert token not in repr(vars(kept))
    assert token.startswith(kept.prefix)


def test_a_token_reads_what_its_role_covers_until_it_is_revoked(app: Flask) -> None:
    token, row = auth.create_token("ci", "viewer", "cli")
    assert ask(app, token) == 200
    with db.reading() as session:
        assert session.scalars(select(ApiToken)).one().last_used_at
    auth.revoke_token(row.id)
    assert ask(app, token) == 401


@pytest.mark.parametrize("token", ["", "jd_wrong", "x" * 5000, "é"])
def test_a_wrong_token_is_401(app: Flask, token: str) -> None:
    assert ask(app, token) == 401


def test_a_token_dies_with_its_owner(app: Flask, operators: dict[str, Operator]) -> None:
    token, _ = auth.create_token("mine", "admin", "admin@example.org")
    assert ask(app, token) == 200
    with db.session() as session:
        session.execute(update(Operator).values(disabled_at=utcnow()))
    assert ask(app, token) == 401


def test_a_token_in_the_address_is_no_token(app: Flask) -> None:
    token, _ = auth.create_token("ci", "admin", "cli")
    assert app.test_client().get(f"{STATS}?token={token}").status_code == 401


def test_a_wrong_token_is_not_helped_by_a_session(app: Flask, admin: Browser) -> None:
    assert admin.get(STATS).status_code == 200
    wrong = admin.get(STATS, headers={"Authorization": "Bearer jd_wrong"})
    assert wrong.status_code == 401
    assert wrong.mimetype == "application/problem+json"


def test_a_viewers_token_acts_on_nothing(app: Flask) -> None:
    token, _ = auth.create_token("ci", "viewer", "cli")
    headers = {"Authorization": f"Bearer {token}"}
    answer = app.test_client().post("/api/admin/queues/email/pause", headers=headers)
    assert answer.status_code == 403


def test_a_token_takes_a_known_role(database: str) -> None:
    with pytest.raises(ValueError, match="viewer, operator, admin"):
        auth.create_token("ci", "root", "cli")
