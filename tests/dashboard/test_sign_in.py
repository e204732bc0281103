"""Sign in, sessions, the throttle, and where a sign-in leads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from browsing import PASSWORD, TOKEN, Browser
from flask import Flask
from sqlalchemy import select, update

from dashboard import accounts, auth
from dashboard.models import AuditEntry, LoginSession, Operator
from tasks import database as db
from tasks.database import utcnow

ADA = "admin@example.org"


@pytest.fixture
def one(operators: dict[str, Operator]) -> Operator:
    return operators["admin"]


def rows(model: Any) -> list[Any]:
    with db.reading() as session:
        return list(session.scalars(select(model).order_by(model.id)))


def change_session(**values: Any) -> None:
    with db.session() as session:
        session.execute(update(LoginSession).values(**values))


def test_the_right_password_opens_the_dashboard(browser: Browser, one: Operator) -> None:
    answer = browser.sign_in(ADA)
    assert (answer.status_code, answer.location) == (303, "/")
    assert browser.is_in()


def test_an_address_is_taken_in_any_case_and_with_spaces_around(
    browser: Browser, one: Operator
) -> None:
    assert browser.sign_in(f"  {ADA.upper()} ").status_code == 303


def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(
    app: Flask, one: Operator
) -> None:
    wrong = Browser(app).sign_in(ADA, "not the password")
    unknown = Browser(app).sign_in("nobody@example.org", "not the password")
    assert wrong.status_code == unknown.status_code == 401
    assert without(wrong.text, ADA) == without(unknown.text, "nobody@example.org")


def without(page: str, email: str) -> str:
    """Return a page without what differs by nature: the address typed and the token."""
    return TOKEN.sub("", page).replace(email, "")


def test_an_unknown_address_costs_the_same_hash_as_a_wrong_password(
    app: Flask, one: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = []
    matches = auth._matches
    monkeypatch.setattr(auth, "_matches", lambda *a: hashes.append(a[0]) or matches(*a))
    for email in ("nobody@example.org", ADA):
        browser = Browser(app)
        browser.get("/login")
        browser.post("/login", {"email": email, "password": "wrong, and long enough"})
    unknown, known = hashes
    assert unknown != known
    assert unknown.rpartition("$")[0].rpartition("$")[0] == known.rpartition("$")[0].rpartition("$")[0]  # fmt: skip


def test_the_sixth_try_in_a_minute_is_refused_even_with_the_right_password(
    app: Flask, one: Operator
) -> None:
    for _ in range(5):
        assert Browser(app).sign_in(ADA, "wrong, and long enough").status_code == 401
    sixth = Browser(app).sign_in(ADA)
    assert sixth.status_code == 429
    assert sixth.headers["Retry-After"] == "60"
    assert "wait a minute" in sixth.text


def test_one_address_cannot_try_many_accounts(app: Flask, database: str) -> None:
    tries = [Browser(app).sign_in(f"p{n}@example.org", "x" * 12).status_code for n in range(21)]
    assert tries == [401] * 20 + [429]
    other = Browser(app, REMOTE_ADDR="192.0.2.7").sign_in("p0@example.org", "x" * 12)
    assert other.status_code == 401


def test_signing_in_twice_gives_two_session_ids(app: Flask, one: Operator) -> None:
    for _ in range(2):
        Browser(app).sign_in(ADA)
    first, second = rows(LoginSession)
    assert first.token_hash != second.token_hash


def test_a_session_from_before_the_sign_in_is_replaced(browser: Browser, one: Operator) -> None:
    browser.sign_in(ADA)
    before = browser.client.get_cookie("session")
    browser.get("/audit")
    browser.post("/login", {"email": ADA, "password": PASSWORD})
    after = browser.client.get_cookie("session")
    assert before is not None
    assert after is not None
    assert before.value != after.value


def test_the_database_keeps_no_session_id_and_no_password(
    app: Flask, browser: Browser, one: Operator
) -> None:
    browser.sign_in(ADA)
    with browser.client.session_transaction() as session:
        token = session["_user_id"]
    (row,) = rows(LoginSession)
    assert row.token_hash == auth.digest(token)
    assert token not in repr(vars(row))
    assert one.password_hash.startswith("$argon2id$")


def test_signing_out_ends_the_session_on_the_server_too(app: Flask, one: Operator) -> None:
    browser = Browser(app)
    browser.sign_in(ADA)
    stolen = browser.client.get_cookie("session")
    assert stolen is not None
    browser.get("/audit")
    assert browser.post("/logout").status_code == 303
    thief = Browser(app)
    thief.client.set_cookie("session", stolen.value)
    assert not thief.is_in()


def test_signing_out_takes_a_post(admin: Browser) -> None:
    assert admin.get("/logout").status_code == 405
    assert admin.is_in()


@pytest.mark.parametrize(
    ("column", "age"),
    [("seen_at", timedelta(minutes=31)), ("created_at", timedelta(hours=12, minutes=1))],
    ids=["idle for 31 minutes", "older than 12 hours"],
)
def test_a_session_has_an_idle_and_an_absolute_end(
    admin: Browser, column: str, age: timedelta
) -> None:
    change_session(**{column: utcnow() - age})
    assert not admin.is_in()


def test_a_session_in_use_does_not_go_idle(admin: Browser) -> None:
    change_session(seen_at=utcnow() - timedelta(minutes=29))
    assert admin.is_in()
    assert utcnow() - rows(LoginSession)[0].seen_at < timedelta(minutes=1)


def test_a_disabled_operator_is_out_at_the_next_request(admin: Browser) -> None:
    with db.session() as session:
        session.execute(update(Operator).values(disabled_at=utcnow()))
    assert not admin.is_in()
    assert admin.sign_in(ADA).status_code == 401


def test_ended_sessions_are_out_at_the_next_request(
    admin: Browser, operators: dict[str, Operator]
) -> None:
    accounts.change("admin@example.org", password_hash="another")
    assert not admin.is_in()


def test_a_page_without_a_session_leads_to_the_sign_in_and_back(
    browser: Browser, one: Operator
) -> None:
    answer = browser.get("/jobs?status=failed")
    assert answer.status_code == 303
    page = browser.get(answer.location)
    assert 'value="/jobs?status=failed"' in page.text
    after = browser.post(
        "/login", {"email": ADA, "password": PASSWORD, "next": "/jobs?status=failed"}
    )
    assert after.location == "/jobs?status=failed"


def test_a_polled_region_without_a_session_sends_the_browser_to_the_sign_in(
    browser: Browser,
) -> None:
    answer = browser.get("/", headers={"HX-Request": "true"})
    assert answer.status_code == 204
    assert answer.headers["HX-Redirect"].startswith("/login")


HOSTILE = (
    "//evil.test", "/\\evil.test", "\\\\evil.test", "https://evil.test", "https:evil.test",
    "javascript:alert(1)", "/\t/evil.test", "/%09/evil.test\n", "\r\n/evil", " //evil.test",
    "evil.test", "/" + "a" * 4000, "/\u2215evil", "@evil.test", "/jobs\nSet-Cookie: a=b",
)  # fmt: skip


@pytest.mark.parametrize("target", HOSTILE)
def test_a_sign_in_leads_to_our_own_pages_only(
    browser: Browser, one: Operator, target: str
) -> None:
    assert browser.sign_in(ADA, next=target).location == "/"


def test_signed_in_the_sign_in_page_leads_on(admin: Browser) -> None:
    assert admin.get("/login?next=/audit").location == "/audit"
    assert admin.get("/login?next=//evil.test").location == "/"


def test_every_try_to_sign_in_is_in_the_audit(app: Flask, one: Operator) -> None:
    Browser(app).sign_in(ADA, "wrong, and long enough")
    Browser(app).sign_in(ADA)
    found = [(row.action, row.target, row.outcome) for row in rows(AuditEntry)]
    assert found == [("sign_in", ADA, "refused"), ("sign_in", ADA, "done")]


@pytest.mark.parametrize(
    ("password", "says"),
    [("short", "10 to 256"), ("x" * 257, "10 to 256"), ("password123", "first that anybody tries"),
     ("aaaaaaaaaaaa", "first that anybody tries")],
)  # fmt: skip
def test_a_weak_password_is_refused_with_what_is_accepted(password: str, says: str) -> None:
    with pytest.raises(auth.WrongPassword, match=says):
        auth.hash_password(password)


def test_a_password_of_any_letters_is_taken_whole(app: Flask, database: str) -> None:
    password = " ключ 鍵 🔑 with spaces " + "å" * 150
    auth.create_operator("u@example.org", password, "viewer")
    assert Browser(app).sign_in("u@example.org", password.strip()).status_code == 401
    assert Browser(app).sign_in("u@example.org", password).status_code == 303


def test_the_theme_is_kept_in_a_cookie_and_set_by_the_server(admin: Browser) -> None:
    assert "data-theme" not in admin.get("/audit").text.split(">")[1]
    admin.post("/theme", {"theme": "dark", "next": "/audit"})
    assert '<html lang="en" data-theme="dark">' in admin.get("/audit").text
    admin.post("/theme", {"theme": "auto", "next": "/audit"})
    assert '<html lang="en">' in admin.get("/audit").text


def test_who_signs_in_first_is_told_about_the_link(browser: Browser, database: str) -> None:
    assert "one-time link" in browser.get("/login").text


def test_roles_are_an_order(enter: Callable[[str], Browser]) -> None:
    actor = auth.Actor("x", "operator")
    assert actor.may("public")
    assert actor.may("viewer")
    assert actor.may("operator")
    assert not actor.may("admin")
    assert not auth.Actor("x", "root").may("viewer")
