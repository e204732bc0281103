"""The operator's web process."""

from __future__ import annotations

from typing import Any

from flask import Flask

from tasks import settings as settings_module
from tasks.engine import JobHuey
from tasks.settings import Settings

__all__ = ["Dashboard", "create_app"]

REST_S = 2.0


def create_app(settings: Settings | None = None, huey: JobHuey | None = None) -> Flask:
    """Return the dashboard: settings, extensions, PAGES, nothing else.

    Raises: SettingsError.
    """
    from dashboard import api, assets, auth, cli_bulk, formats, pages, problems, security, views
    from dashboard.health import Watch
    from dashboard.hits import Hits

    found = settings or settings_module.get()
    if huey is None:
        from tasks import huey as made

        huey = made
    app = Flask(__name__, static_url_path="/static")
    huey.storage.scripts.rest_s = REST_S
    app.extensions["huey"], app.extensions["watch"] = huey, Watch(huey)
    app.extensions["hits"] = Hits(huey)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    security.init_app(app, found)
    auth.init_app(app)
    formats.init_app(app)
    assets.init_app(app)
    pages.init_app(app)
    problems.init_app(app)
    api.init_app(app)
    cli_bulk.init_app(app)
    views.init_app(app)
    return app


def __getattr__(name: str) -> Any:
    """Load Dashboard when first asked for: it brings the whole web process."""
    if name != "Dashboard":
        raise AttributeError(f"module 'dashboard' has no {name!r}")
    from dashboard.mounting import Dashboard

    return Dashboard
