"""Static files under addresses that name their content: a browser asks for each once, then keeps it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from flask import Flask, Response, current_app, request

KEPT_S = 365 * 24 * 3600


def init_app(app: Flask) -> None:
    """Read what each file holds, give templates `asset`, and let browsers keep what they ask for by it."""
    folder = Path(app.static_folder or "")
    app.extensions["assets"] = {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        for file in folder.rglob("*")
        if file.is_file()
    }
    app.jinja_env.globals["asset"] = asset
    app.after_request(_keep)


def asset(name: str) -> str:
    """Return the address of a static file, another one for each content; while debugging always the same."""
    here = f"{request.script_root}/static/{name}"
    known: dict[str, str] = current_app.extensions["assets"]
    return here if current_app.debug else f"{here}?v={known[name]}"


def _keep(response: Response) -> Response:
    """Say that this content will never be another one; the address of an older page still gets today's."""
    name, asked = (request.view_args or {}).get("filename", ""), request.args.get("v")
    if (
        request.endpoint == "static"
        and asked
        and current_app.extensions["assets"].get(name) == asked
    ):
        response.headers["Cache-Control"] = f"public, max-age={KEPT_S}, immutable"
    return response
