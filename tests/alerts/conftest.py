"""The one Huey on a real Redis and SQLite, a real HTTP server that takes webhooks, jobs that end as told."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from alerting import Hook, ending

from tasks import settings
from tasks.engine import JobHuey


@pytest.fixture
def huey(platform_huey: JobHuey, monkeypatch: pytest.MonkeyPatch) -> JobHuey:
    """Return the platform's own Huey, empty, that may post to this machine."""
    monkeypatch.setenv("ALERT_PRIVATE_WEBHOOKS", "1")
    settings.reset()
    return platform_huey


@pytest.fixture
def ends(huey: JobHuey) -> Iterator[Callable[..., None]]:
    with ending(huey) as run:
        yield run


@pytest.fixture
def hook() -> Iterator[Hook]:
    found = Hook()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.got.append((dict(self.headers), body))
            status, head = found.answers.pop(0) if len(found.answers) > 1 else found.answers[0]
            self.send_response(status)
            for name, value in head.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/hook/secret-path"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()
