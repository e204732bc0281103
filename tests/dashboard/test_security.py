"""What every answer carries and every request must pass, over all routes."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from addresses import rules
from browsing import Browser
from flask import Flask
from sqlalchemy import select

from dashboard import security
from dashboard.auth import create_token
from dashboard.models import ROLES, AuditEntry, Operator
from dashboard.rail import PAGES
from tasks import database as db
from tasks.engine import JobHuey


def test_every_route_declares_a_known_role(app: Flask) -> None:
    found = {
        rule.endpoint: getattr(app.view_functions[rule.endpoint], "role", None)
        for rule in app.url_map.iter_rules()
        if rule.endpoint != "static"
    }
    assert {name: role for name, role in found.items() if role not in ("public", *ROLES)} == {}


@pytest.fixture
def grown(make_app: Callable[..., Flask], operators: dict[str, Operator]) -> Callable[..., Browser]:
    """Add a route to an app of its own; return an admin's browser there."""

    def grow(address: str, view: Any) -> Browser:
        app = make_app()
        app.add_url_rule(address, address[1:], view)
        app.config["PROPAGATE_EXCEPTIONS"] = False
        admin = Browser(app)
        admin.enter(operators["admin"])
        return admin

    return grow


def test_a_route_without_a_role_is_refused_even_to_an_admin(grown: Callable[..., Browser]) -> None:
    admin = grown("/forgotten", lambda: "secret")
    answer = admin.get("/forgotten")
    assert answer.status_code == 403
    assert "secret" not in answer.text


def test_nothing_but_the_public_answers_without_a_session(app: Flask) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        for rule, address in rules(app, method):
            if app.view_functions[rule.endpoint].role == "public" or rule.endpoint.startswith(
                "academy."
            ):
                continue
            answer = app.test_client().open(address, method=method)
            open_to_all = answer.status_code not in (303, 401)
            assert not open_to_all, f"{method} {address}: {answer.status_code}"


def test_no_write_with_a_cookie_goes_without_the_token(app: Flask, admin: Browser) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for rule, address in rules(app, method):
            if rule.endpoint.startswith("academy."):
                continue  # reads no cookie
            for sent in ({"data": {}}, {"json": {}}, {"data": "{}", "content_type": "text/plain"}):
                answer = admin.client.open(address, method=method, **sent)
                assert answer.status_code == 400, f"{method} {address}: {answer.status_code}"
                assert "CSRF" in answer.text or "token" in answer.text


def test_a_token_of_another_session_is_refused(app: Flask, enter: Callable[[str], Browser]) -> None:
    theirs, mine = enter("viewer"), enter("operator")
    mine.token = theirs.token
    assert mine.post("/queues/email/pause").status_code == 400


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_write_from_another_site_is_refused_with_the_right_token_too(
    admin: Browser, site: str
) -> None:
    answer = admin.post("/queues/email/pause", headers={"Sec-Fetch-Site": site})
    assert answer.status_code == 400
    assert "another site" in answer.text


def test_a_json_write_with_a_cookie_takes_the_token_in_its_header(admin: Browser) -> None:
    address = "/api/admin/queues/email/pause"
    assert admin.client.post(address, json={}).status_code == 400
    answer = admin.client.post(address, json={}, headers={"X-CSRF-Token": admin.token})
    assert answer.status_code == 200, answer.text


