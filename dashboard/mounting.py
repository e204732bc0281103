"""The dashboard inside another Flask app: under a prefix of its addresses, for its own people."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask

from dashboard.auth import HOSTED, Actor
from dashboard.models import ROLES
from tasks import database
from tasks.engine import JobHuey
from tasks.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Who = tuple[str, str] | None


class Dashboard:
    """Every page and the API of the dashboard, at `url_prefix` of `app`.

    It answers before the host's own routes and shares nothing with them: own cookies under the
    prefix, own headers, own error pages. Its tables (audit, saved things) live in DATABASE_URL
    and are made here.

    Args:
        current_operator: asked at each request, inside the host's request context, for
            (name, role) of who is there, or None; roles are viewer, operator, admin. Left out,
            the dashboard has its own sign-in.
        mail: whether to show the pages of the mail log.
    Raises: ValueError for a prefix that is no path, SettingsError.
    """

    def __init__(self, app: Flask, huey: JobHuey, url_prefix: str = "/jobs-admin",
                 current_operator: Callable[[], Who] | None = None, *,
                 settings: Settings | None = None, mail: bool = False) -> None:  # fmt: skip
        from dashboard import create_app

        if not url_prefix.startswith("/") or url_prefix.endswith("/"):
            raise ValueError(
                f"url_prefix is {url_prefix!r}; a path such as '/jobs-admin' is expected"
            )
        self.host, self.prefix, self.current_operator = app, url_prefix, current_operator
        self.app = create_app(settings, huey)
        self.app.config.update(
            APPLICATION_ROOT=url_prefix, SESSION_COOKIE_PATH=url_prefix, SHOW_MAIL=mail,
            SESSION_COOKIE_NAME="jobdeck_session", OWN_SIGN_IN=current_operator is None,
        )  # fmt: skip
        database.upgrade()
        self._next = app.wsgi_app
        app.wsgi_app = self  # type: ignore[method-assign]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer what lies under the prefix; leave the rest to the host."""
        path = environ.get("PATH_INFO", "")
        if path != self.prefix and not path.startswith(f"{self.prefix}/"):
            return self._next(environ, start_response)
        inner = {
            **environ, "SCRIPT_NAME": environ.get("SCRIPT_NAME", "") + self.prefix,
            "PATH_INFO": path[len(self.prefix):] or "/",
        }  # fmt: skip
        if self.current_operator is not None:
            inner[HOSTED] = self._who(environ)
        return self.app.wsgi_app(inner, start_response)

    def _who(self, environ: WSGIEnvironment) -> Actor | None:
        """Ask the host who is there, as it would see the request itself."""
        with self.host.request_context(environ):
            found: Any = self.current_operator and self.current_operator()
        if found is None:
            return None
        name, role = found
        if role not in ROLES:
            raise ValueError(
                f"current_operator gave the role {role!r}; there are {', '.join(ROLES)}"
            )
        return Actor(str(name), role)
