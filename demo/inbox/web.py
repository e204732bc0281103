"""The inbox's pages and its JSON API. Loopback only; `Host` and forms are checked."""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
from typing import Any

from flask import Flask, Response, abort, jsonify, redirect, render_template, request, url_for
from pydantic import ValidationError
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.wrappers import Response as AnyResponse

from demo.inbox.knobs import PHASES, KnobBox, Knobs
from demo.inbox.store import Mail, Opened, Store

HOST = "127.0.0.1"
VIEWS = ("html", "text", "headers", "source")
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self';"
    " frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# The mail's own HTML: no script, no request to anywhere; its links open a new tab.
MAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src data:;"
    " style-src 'unsafe-inline'; frame-ancestors 'self'"
)
PRESETS = (
    ("Well", "takes every mail", Knobs()),
    ("Unreachable", "closes every connection", Knobs(refuse="connect")),
    ("Busy", "451 at RCPT: an attempt is used", Knobs(refuse="rcpt4")),
    ("Unknown user", "550 at RCPT: not retried", Knobs(refuse="rcpt5")),
    ("Late refusal", "451 after the final dot", Knobs(refuse="data4")),
    ("Slow", "3 s before each RCPT answer", Knobs(delay_s={"rcpt": 3})),
    ("Drops the body", "closes while the mail is sent", Knobs(drop="body")),
    ("Drops at the dot", "keeps the mail, never says so", Knobs(drop="dot")),
)


def serve(store: Store, knobs: KnobBox, *, port: int, dashboard: str) -> BaseWSGIServer:
    """Serve the pages in a thread; `shutdown()` ends it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(HOST, port, create_app(store, knobs, dashboard), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def create_app(store: Store, knobs: KnobBox, dashboard: str = "") -> Flask:
    """Return the inbox's pages over a store and its knobs."""
    app = Flask("demo.inbox", root_path=__file__.rpartition("/")[0])
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
    token = secrets.token_urlsafe(24)
    app.before_request(lambda: _guard(token))
    app.after_request(_headers)
    app.context_processor(lambda: {"token": token, "knobs": knobs.now, "dashboard": dashboard})
    _pages(app, store, knobs)
    _api(app, store, knobs)
    return app


def _guard(token: str) -> None:
    """Refuse other host names (DNS rebinding) and writes from elsewhere."""
    name = request.host.rpartition(":")[0] or request.host
    if name not in (HOST, "localhost", "[::1]"):
        abort(400, f"Host is {request.host!r}; the inbox answers to 127.0.0.1 and localhost.")
    if request.method in ("GET", "HEAD"):
        return
    origin = request.headers.get("Origin")
    if origin and origin != request.host_url.rstrip("/"):
        abort(403, f"Origin is {origin!r}; writes are taken from the inbox's own pages only.")
    form = not request.path.startswith("/api/")
    if form and not hmac.compare_digest(request.form.get("token", ""), token):
        abort(403, "The form is too old; reload the page and try again.")


def _headers(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"  # no-referrer makes a form's Origin null
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response


def _pages(app: Flask, store: Store, knobs: KnobBox) -> None:
    @app.get("/")
    def index() -> str:
        to = request.args.get("to", "")
        mails, total = store.find(to)
        return render_template("list.html", mails=mails, total=total, to=to, presets=PRESETS)

    @app.get("/messages/<name>")
    def message(name: str) -> str:
        opened = _found(store, name)
        view = request.args.get("view", "html" if opened.html else "text")
        if view not in VIEWS:
            abort(404, f"There is no view {view!r}; there are {', '.join(VIEWS)}.")
        return render_template("mail.html", opened=opened, mail=opened.mail, view=view, views=VIEWS)

    @app.get("/messages/<name>/body")
    def body(name: str) -> Response:
        html = _found(store, name).html or ""
        answer = Response(f'<base target="_blank">{html}', mimetype="text/html")
        answer.headers["Content-Security-Policy"] = MAIL_POLICY
        return answer

    @app.post("/knobs")
    def turn() -> AnyResponse:
        chosen = request.form.get("preset", "")
        found = [preset for name, _, preset in PRESETS if name == chosen]
        if not found:
            abort(422, f"There is no fault {chosen!r}.")
        domains = _domains(request.form.get("domains", ""))
        knobs.now = found[0].model_copy(update={"domains": domains})
        return redirect(url_for("index"), 303)

    @app.post("/clear")
    def clear() -> AnyResponse:
        store.clear()
        return redirect(url_for("index"), 303)


def _api(app: Flask, store: Store, knobs: KnobBox) -> None:
    @app.get("/api/messages")
    def messages() -> Response:
        limit = min(max(request.args.get("limit", 100, type=int), 1), 1000)
        mails, total = store.find(request.args.get("to", ""), limit)
        return jsonify(items=[_listed(mail) for mail in mails], total=total)

    @app.get("/api/messages/<name>")
    def whole(name: str) -> Response:
        opened = _found(store, name)
        return jsonify(
            **_listed(opened.mail), headers=opened.headers, text=opened.text, html=opened.html,
            source=opened.source, attachments=opened.attachments,
        )  # fmt: skip

    @app.delete("/api/messages")
    def forget() -> tuple[str, int]:
        store.clear()
        return "", 204

    @app.get("/api/knobs")
    def read_knobs() -> Response:
        return jsonify(_knobs(knobs.now))

    @app.put("/api/knobs")
    def write_knobs() -> Response | tuple[Response, int]:
        try:
            knobs.now = Knobs.model_validate_json(request.get_data() or b"null")
        except ValidationError as exc:
            fault = exc.errors()[0]
            where = ".".join(str(part) for part in fault["loc"]) or "the body"
            said = f"{where}: {fault['msg']}. Phases: {', '.join(PHASES)}."
            return jsonify(title="The knobs are not valid", status=422, detail=said), 422
        return jsonify(_knobs(knobs.now))


def _domains(text: str) -> tuple[str, ...] | None:
    found = tuple(word.strip().lower() for word in text.split(",") if word.strip())
    return found or None


def _found(store: Store, name: str) -> Opened:
    opened = store.open(name)
    if opened is None:
        abort(404, "There is no such mail here; the newest thousand are kept.")
    return opened


def _listed(mail: Mail) -> dict[str, Any]:
    return {
        "id": mail.id, "at": mail.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "from": mail.sender, "to": list(mail.to), "subject": mail.subject, "size": mail.size,
    }  # fmt: skip


def _knobs(knobs: Knobs) -> dict[str, Any]:
    return knobs.model_dump(mode="json")
