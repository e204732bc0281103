"""What many open tabs cost: the overview in a hundred of them, asked for as often as a page does.

The web process of the Procfile on a Redis and a SQLite of its own, two figures a row: nothing happens,
and a job is queued twice a second. Each tab asks with the mark of what it shows, as app.js does.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import redis

from benchmarks.stage import counters, running, server, table

TABS, EACH_S, SECONDS, THREADS = 100, 2.0, 30, 10
EMAIL, PASSWORD = "ada@example.org", secrets.token_hex(12)
MARK = re.compile(r'data-etag="([0-9a-f]+)"')
TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


class Tab:
    """One open page: its cookie, and the mark of what it shows."""

    def __init__(self, port: int, cookie: str) -> None:
        self.port, self.cookie, self.mark = port, cookie, ""
        self.taken: list[float] = []
        self.bodies = 0

    def ask(self, connection: http.client.HTTPConnection) -> None:
        """Ask for the live region once."""
        headers = {"HX-Request": "true", "Cookie": self.cookie, "If-None-Match": f'"{self.mark}"'}
        began = time.perf_counter()
        connection.request("GET", "/", headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        if answer.status not in (200, 304):
            raise RuntimeError(f"the overview answered {answer.status}: not signed in")
        self.taken.append((time.perf_counter() - began) * 1000)
        if answer.status == 200 and (found := MARK.search(body)):
            self.bodies += 1
            self.mark = found[1]


def signed_in(port: int) -> str:
    """Sign in as the first operator. Returns: the session's cookie."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/login")
    first = connection.getresponse()
    token = TOKEN.search(first.read().decode())
    cookie = (first.getheader("Set-Cookie") or "").partition(";")[0]
    form = {"email": EMAIL, "password": PASSWORD, "csrf_token": token[1] if token else ""}
    connection.request("POST", "/login", urlencode(form), {
        "Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"})  # fmt: skip
    answer = connection.getresponse()
    answer.read()
    return (answer.getheader("Set-Cookie") or "").partition(";")[0]


@contextlib.contextmanager
def web(folder: Path, url: str) -> Iterator[tuple[int, int]]:
    """Start the web process as the Procfile does. Returns: its port, and the process that answers."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    env = os.environ | {
        "DATA_DIR": str(folder / "data"), "REDIS_URL": url, "ADMIN_EMAIL": EMAIL, "ADMIN_PASSWORD": PASSWORD,
        "PORT": str(port), "APP_ENV": "development"}  # fmt: skip
    home = Path(sys.executable).parent
    subprocess.run([home / "flask", "db", "upgrade"], env=env, check=True, capture_output=True)
    command = [str(home / "gunicorn"), "wsgi:app", "-b", f"127.0.0.1:{port}", "-k", "gthread", "--threads", "8"]  # fmt: skip
    with running(command, env) as master:
        yield port, _answers(port, master)


def _answers(port: int, master: int) -> int:
    """Wait until the web process answers. Returns: the process that does."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/login")
            if connection.getresponse().status == 200:
                return int(Path(f"/proc/{master}/task/{master}/children").read_text().split()[0])
        time.sleep(0.1)
    raise TimeoutError("the web process does not answer")


def look(tabs: list[Tab], until: float) -> None:
    """Let some tabs ask in turn, each every EACH_S seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", tabs[0].port)
    began, turn = time.monotonic(), 0
    while (now := time.monotonic()) < until:
        due = began + turn * EACH_S / len(tabs)
        if now < due:
            time.sleep(due - now)
        tabs[turn % len(tabs)].ask(connection)
        turn += 1


def one(port: int, pid: int, client: redis.Redis, cookie: str, *, moving: bool) -> list[object]:
    """Let a hundred tabs look for a while. Returns: a row of the table."""
    from tasks.maintenance import clean_up

    tabs = [Tab(port, cookie) for _ in range(TABS)]
    until = time.monotonic() + SECONDS
    threads = [
        threading.Thread(target=look, args=(tabs[n::THREADS], until)) for n in range(THREADS)
    ]
    before = counters(client, pid)
    for thread in threads:
        thread.start()
    while time.monotonic() < until:
        if moving:
            clean_up.schedule(delay=3600)
        time.sleep(0.5)
    for thread in threads:
        thread.join()
    after = counters(client, pid)
    taken = sorted(ms for tab in tabs for ms in tab.taken)
    asked = max(1, len(taken))
    return [
        "a job queued twice a second" if moving else "nothing happens", f"{len(taken) / SECONDS:.0f}",
        f"{sum(tab.bodies for tab in tabs) / asked:.0%}", f"{(after['reads'] - before['reads']) / SECONDS:.1f}",
        f"{(after['process_s'] - before['process_s']) / SECONDS:.1%}",
        f"{statistics.median(taken):.1f} / {taken[asked * 95 // 100]:.1f}",
    ]  # fmt: skip


def run() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as url:
        os.environ.update(REDIS_URL=url, DATA_DIR=str(Path(name) / "data"))
        with web(Path(name), url) as (port, pid):
            client, cookie = redis.Redis.from_url(url), signed_in(port)
            rows = [one(port, pid, client, cookie, moving=moving) for moving in (False, True)]
            client.close()
    table(f"{TABS} tabs on the overview, each asks every {EACH_S:.0f} s, for {SECONDS} s",
          ["", "asked a second", "answered anew", "Redis calls a second", "of a core", "ms p50 / p95"], rows)  # fmt: skip
