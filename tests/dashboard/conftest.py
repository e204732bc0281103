"""The whole web process on a real Redis and a real SQLite, and a browser's half of the talk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import argon2
import pytest
from browsing import PASSWORD, Browser
from flask import Flask
from jinja2 import FileSystemBytecodeCache
from serving import serve
from waiting import PATIENCE_S

import academy
import dashboard
from dashboard import auth, create_app
from dashboard.health import Watch
from dashboard.hits import Hits
from dashboard.models import Operator
from dashboard.views import operations
from tasks import database as db
from tasks import settings as settings_module
from tasks.engine import JobHuey, Permanent


@pytest.fixture
def huey(platform_huey: JobHuey) -> JobHuey:
    return platform_huey


@pytest.fixture(scope="session", autouse=True)
def _unhurried() -> None:
    """Let a page that carries an operation on do so to its end, and ask Redis again soon."""
    operations.STEP_S, dashboard.REST_S = PATIENCE_S, 0.1


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> FileSystemBytecodeCache:
    """Keep compiled templates from one app to the next."""
    return FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))


@pytest.fixture
def make_app(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch, compiled: FileSystemBytecodeCache
) -> Callable[..., Flask]:
    """Make the whole web process as wsgi.py does, with settings from the environment."""

    def make(**environ: str) -> Flask:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        settings_module.reset()
        app = create_app(huey=huey)
        app.jinja_env.bytecode_cache = compiled
        academy.init_app(app, authorize=lambda role: None)
        return app

    return make


@pytest.fixture(scope="session")
def made() -> dict[str, Flask]:
    """Keep the app with the default settings: to make one takes longer than most tests."""
    return {}


@pytest.fixture
def app(make_app: Callable[..., Flask], huey: JobHuey, made: dict[str, Flask]) -> Flask:
    """Return the app with the default settings, remembering nothing; who changes it makes another."""
    if "app" not in made:
        made["app"] = make_app()
    found = made["app"]
    found.extensions["watch"], found.extensions["hits"] = Watch(huey), Hits(huey)
    found.extensions["throttle"].storage.reset()
    return found


@pytest.fixture(scope="session", autouse=True)
def hashed() -> str:
    """Return the hash of PASSWORD, by argon2 with the least it takes: the usual cost is 0.1 s each."""
    auth._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    auth._nobody = auth.hash_password("nobody's own password")
    return auth.hash_password(PASSWORD)


@pytest.fixture
def operators(database: str, hashed: str) -> dict[str, Operator]:
    """Return one operator of each role, by role; all have the same password."""
    made = {
        role: Operator(email=f"{role}@example.org", role=role, password_hash=hashed)
        for role in ("viewer", "operator", "admin")
    }
    with db.session() as session:
        session.add_all(made.values())
    return made


@pytest.fixture
def browser(app: Flask) -> Browser:
    return Browser(app)


@pytest.fixture
def enter(app: Flask, operators: dict[str, Operator]) -> Callable[[str], Browser]:
    """Sign in as a role: `enter("viewer")`."""

    def signed_in(role: str) -> Browser:
        found = Browser(app)
        found.enter(operators[role])
        return found

    return signed_in


@pytest.fixture
def admin(enter: Callable[[str], Browser]) -> Browser:
    return enter("admin")


_tasks: dict[str, Any] = {}


@pytest.fixture
def ends(huey: JobHuey) -> Any:
    """Return a task that ends as it is told."""
    if "ends" not in _tasks:

        @huey.task(name="demo.ends", queue="maintenance")
        def ends(how: str = "well") -> str:
            if how == "failed":
                raise Permanent("the door is <locked>")
            return how

        _tasks["ends"] = ends
    return _tasks["ends"]


# A real browser

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Return a running browser; without one a loud skip, in CI a failure."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_S * 1000)

    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=FLAGS, timeout=2 * PATIENCE_S * 1000
        )
        yield browser
        browser.close()


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    """Serve the app on a free port."""
    with serve(app) as found:
        yield found


@pytest.fixture
def signed_in(app: Flask, operators: dict[str, Operator], address: str) -> Callable[[str], Any]:
    """Return the cookies of somebody signed in as a role, as a browser keeps them."""

    def cookies(role: str) -> list[dict[str, Any]]:
        found = Browser(app)
        found.sign_in(f"{role}@example.org")
        value = found.client.get_cookie("session", domain="localhost")
        assert value is not None
        return [{"name": "session", "value": value.value, "url": address}]

    return cookies


@pytest.fixture
def page(chromium: Any, address: str, signed_in: Callable[[str], Any]) -> Iterator[Any]:
    """Return a page of somebody signed in as admin; a fault in the script fails the test."""
    faults: list[str] = []
    context = chromium.new_context(base_url=address, viewport={"width": 1280, "height": 800})
    context.add_cookies(signed_in("admin"))
    context.set_default_timeout(PATIENCE_S * 1000)
    found = context.new_page()
    found.on("pageerror", lambda error: faults.append(str(error)))
    found.on(
        "console",
        lambda said: faults.append(said.text) if "Content Security" in said.text else None,
    )
    yield found
    context.close()
    assert faults == []


@pytest.fixture
def hasten(page: Any) -> Callable[[], None]:
    """Let some seconds of the page's clock pass, in which each region is asked for."""
    page.clock.install()
    return lambda: page.clock.run_for(8000)


@pytest.fixture
def cancelled(huey: JobHuey) -> Callable[[int], list[str]]:
    """Make so many cancelled jobs, which can be ticked."""
    from tasks.maintenance import clean_up

    def make(many: int) -> list[str]:
        ids = [clean_up.schedule(delay=3600).id for _ in range(many)]
        huey.commands.cancel(ids)
        return ids

    return make