def test_a_bearer_token_needs_no_csrf_token(app: Flask) -> None:
    token, _ = create_token("ci", "operator", "cli")
    answer = app.test_client().post(
        "/api/admin/queues/email/pause", json={}, headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 200


HEADERS = {
    "Content-Security-Policy": security.CSP, "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
}  # fmt: skip


def test_every_answer_carries_the_headers(app: Flask, admin: Browser) -> None:
    addresses = [address for _, address in rules(app, "GET")]
    for address in [*addresses, "/none", "/logout"]:
        answer = admin.get(address)
        assert answer.status_code != 500, f"{address}: {answer.text}"
        for name, value in HEADERS.items():
            if name == "Content-Security-Policy" and address.endswith("/body"):
                value = security.MAIL_CSP if answer.status_code == 200 else value
            assert answer.headers.get(name) == value, f"{address}: {name}"
        assert "HX-Request" in answer.headers["Vary"]
        assert "Server" not in answer.headers


def test_the_policy_allows_nothing_inline() -> None:
    assert "unsafe" not in security.CSP
    assert security.CSP.startswith("default-src 'none'; script-src 'self'; style-src 'self';")


class Inline(HTMLParser):
    """Collects what the policy forbids, and addresses of other hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or (tag == "script" and not given.get("src")):
            self.found.append(f"<{tag}>")
        self.found += [
            f"{tag} {name}" for name in given if name == "style" or name.startswith(("on", "hx-on"))
        ]
        for name in ("src", "href", "action"):
            value = given.get(name) or ""
            if tag != "a" and value.startswith(("http:", "https:", "//")):
                self.found.append(f"{tag} {name} {value}")


def test_no_page_has_inline_style_or_script_or_another_host(app: Flask, admin: Browser) -> None:
    from tasks.emails import Message, send

    send(Message(type="welcome", to="a@example.org", data={"name": "Ada", "course": "Logic"}))
    for _, address in rules(app, "GET"):
        answer = admin.get(address)
        if answer.mimetype == "text/html" and not address.endswith("/body"):
            parser = Inline()
            parser.feed(answer.text)
            assert parser.found == [], address


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.endpoint)
def test_each_page_opens_for_its_role_with_one_heading(
    enter: Callable[[str], Browser], page: Any
) -> None:
    answer = enter(page.role).get(page.address)
    assert answer.status_code == 200
    assert answer.text.count("<h1") == 1
    assert 'aria-current="page"' in answer.text


def test_what_somebody_typed_is_shown_and_not_run(admin: Browser, huey: JobHuey) -> None:
    evil = '"><script>alert(1)</script>{{ "zqv" * 3 }}'
    for address in ("/jobs", "/emails", "/audit"):
        answer = admin.client.get(address, query_string={"q": evil, "to": evil, "target": evil})
        assert "<script>alert" not in answer.text
        assert "zqvzqv" not in answer.text


def test_the_cookie_is_out_of_reach_of_scripts(
    browser: Browser, operators: dict[str, Operator]
) -> None:
    answer = browser.sign_in("admin@example.org")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("session=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


@pytest.fixture
def production(make_app: Callable[..., Flask], redis_url: str) -> Callable[..., Flask]:
    """Make the app as it runs deployed."""
    from tasks.keyring import new_key

    def make(**environ: str) -> Flask:
        return make_app(APP_ENV="production", SECRET_KEY="k" * 32, JOB_ENCRYPTION_KEYS=new_key(),
                        MAIL_SERVER="mail.example.org", PUBLIC_URL="https://jobs.example.org", **environ)  # fmt: skip

    return make


def test_deployed_the_cookie_is_secure_and_the_site_is_https_only(
    production: Callable[..., Flask], operators: dict[str, Operator]
) -> None:
    browser = Browser(production(), "https://jobs.example.org")
    answer = browser.sign_in("admin@example.org")
    assert answer.headers["Set-Cookie"].startswith("__Host-session=")
    assert "Secure" in answer.headers["Set-Cookie"]
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")


def test_deployed_only_the_own_host_name_is_answered(production: Callable[..., Flask]) -> None:
    client = production().test_client()
    assert client.get("/login", base_url="https://evil.test").status_code == 400
    assert client.get("/login", base_url="https://jobs.example.org").status_code == 200


@pytest.mark.parametrize(("proxies", "seen"), [("0", "127.0.0.1"), ("1", "198.51.100.9")])
def test_a_proxys_word_counts_only_where_one_is_trusted(
    make_app: Callable[..., Flask], database: str, proxies: str, seen: str
) -> None:
    browser = Browser(make_app(TRUSTED_PROXIES=proxies))
    browser.get("/login")
    spoofed = {"X-Forwarded-For": "203.0.113.5, 198.51.100.9"}
    browser.post("/login", {"email": "a@example.org", "password": "x" * 12}, headers=spoofed)
    with db.reading() as session:
        assert session.scalars(select(AuditEntry)).one().address == seen


def test_a_body_over_one_mebibyte_is_413(app: Flask, admin: Browser) -> None:
    form = admin.post("/jobs/bulk", {"reason": "x" * (2 << 20)})
    assert form.status_code == 413
    token, _ = create_token("ci", "operator", "cli")
    answer = app.test_client().post(
        "/api/email", data="x" * (2 << 20), content_type="application/json",
        headers={"Authorization": f"Bearer {token}"},
    )  # fmt: skip
    assert answer.status_code == 413
    assert "1 MiB" in answer.json["detail"]


def test_a_wrong_method_is_405_and_says_which_are_right(admin: Browser) -> None:
    answer = admin.get("/logout")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_an_address_that_is_none_is_a_page_with_a_way_out(admin: Browser) -> None:
    answer = admin.get("/none")
    assert answer.status_code == 404
    assert 'href="/jobs"' in answer.text


def test_a_fault_of_ours_shows_a_number_and_no_traceback(grown: Callable[..., Browser]) -> None:
    def broken() -> None:
        raise RuntimeError("the password is hunter2")

    broken.role = "viewer"  # type: ignore[attr-defined]
    answer = grown("/broken", broken).get("/broken")
    assert answer.status_code == 500
    assert answer.headers["X-Request-Id"] in answer.text
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text


def test_a_database_that_is_away_is_503_and_never_open(
    app: Flask, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import settings

    db.dispose()
    monkeypatch.setenv("DATABASE_URL", "sqlite:////nowhere/app.db")
    settings.reset()
    for address in ("/", "/jobs", "/audit", "/api/admin/queues/stats"):
        answer = admin.get(address)
        assert answer.status_code == 503, address
        assert "Traceback" not in answer.text
    assert admin.get("/healthz").status_code == 200
    assert admin.get("/readyz").status_code == 503


def test_a_number_that_no_row_can_have_finds_nothing(app: Flask, admin: Browser) -> None:
    """The database raises where it is asked for one."""
    token, _ = create_token("ci", "admin", "cli")
    headers, client, huge = {"Authorization": f"Bearer {token}"}, app.test_client(), 2**63
    for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
        for rule, _ in rules(app, method):
            if "<int:" not in rule.rule or rule.endpoint.startswith("academy."):
                continue
            address = re.sub(r"<any\((\w+).*?>", r"\1", re.sub(r"<int:.*?>", str(huge), rule.rule))
            answer = client.open(address, method=method, headers=headers)
            assert answer.status_code in (404, 405), address
    for page in ("/emails", "/people/a@example.org", "/audit", "/alerts/history"):
        assert admin.get(f"{page}?cursor={huge}").status_code == 200
    for listed in ("/api/emails", "/api/admin/alerts/incidents"):
        assert client.get(f"{listed}?cursor={huge}", headers=headers).status_code == 422
    released = client.post("/api/emails/release", json={"ids": [huge]}, headers=headers)
    assert released.status_code == 422
