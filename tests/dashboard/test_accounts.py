"""Operators, tokens and one's own account, in pages and API: who may what, and what ends when."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from browsing import PASSWORD, Browser
from flask import Flask
from sqlalchemy import delete, select

from dashboard import auth
from dashboard.models import AuditEntry, LoginSession, Operator
from tasks import database as db

OTHER = "nine loud pelicans"


def row(role: str) -> Operator:
    with db.reading() as session:
        query = select(Operator).where(Operator.email == f"{role}@example.org")
        return session.scalars(query).one()


def acts() -> list[tuple[str, str, str]]:
    with db.reading() as session:
        return [(a.action, a.target, a.outcome) for a in session.scalars(select(AuditEntry))]


def told() -> str:
    """Return all that the audit was told."""
    with db.reading() as session:
        return "".join(entry.detail for entry in session.scalars(select(AuditEntry)))


# The page of operators


def test_operators_are_listed_for_admins_alone(enter: Callable[[str], Browser]) -> None:
    page = enter("admin").get("/operators").text
    for role in ("viewer", "operator", "admin"):
        assert f"{role}@example.org" in page
    for role in ("viewer", "operator"):
        browser = enter(role)
        assert browser.get("/operators").status_code == 403
        assert 'href="/operators"' not in browser.get("/").text
        assert browser.post("/operators/1/disable").status_code == 403


def test_an_operator_is_added_and_signs_in(admin: Browser, app: Flask) -> None:
    form = {"email": "Eva@example.org", "role": "operator", "password": OTHER}
    assert admin.post("/operators", form).status_code == 303
    assert Browser(app).sign_in("eva@example.org", OTHER).status_code == 303
    assert ("create_operator", "Eva@example.org", "done") in acts()
    assert OTHER not in told()


@pytest.mark.parametrize("wrong", [
    {"email": "eva", "role": "viewer", "password": OTHER},
    {"email": "eva@example.org", "role": "root", "password": OTHER},
    {"email": "eva@example.org", "role": "viewer", "password": "short"},
    {"email": "admin@example.org", "role": "viewer", "password": OTHER},
])  # fmt: skip
def test_what_makes_no_operator_is_said_beside_the_form(
    admin: Browser, wrong: dict[str, str]
) -> None:
    answer = admin.post("/operators", wrong)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert f'value="{wrong["email"]}"' in answer.text


def test_another_role_counts_at_once_and_ends_the_sessions(
    admin: Browser, enter: Callable[[str], Browser], app: Flask
) -> None:
    viewer = enter("viewer")
    assert viewer.is_in()
    admin.post(f"/operators/{row('viewer').id}/role", {"role": "operator"})
    assert row("viewer").role == "operator"
    assert not viewer.is_in()
    page = admin.get("/audit?action=set_role").text
    assert "viewer" in page
    assert "<b>operator</b>" in page


def test_a_disabled_operator_is_out_until_enabled(
    admin: Browser, enter: Callable[[str], Browser], app: Flask
) -> None:
    viewer = enter("viewer")
    address = f"/operators/{row('viewer').id}"
    admin.post(f"{address}/disable")
    assert not viewer.is_in()
    assert Browser(app).sign_in("viewer@example.org").status_code == 401
    assert "Nobody signs in with this address" in admin.get(address).text
    admin.post(f"{address}/enable")
    assert Browser(app).sign_in("viewer@example.org").status_code == 303


def test_an_admin_sets_a_password_that_the_audit_does_not_hold(admin: Browser, app: Flask) -> None:
    admin.post(f"/operators/{row('viewer').id}/password", {"password": OTHER})
    assert Browser(app).sign_in("viewer@example.org").status_code == 401
    assert Browser(app).sign_in("viewer@example.org", OTHER).status_code == 303
    assert OTHER not in told()


@pytest.mark.parametrize(("what", "form"), [("disable", {}), ("role", {"role": "viewer"})])
def test_the_last_admin_stays_one(admin: Browser, what: str, form: dict[str, str]) -> None:
    answer = admin.post(f"/operators/{row('admin').id}/{what}", form)
    assert "is the only admin" in admin.get(answer.location).text
    assert (row("admin").role, row("admin").disabled_at) == ("admin", None)


def test_a_second_admin_may_take_the_firsts_place(admin: Browser) -> None:
    admin.post(f"/operators/{row('operator').id}/role", {"role": "admin"})
    admin.post(f"/operators/{row('admin').id}/disable")
    assert row("admin").disabled_at is not None
    assert not admin.is_in()


# Tokens


def test_a_token_is_shown_once_and_revoked(admin: Browser, app: Flask) -> None:
    page = admin.post("/operators/tokens", {"name": "ci", "role": "viewer"}).text
    token = re.search(r'value="(jd_[^"]+)"', page)
    assert token
    ask = {"Authorization": f"Bearer {token[1]}"}
    stats = "/api/admin/queues/stats"
    assert app.test_client().get(stats, headers=ask).status_code == 200
    listed = admin.get("/operators").text
    assert token[1] not in listed
    assert token[1][:9] in listed
    admin.post(f"/operators/tokens/{auth.tokens()[0].id}/revoke")
    assert app.test_client().get(stats, headers=ask).status_code == 401


def test_a_token_may_no_more_than_its_owner_may_by_now(admin: Browser, app: Flask) -> None:
    """Nor may one that was made by means of it."""
    asked, listed = app.test_client(), "/api/admin/operators"
    owned, _ = auth.create_token("ci", "admin", "operator@example.org")
    who = f"/operators/{row('operator').id}"
    bearer = {"Authorization": f"Bearer {owned}"}
    admin.post(f"{who}/role", {"role": "admin"})
    made = asked.post("/api/admin/tokens", json={"name": "b", "role": "admin"}, headers=bearer)
    tokens = [bearer, {"Authorization": f"Bearer {made.json['token']}"}]
    assert [asked.get(listed, headers=one).status_code for one in tokens] == [200, 200]
    admin.post(f"{who}/role", {"role": "operator"})
    assert [asked.get(listed, headers=one).status_code for one in tokens] == [403, 403]
    admin.post(f"{who}/disable")
    assert [asked.get(listed, headers=one).status_code for one in tokens] == [401, 401]


# One's own account


def change(browser: Browser, old: str = PASSWORD, new: str = OTHER, again: str = "") -> Any:
    return browser.post("/account/password", {"old": old, "password": new, "again": again or new})


def test_ones_own_password_is_changed_and_other_sessions_end(
    enter: Callable[[str], Browser], app: Flask
) -> None:
    here, there = enter("viewer"), enter("viewer")
    assert change(here).status_code == 303
    assert here.is_in()
    assert not there.is_in()
    assert Browser(app).sign_in("viewer@example.org", OTHER).status_code == 303
    assert OTHER not in told()
    assert PASSWORD not in told()


@pytest.mark.parametrize(("form", "said"), [
    ({"old": "another one entirely"}, "old password is not that one"),
    ({"new": "short"}, "takes 10 to 256 characters"),
    ({"again": "seven quiet heron"}, "differ"),
])  # fmt: skip
def test_a_wrong_change_changes_nothing(
    enter: Callable[[str], Browser], app: Flask, form: dict[str, str], said: str
) -> None:
    viewer = enter("viewer")
    answer = change(viewer, **form)
    assert answer.status_code == 422
    assert said in answer.text
    assert Browser(app).sign_in("viewer@example.org").status_code == 303


def test_the_old_password_is_not_guessed_here_either(enter: Callable[[str], Browser]) -> None:
    viewer = enter("viewer")
    tried = [change(viewer, old=f"guess number {n}").status_code for n in range(7)]
    assert tried[0] == 422
    assert tried[-1] == 429


def test_other_sessions_are_listed_and_ended(enter: Callable[[str], Browser]) -> None:
    here, there = enter("viewer"), enter("viewer")
    assert "End 1 other session" in here.get("/account").text
    here.post("/account/sessions/end")
    assert here.is_in()
    assert not there.is_in()
    with db.reading() as session:
        left = session.scalars(select(LoginSession)).all()
    assert [one.operator_id for one in left] == [row("viewer").id]
    assert "other session" not in here.get("/account").text.split("Sessions</h2>")[1]


def test_a_token_ends_nobodys_sessions(app: Flask, enter: Callable[[str], Browser]) -> None:
    """Its id may be that of some operator."""
    signed_in = [enter(role) for role in ("viewer", "operator", "admin")]
    ids = {row(role).id for role in ("viewer", "operator", "admin")}
    made = [auth.create_token("ci", "admin", "cli") for _ in range(max(ids))]
    for token, made_row in made:
        assert made_row.id <= max(ids)
        headers = {"Authorization": f"Bearer {token}"}
        app.test_client().post("/account/sessions/end", headers=headers)
        assert "End 1" not in app.test_client().get("/account", headers=headers).text
    assert all(browser.is_in() for browser in signed_in)


# The API


@pytest.fixture
def ask(app: Flask, operators: dict[str, Operator]) -> Callable[..., Any]:
    """Change an operator as an admin's program: `ask("viewer", role="operator")`."""
    token, _ = auth.create_token("ci", "admin", "cli")
    headers = {"Authorization": f"Bearer {token}"}

    def patch(who: str, **body: Any) -> Any:
        address = f"/api/admin/operators/{row(who).id}"
        return app.test_client().patch(address, json=body, headers=headers)

    return patch


