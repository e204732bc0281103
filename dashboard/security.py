"""What every answer carries and every request must pass: headers, CSRF, roles, hosts, addresses."""

from __future__ import annotations

import re
import secrets
import time
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, abort, current_app, g, redirect, request, url_for
from flask_wtf.csrf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import IntegerConverter

from dashboard import auth
from dashboard.models import MOST_ID
from tasks.settings import Settings

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
MAIL_CSP = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none';"
    " base-uri 'none'; frame-ancestors 'self'"
)
SAFE = ("GET", "HEAD", "OPTIONS")
LOCAL = re.compile(r"/(?![/\\])[\x21-\x7e]{0,2000}\Z")
csrf: Any = CSRFProtect()


class RowId(IntegerConverter):
    """`<int:...>` in an address: a number that no row can have is 404."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **{"max": MOST_ID, **options})


def declare(role: str, *views: Any) -> None:
    """Say which role these views need: a plain attribute, as every route must have."""
    for view in views:
        view.role = role


def init_app(app: Flask, found: Settings) -> None:
    """Set cookies, CSRF, limits, proxies, and the two hooks of every request."""
    secure = found.deployed
    app.config.update(
        SECRET_KEY=found.secret_key, SECRET_KEY_FALLBACKS=list(found.secret_key_fallbacks),
        SESSION_COOKIE_NAME="__Host-session" if secure else "session", SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_HTTPONLY=True, SESSION_COOKIE_SAMESITE="Lax", MAX_CONTENT_LENGTH=1024 * 1024,
        MAX_FORM_PARTS=2000, WTF_CSRF_CHECK_DEFAULT=False, WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=False,
    )  # fmt: skip
    hosts = list(found.trusted_hosts) or _own_host(found)
    if hosts:
        app.config["TRUSTED_HOSTS"] = hosts
    if found.trusted_proxies:
        count = found.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, count, count, count, count, count)  # type: ignore[method-assign]
    app.url_map.converters["int"] = RowId
    csrf.init_app(app)
    app.before_request(_before)
    app.after_request(_after)


def _own_host(found: Settings) -> list[str]:
    host = urlsplit(found.base_url).hostname if found.deployed else None
    return [host] if host else []


def _before() -> Any:
    """Name the request, then refuse what its role, its token or its origin does not allow."""
    g.request_id, g.started = secrets.token_hex(8), time.perf_counter()
    g.asked = current_app.extensions["huey"].storage.scripts.asked
    view = current_app.view_functions.get(request.endpoint or "")
    if view is None:
        return None
    refused = _check_role(getattr(view, "role", None))
    if refused is not None:
        return refused
    if request.method not in SAFE and needs_csrf():
        _check_origin()
        csrf.protect()
    return None


def _check_role(role: str | None) -> Any:
    """Deny by default: a route without a declared role is refused."""
    if request.endpoint == "static" or role == "public" or request.blueprint == "academy":
        return None  # the academy asks for its bearer token itself
    if role is None:
        abort(403)
    actor = auth.actor()
    if actor is None:
        return _sign_in_first()
    if not actor.may(role):
        abort(403)
    return None


def is_api() -> bool:
    """Tell whether this request wants JSON, by its address."""
    if request.endpoint == "api_docs.show":
        return False  # the one page among them
    return "/api/" in request.path or request.path.endswith(("/healthz", "/readyz", "/metrics"))


def _sign_in_first() -> Any:
    if is_api():
        abort(401)
    if auth.HOSTED in request.environ:
        abort(401, "The application around this dashboard knows nobody here: sign in there first.")
    target = url_for(
        "auth.login",
        next=request.script_root + request.full_path.rstrip("?")
        if request.method == "GET"
        else None,
    )
    if request.headers.get("HX-Request"):
        return Response(status=204, headers={"HX-Redirect": target})
    return redirect(target, 303)


def needs_csrf() -> bool:
    """Tell whether a write rests on the cookie: a bearer token is no browser's doing."""
    return "Authorization" not in request.headers and request.blueprint != "academy"


def _check_origin() -> None:
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        abort(400, "the form came from another site")


def _after(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("Content-Security-Policy", CSP)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=()")
    headers["X-Request-Id"] = g.get("request_id", "")
    if request.endpoint != "static":
        headers.setdefault("Cache-Control", "no-store")
        headers.add("Vary", "HX-Request")
    if current_app.config["SESSION_COOKIE_SECURE"]:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
    return response


def local_path(target: str | None) -> str:
    """Return where to go after signing in: a path of ours, or the overview."""
    if target and LOCAL.match(target) and "\\" not in target:
        parts = urlsplit(target)
        if not parts.scheme and not parts.netloc:
            return target
    return url_for("overview.show")
