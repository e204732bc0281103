"""The first operator: one link, one use, thirty minutes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from browsing import PASSWORD, Browser
from flask import Flask
from sqlalchemy import select, update

from dashboard import auth
from dashboard.models import Operator, SetupLink
from tasks import database as db
from tasks.database import utcnow
from tasks.settings import SettingsError

FORM = {"email": "ada@example.org", "password": PASSWORD, "again": PASSWORD}


@pytest.fixture
def link(app: Flask) -> str:
    token = auth.setup_link()
    assert token is not None
    return f"/setup/{token}"


def people() -> list[tuple[str, str]]:
    with db.reading() as session:
        return [(row.email, row.role) for row in session.scalars(select(Operator))]


def test_the_link_makes_the_first_operator_an_admin_and_signs_in(
    browser: Browser, link: str
) -> None:
    browser.get(link)
    assert browser.post(link, FORM).location == "/"
    assert people() == [("ada@example.org", "admin")]
    assert browser.is_in()


def test_the_link_works_once(app: Flask, browser: Browser, link: str) -> None:
    browser.get(link)
    browser.post(link, FORM)
    late = Browser(app)
    late.get("/login")
    assert late.get(link).status_code == 404
    assert late.post(link, {**FORM, "email": "eve@example.org"}).status_code == 404
    assert len(people()) == 1


def test_the_link_dies_after_thirty_minutes(browser: Browser, link: str) -> None:
    with db.session() as session:
        session.execute(update(SetupLink).values(expires_at=utcnow() - timedelta(seconds=1)))
    answer = browser.get(link)
    assert answer.status_code == 404
    assert "30 minutes" in answer.text


def test_the_link_dies_when_an_operator_exists(browser: Browser, link: str) -> None:
    auth.create_operator("ines@example.org", PASSWORD, "viewer")
    assert browser.get(link).status_code == 404
    assert auth.setup_link() is None


def test_a_newer_link_ends_the_older(browser: Browser, link: str) -> None:
    assert auth.setup_link()
    assert browser.get(link).status_code == 404


def test_the_database_keeps_no_link(link: str) -> None:
    with db.reading() as session:
        (row,) = session.scalars(select(SetupLink))
    assert row.token_hash == auth.digest(link.removeprefix("/setup/"))


@pytest.mark.parametrize(
    ("form", "says"),
    [({"password": "short", "again": "short"}, "10 to 256"), ({"again": "another one"}, "differ"),
     ({"email": "no address"}, "no address")],
    ids=["short password", "two passwords", "no address"],
)  # fmt: skip
def test_a_wrong_form_is_told_what_is_wrong_and_the_link_lives_on(
    browser: Browser, link: str, form: dict[str, str], says: str
) -> None:
    browser.get(link)
    answer = browser.post(link, {**FORM, **form})
    assert answer.status_code == 422
    assert says in answer.text
    assert people() == []
    assert browser.post(link, FORM).status_code == 303


def test_two_who_use_the_link_at_once_make_one_operator(app: Flask, link: str) -> None:
    browsers = [Browser(app), Browser(app)]
    for browser in browsers:
        browser.get(link)
    answers: list[int] = []

    def use(n: int) -> None:
        form = {**FORM, "email": f"p{n}@example.org"}
        answers.append(browsers[n].post(link, form).status_code)

    threads = [threading.Thread(target=use, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [303, 404]
    assert len(people()) == 1


def test_a_container_may_name_the_first_operator(
    make_app: Callable[..., Flask], database: str
) -> None:
    make_app(ADMIN_EMAIL="Ada@example.org", ADMIN_PASSWORD=PASSWORD)
    auth.first_operator()
    auth.first_operator()
    assert people() == [("ada@example.org", "admin")]
    assert auth.setup_link() is None


def test_a_weak_password_for_the_first_operator_ends_the_start(
    make_app: Callable[..., Flask], database: str
) -> None:
    make_app(ADMIN_EMAIL="ada@example.org", ADMIN_PASSWORD="short")
    with pytest.raises(SettingsError, match="ADMIN_PASSWORD make no operator: a password takes 10"):
        auth.first_operator()
