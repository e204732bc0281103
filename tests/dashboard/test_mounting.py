"""The dashboard in somebody else's Flask app, under a prefix: links, forms, cookies, rights."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from browsing import Browser
from flask import Flask, session
from jinja2 import FileSystemBytecodeCache

from dashboard import Dashboard
from dashboard.rail import PAGES
from tasks.engine import JobHuey, State

PREFIX = "/ops/jobs-admin"
ADDRESS = re.compile(r'(?:href|action|src|hx-get|data-href)="([^"#?]*)')


@pytest.fixture
def stranger(make_huey: Callable[..., JobHuey], redis_url: str) -> JobHuey:
    """Return the Huey of an app that knows nothing of the platform."""
    huey = make_huey(read_timeout=0.02)

    @huey.task(name="shop.ship")
    def ship(order: int) -> str:
        return f"order {order} shipped"

    huey.shop = ship
    return huey


@pytest.fixture
def host(database: str, stranger: JobHuey, compiled: FileSystemBytecodeCache) -> Flask:
    """Return a shop with its own front page and sign-in, and the dashboard within."""
    app = Flask("shop")
    app.secret_key, app.jinja_env.bytecode_cache = "the shop's own", compiled

    @app.get("/")
    def front() -> str:
        return "the shop"

    @app.get("/enter/<role>")
    def enter(role: str) -> str:
        session["role"] = role
        return "in"

    def who() -> tuple[str, str] | None:
        return ("sam@shop.example", session["role"]) if "role" in session else None

    Dashboard(app, stranger, url_prefix=PREFIX, current_operator=who)
    return app


@pytest.fixture
def sam(host: Flask) -> Browser:
    found = Browser(host)
    found.get("/enter/admin")
    return found


def test_the_host_answers_as_before_and_the_prefix_only_to_its_people(host: Flask) -> None:
    nobody = Browser(host)
    assert nobody.get("/").text == "the shop"
    assert "Content-Security-Policy" not in nobody.get("/").headers
    answer = nobody.get(f"{PREFIX}/")
    assert answer.status_code == 401
    assert "sign in there first" in answer.text
    assert "To the overview" not in answer.text  # which would lead here again
    assert nobody.get(f"{PREFIX}er").status_code == 404


def test_every_link_form_and_file_of_every_page_lies_under_the_prefix(
    sam: Browser, stranger: Any
) -> None:
    job = stranger.shop(1).id
    own = [page for page in PAGES if page.group != "Mail"]
    for path in (*(page.address for page in own), "/help", "/jobs/new", f"/jobs/{job}",
                 f"/jobs/compare?a={job}&b={job}", f"/jobs/new?from={job}", "/queues/default"):  # fmt: skip
        answer = sam.get(PREFIX + path)
        assert answer.status_code == 200, path
        found = {address for address in ADDRESS.findall(answer.text) if address}
        assert len(found) > 10
        assert {a for a in found if not a.startswith((PREFIX, "mailto:"))} == set(), path
    with sam.get(f"{PREFIX}/static/app.css") as sheet:
        assert sheet.status_code == 200
    assert "Mail log" not in sam.get(f"{PREFIX}/").text


def test_acts_go_to_the_hosts_own_jobs_with_the_token_of_the_prefix(
    sam: Browser, stranger: Any
) -> None:
    job = stranger.shop.schedule((7,), delay=3600).id
    sam.get(f"{PREFIX}/jobs/{job}")
    answer = sam.post(f"{PREFIX}/jobs/{job}/run_now")
    assert (answer.status_code, answer.location) == (303, f"{PREFIX}/jobs/{job}")
    assert stranger.reads.job(job).state is State.WAITING
    assert "made ready" in sam.get(answer.location).text
    assert sam.post(f"{PREFIX}/jobs/{job}/cancel").status_code == 303
    assert stranger.reads.job(job).state is State.CANCELLED
    assert "sam@shop.example" in sam.get(f"{PREFIX}/audit?target={job}").text
    sam.token = "another"
    assert sam.post(f"{PREFIX}/jobs/{job}/retry").status_code == 400


def test_the_hosts_role_counts(host: Flask, stranger: Any) -> None:
    viewer = Browser(host)
    viewer.get("/enter/viewer")
    job = stranger.shop.schedule((7,), delay=3600).id
    viewer.get(f"{PREFIX}/jobs/{job}")
    assert viewer.post(f"{PREFIX}/jobs/{job}/run_now").status_code == 403


def test_without_a_callable_the_dashboard_has_its_own_sign_in_under_the_prefix(
    database: str, stranger: JobHuey, operators: Any
) -> None:
    app = Flask("shop")
    Dashboard(app, stranger, url_prefix="/jobs")
    browser = Browser(app)
    assert browser.get("/jobs/queues").location == "/jobs/login?next=/jobs/queues"
    browser.get("/jobs/login")
    answer = browser.post("/jobs/login", {"email": "admin@example.org",
                                          "password": "seven quiet herons", "next": "/jobs/queues"})  # fmt: skip
    assert (answer.status_code, answer.location) == (303, "/jobs/queues")
    assert "Path=/jobs;" in answer.headers["Set-Cookie"] + ";"
    assert browser.get("/jobs/queues").status_code == 200


@pytest.mark.parametrize("prefix", ["jobs", "/jobs/", ""])
def test_a_prefix_that_is_no_path_is_refused(stranger: JobHuey, database: str, prefix: str) -> None:
    with pytest.raises(ValueError, match="url_prefix"):
        Dashboard(Flask("shop"), stranger, url_prefix=prefix)


def test_a_token_that_one_of_its_people_makes_lets_a_program_in(sam: Browser, host: Flask) -> None:
    sam.get(f"{PREFIX}/operators")
    page = sam.post(f"{PREFIX}/operators/tokens", {"name": "ci", "role": "viewer"}).text
    token = re.search(r'value="(jd_[^"]+)"', page)
    assert token
    headers = {"Authorization": f"Bearer {token[1]}"}
    answer = host.test_client().get(f"{PREFIX}/api/admin/queues", headers=headers)
    assert answer.status_code == 200
