"""A small WSGI server for the browser's tests: a thread a request, deaf to browsers that hang up.

A browser opens connections that it never uses and leaves requests behind when it goes to another
page; neither may hold up a test or show as its fault.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from flask import Flask
from waiting import wait_until


class _Handler(WSGIRequestHandler):
    timeout = 5  # of a connection on which nothing comes

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def address_string(self) -> str:
        """Ask no name server."""
        return str(self.client_address[0])


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a browser that went away; tell everything else."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Counted:
    """An app that knows how many of its requests are under way."""

    def __init__(self, app: Flask) -> None:
        self.app, self.under_way, self._lock = app, 0, threading.Lock()

    def __call__(self, environ: Any, start_response: Any) -> Any:
        self._count(1)
        try:
            with contextlib.closing(self.app(environ, start_response)) as answer:
                yield from answer
        finally:
            self._count(-1)

    def _count(self, by: int) -> None:
        with self._lock:
            self.under_way += by


@contextmanager
def serve(app: Flask) -> Iterator[str]:
    """Serve an app on a free port; give its address.

    At the end no request is under way: its thread would go on in the next test's database.
    """
    counted = _Counted(app)
    server = make_server("127.0.0.1", 0, counted, _Server, _Handler)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        wait_until(lambda: counted.under_way == 0, "every request is answered")
