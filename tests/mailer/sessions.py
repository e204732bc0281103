"""Short ways to open an SMTP session, send a mail over it and close it."""

from __future__ import annotations

from typing import Any

from scripted_smtp import ScriptedServer
from waiting import PATIENCE_S

from tasks.mailer.transport import Reply, Server, SmtpSession

BODY = b"Subject: hello\r\n\r\nhello\r\n"


def server_of(smtp: ScriptedServer, **options: Any) -> Server:
    return Server(**({"host": "127.0.0.1", "port": smtp.port, "timeout_s": PATIENCE_S} | options))


def send(session: SmtpSession, to: str = "ada@example.org", body: bytes = BODY,
         **options: Any) -> Reply:  # fmt: skip
    nothing: Any = {"before_dot": lambda: None, "say": lambda phase: None}
    return session.send("no-reply@academy.example", to, body, **(nothing | options))


class Impatient(SmtpSession):
    """A session that waits long for every reply but that of one phase."""

    hurried = ""

    def _command(self, phase: str, line: str, wanted: int = 2) -> Reply:
        self._need.sock.settimeout(0.2 if phase == self.hurried else self.server.timeout_s)
        return super()._command(phase, line, wanted)


def deliver(server: Server, kind: Any = SmtpSession, hurried: str = "", **options: Any) -> Reply:
    """Open, send and close, whatever happens."""
    session = kind(server)
    if kind is Impatient:
        session.hurried = hurried
    try:
        session.open()
        return send(session, **options)
    finally:
        session.close()
