"""What a registration costs the person who waits: mail sent in the request, against mail queued.

Both in one process, on the same SQLite; the peer sends by Flask-Mail to the same SMTP server. Run
as `python -m benchmarks.services`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import socketserver
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HOME = Path(tempfile.mkdtemp(prefix="jd-bench-"))
SOCKET = HOME / "r.sock"
PEER_TIMEOUT_S = 5
REPLY_S = 0.25  # a relay far away: seven replies make a mail of about two seconds
ROUNDS, CALLS = 3, 20


class Smtp(socketserver.StreamRequestHandler):
    """The least of SMTP: says yes to everything, after `delay_s`."""

    delay_s = 0.0

    def handle(self) -> None:
        self.say("220 bench")
        while line := self.rfile.readline():
            word = line[:4].upper()
            if word == b"DATA":
                self.say("354 go on")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
            self.say("221 bye" if word == b"QUIT" else "250 ok")
            if word == b"QUIT":
                return

    def say(self, text: str) -> None:
        time.sleep(Smtp.delay_s)
        self.wfile.write(f"{text}\r\n".encode())


@contextlib.contextmanager
def smtp_server() -> Iterator[int]:
    """Serve SMTP on a free port."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Smtp) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextlib.contextmanager
def redis_server() -> Iterator[subprocess.Popen[bytes]]:
    """Run a real server on SOCKET."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server") or "redis-server"
    options = f"--port 0 --unixsocket {SOCKET} --dir {HOME} --appendonly yes --save".split()
    server = subprocess.Popen([binary, *options, ""], stdout=subprocess.DEVNULL)
    while not SOCKET.exists():
        time.sleep(0.01)
    yield server
    server.kill()
    server.wait()


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def peer(port: int) -> Callable[[int], bool]:
    """Return a registration that sends its mail in the request, and whether it succeeded."""
    from flask import Flask, request
    from flask_mail import Mail, Message

    from tasks import domain
    from tasks.database import session

    app = Flask("before")
    app.config.update(
        MAIL_SERVER="127.0.0.1", MAIL_PORT=port, MAIL_DEFAULT_SENDER="a@academy.example"
    )
    mail = Mail(app)

    @app.post("/registrations")
    def register() -> tuple[dict[str, str], int]:
        given = request.get_json()
        with session() as db:
            domain.person(db, given["email"], given["name"], "en", None)
        mail.send(Message("Your code", [given["email"]], "Your code is 482913."))
        return {}, 202

    client = app.test_client()
    return lambda n: client.post("/registrations", json=person("before", n)).status_code == 202


def queued() -> Callable[[int], bool]:
    """Return the academy's registration, and whether it succeeded."""
    from flask import Flask

    import academy

    app = Flask("after")
    academy.init_app(app, lambda role: None)
    client = app.test_client()
    path = "/api/academy/registrations"
    return lambda n: client.post(path, json=person("after", n)).status_code == 202


def person(who: str, number: int) -> dict[str, str]:
    """Return somebody new."""
    return {"email": f"{who}{number}-{time.monotonic_ns()}@example.org", "name": "Ada"}


def measure(call: Callable[[int], bool], calls: int) -> tuple[list[float], int]:
    """Return the milliseconds of each call, and how many succeeded."""
    taken, done = [], 0
    for number in range(calls):
        began = time.perf_counter()
        with contextlib.suppress(Exception):
            done += call(number)
        taken.append((time.perf_counter() - began) * 1000)
    return taken, done


def row(name: str, before: Callable[[int], bool], after: Callable[[int], bool], calls: int) -> None:
    """Print one line: both sides in turns, medians over all rounds."""
    ours: list[float] = []
    theirs: list[float] = []
    ok = [0, 0]
    for _ in range(ROUNDS):
        taken, done = measure(before, calls)
        theirs += taken
        ok[0] += done
        taken, done = measure(after, CALLS)
        ours += taken
        ok[1] += done
    p50, slow = statistics.median(ours), statistics.median(theirs)
    ratio = f"{slow / p50:.1f}x" if ok[0] else "fails"
    shares = f"{ok[0]}/{len(theirs)}", f"{ok[1]}/{len(ours)}"
    print(
        f"{name:<36} {slow:>9.1f} {shares[0]:>7} {p50:>9.1f} {max(ours):>9.1f} {shares[1]:>7} {ratio:>8}"
    )


def main() -> None:
    """Print the table."""
    os.environ.update(DATA_DIR=str(HOME / "var"), REDIS_URL=f"unix://{SOCKET}")
    socket.setdefaulttimeout(PEER_TIMEOUT_S)  # the peer has no timeout of its own
    from tasks import database, outbox

    database.upgrade()
    logging.disable(logging.CRITICAL)  # the peer's failures are counted, not read
    print(f"{'':<36} {'in the request':>17} {'queued':>27}")
    print(f"{'':<36} {'p50 ms':>9} {'ok':>7} {'p50 ms':>9} {'worst ms':>9} {'ok':>7} {'ratio':>8}")
    with (
        redis_server() as redis,
        smtp_server() as port,
        socket.create_server(("127.0.0.1", 0)) as mute,
    ):
        after, before = queued(), peer(port)
        measure(after, 5), measure(before, 5)
        row("SMTP beside it answers at once", before, after, CALLS)
        Smtp.delay_s = REPLY_S
        row(f"SMTP answers after {REPLY_S * 1000:.0f} ms each", before, after, 2)
        row("SMTP refuses the connection", peer(free_port()), after, CALLS)
        row(
            f"SMTP accepts and says nothing ({PEER_TIMEOUT_S} s)",
            peer(mute.getsockname()[1]),
            after,
            1,
        )
        Smtp.delay_s = 0.0
        redis.send_signal(signal.SIGSTOP)
        row("Redis says nothing", before, after, CALLS)
        redis.send_signal(signal.SIGCONT)
        redis.kill()
        row("Redis is gone", before, after, CALLS)
        print(f"\n{outbox.waiting()[0]} jobs wait in the outbox for Redis; none was lost.")
        outbox.stop()
    shutil.rmtree(HOME, ignore_errors=True)


if __name__ == "__main__":
    main()