def test_a_program_changes_role_password_and_access(ask: Callable[..., Any], app: Flask) -> None:
    answer = ask("viewer", role="operator", password=OTHER)
    assert (answer.status_code, answer.json["role"]) == (200, "operator")
    assert Browser(app).sign_in("viewer@example.org", OTHER).status_code == 303
    assert ask("viewer", disabled=True).json["disabled"] is True
    assert ask("viewer", disabled=False).json["disabled"] is False
    assert [a for a, _, _ in acts() if a != "sign_in"] == ["set_role", "reset_password", "disable", "enable"]  # fmt: skip


def test_a_program_is_told_what_is_wrong(ask: Callable[..., Any]) -> None:
    assert ask("viewer", role="root").status_code == 422
    assert ask("viewer", password="short").status_code == 422
    assert ask("viewer", name="Eva").status_code == 422
    assert ask("viewer").status_code == 422
    assert ask("admin", disabled=True).status_code == 409


def test_an_operator_that_is_none_is_404(app: Flask, admin: Browser) -> None:
    assert admin.get("/operators/999").status_code == 404
    token, _ = auth.create_token("ci", "admin", "cli")
    headers = {"Authorization": f"Bearer {token}"}
    answer = app.test_client().patch("/api/admin/operators/999", json={"role": "admin"}, headers=headers)  # fmt: skip
    assert answer.status_code == 404


def test_of_several_changes_none_is_made_where_one_is_wrong(ask: Callable[..., Any], app: Flask) -> None:  # fmt: skip
    assert ask("viewer", role="operator", password="short").status_code == 422
    assert row("viewer").role == "viewer"
    assert ask("admin", password=OTHER, disabled=True).status_code == 409
    assert Browser(app).sign_in("admin@example.org").status_code == 303


# Where the command line alone has the say


def test_where_there_is_no_admin_nobody_is_kept_from_a_change(
    enter: Callable[[str], Browser], app: Flask
) -> None:
    viewer = enter("viewer")
    with db.session() as session:
        session.execute(delete(Operator).where(Operator.role == "admin"))
    assert change(viewer).status_code == 303
    assert Browser(app).sign_in("viewer@example.org", OTHER).status_code == 303
