"""SMTP sessions that say in which phase a fault came, kept alive in a pool.

The only module that imports smtplib and flask_mail.
"""

from __future__ import annotations

import contextlib
import os
import re
import smtplib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from flask_mail import Message as FlaskMessage

MAILS_EACH, AGE_S, CHECK_AFTER_IDLE_S, CLOSE_AFTER_IDLE_S = 100, 300.0, 10.0, 30.0
QUIT_S = 2.0
ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})\b")
QUEUE_ID = re.compile(r"\b(?:queued as|id[ =:])\s*([\w.-]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where mail goes. `timeout_s` is the longest wait for one reply."""

    host: str
    port: int
    username: str = ""
    password: str = ""
    starttls: bool = False
    tls: bool = False
    timeout_s: float = 30.0

    @property
    def name(self) -> str:
        """Return host and port as people write them."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said."""

    code: int
    text: str

    @property
    def enhanced(self) -> str:
        """Return the enhanced status code (RFC 3463), empty where there is none."""
        match = ENHANCED.match(self.text)
        return match[1] if match else ""

    @property
    def queue_id(self) -> str:
        """Return the id under which the server queued the mail, where it says one."""
        match = QUEUE_ID.search(self.text)
        return match[1] if match else ""


class SmtpFault(Exception):
    """A delivery stopped in `phase`: connect, tls, auth, mail, rcpt, data, body or dot.

    `reply` is None when there was none: the connection failed or timed out.
    """

    def __init__(self, phase: str, reply: Reply | None, cause: BaseException | None = None) -> None:
        self.phase, self.reply = phase, reply
        said = f"{reply.code} {reply.text}" if reply else _words(cause)
        super().__init__(f"{said} (at {phase})")
        self.__cause__ = cause

    @property
    def lost(self) -> bool:
        """Tell whether the connection was lost or silent, rather than refused for a reason."""
        cause = self.__cause__
        lost = (TimeoutError, ConnectionError, smtplib.SMTPServerDisconnected, ssl.SSLEOFError)
        return self.reply is None and isinstance(cause, lost)


def _words(cause: BaseException | None) -> str:
    if isinstance(cause, TimeoutError) or cause and isinstance(cause.__context__, TimeoutError):
        return "no reply in time"  # smtplib calls this a closed connection too
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    if isinstance(cause, smtplib.SMTPServerDisconnected):
        return "the server closed the connection"
    return str(cause) or type(cause).__name__


@dataclass(slots=True)
class SmtpSession:
    """One connection to the server."""

    server: Server
    lines: list[tuple[float, str, str]] = field(default_factory=list)
    mails: int = 0
    opened_at: float = field(default_factory=time.monotonic)
    used_at: float = field(default_factory=time.monotonic)
    pid: int = field(default_factory=os.getpid)
    _smtp: smtplib.SMTP | None = None
    _began: float = 0.0

    def open(self) -> None:
        """Connect, secure and sign in. Raises SmtpFault at connect, tls or auth."""
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        with self._phase("connect"):
            self._connect()
        if self.server.starttls:
            with self._phase("tls"):
                self._check("tls", self._need.starttls(context=ssl.create_default_context()))
                self._need.ehlo()
        if self.server.username:
            with self._phase("auth"):
                self._need.login(self.server.username, self.server.password)

    @property
    def _need(self) -> smtplib.SMTP:
        if self._smtp is None:
            raise smtplib.SMTPServerDisconnected("not connected")
        return self._smtp

    def _connect(self) -> None:
        timeout = self.server.timeout_s / 3
        if self.server.tls:
            made: smtplib.SMTP = smtplib.SMTP_SSL(
                timeout=timeout, context=ssl.create_default_context()
            )
        else:
            made = smtplib.SMTP(timeout=timeout)
        made._host = self.server.host  # type: ignore[attr-defined]  # both ways to TLS check it
        self._smtp = made
        try:
            answer = made.connect(self.server.host, self.server.port)
        except ssl.SSLError as exc:
            raise SmtpFault("tls", None, exc) from exc
        self._check("connect", answer)
        if made.sock:
            made.sock.settimeout(self.server.timeout_s)
        made.ehlo_or_helo_if_needed()

    @contextlib.contextmanager
    def _phase(self, phase: str) -> Iterator[None]:
        """Turn whatever goes wrong into a fault of this phase, and drop the connection."""
        try:
            yield
        except SmtpFault:
            raise
        except smtplib.SMTPResponseException as exc:
            self.close()
            raise SmtpFault(phase, _reply(exc.smtp_code, exc.smtp_error), exc) from exc
        except (smtplib.SMTPException, OSError, ValueError) as exc:
            self.close()
            raise SmtpFault(phase, None, exc) from exc

    def _check(self, phase: str, answer: tuple[int, bytes], wanted: int = 2) -> Reply:
        reply = _reply(*answer)
        self._note("<", f"{reply.code} {reply.text}")
        if not 200 <= reply.code <= 599:
            raise smtplib.SMTPServerDisconnected(f"the server said {reply.text[:80]!r}: no reply")
        if reply.code // 100 != wanted:
            raise SmtpFault(phase, reply)
        return reply

    def _note(self, way: str, text: str) -> None:
        self.lines.append((time.monotonic() - self._began, way, text[:500]))

    def _command(self, phase: str, line: str, wanted: int = 2) -> Reply:
        self._note(">", line)
        return self._check(phase, self._need.docmd(line), wanted)

    def send(self, sender: str, to: str, body: bytes, *, before_dot: Callable[[], None],
             say: Callable[[str], None]) -> Reply:  # fmt: skip
        """Deliver one mail to one recipient.

        Args:
            before_dot: called when all but the final dot was sent; what it raises stops the mail.
            say: called with each phase that was passed.
        Returns: the reply to the final dot.
        Raises: SmtpFault.
        """
        self.lines, self._began = [], time.monotonic()
        try:
            self._transfer(sender, to, body, say)
            before_dot()
        except SmtpFault:
            raise  # a refused transaction may be reset
        except BaseException:
            self.close()  # without the final dot nothing was accepted
            raise
        with self._phase("dot"):
            reply = self._dot()
        self.mails += 1
        self.used_at = time.monotonic()
        return reply

    def _transfer(self, sender: str, to: str, body: bytes, say: Callable[[str], None]) -> None:
        """Send all but the final dot. Raises SmtpFault."""
        options = self._options(sender, to)
        with self._phase("mail"):
            self._command("mail", f"MAIL FROM:<{sender}>{options}")
        with self._phase("rcpt"):
            self._command("rcpt", f"RCPT TO:<{to}>")
        say("rcpt")
        with self._phase("data"):
            self._command("data", "DATA", 3)
        with self._phase("body"):
            self._need.send(smtplib._quote_periods(_ended(body)))  # type: ignore[attr-defined]
        say("body")

    def _options(self, sender: str, to: str) -> str:
        smtp = self._need
        if (sender + to).isascii():
            return ""
        if not smtp.has_extn("smtputf8"):
            raise SmtpFault("rcpt", Reply(553, "5.6.7 the server takes no international addresses"))
        smtp.command_encoding = "utf-8"
        return " SMTPUTF8 BODY=8BITMIME"

    def _dot(self) -> Reply:
        smtp = self._need
        if smtp.sock:
            smtp.sock.settimeout(self.server.timeout_s * 10)
        smtp.send(b".\r\n")
        answer = smtp.getreply()
        if smtp.sock:
            smtp.sock.settimeout(self.server.timeout_s)
        return self._check("dot", answer)

    def fresh(self) -> bool:
        """Tell whether the connection may carry another mail; asks the server after idling."""
        now = time.monotonic()
        idle = now - self.used_at
        if self._smtp is None or self.pid != os.getpid() or self.mails >= MAILS_EACH:
            return False
        if now - self.opened_at > AGE_S or idle > CLOSE_AFTER_IDLE_S:
            return False
        if idle <= CHECK_AFTER_IDLE_S:
            return True
        try:
            return self._smtp.noop()[0] == 250
        except (smtplib.SMTPException, OSError):
            return False

    def reset(self) -> bool:
        """Clear a refused transaction; False when the connection is of no more use."""
        try:
            return self._smtp is not None and self._smtp.rset()[0] == 250
        except (smtplib.SMTPException, OSError):
            return False

    def close(self) -> None:
        """Close without waiting: nothing after the 250 matters."""
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None

    def quit(self) -> None:
        """Say QUIT; its errors are ignored, the mail is accepted already."""
        if self._smtp is not None:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                if self._smtp.sock:
                    self._smtp.sock.settimeout(QUIT_S)
                self._smtp.quit()
        self.close()


def _reply(code: int, text: bytes | str) -> Reply:
    words = text.decode(errors="replace") if isinstance(text, bytes) else text
    return Reply(code, " ".join(words.split()))


def _ended(body: bytes) -> bytes:
    return body if body.endswith(b"\r\n") else body + b"\r\n"


class Pool:
    """Connections kept for the next mail; each is used by one thread at a time."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._lock = threading.Lock()
        self._idle: list[SmtpSession] = []

    def take(self, *, new: bool = False) -> tuple[SmtpSession, bool]:
        """Return an open connection, and whether it was used before. Raises SmtpFault."""
        while True:
            with self._lock:
                session = self._idle.pop() if self._idle and not new else None
            if session is None:
                made = SmtpSession(self.server)
                made.open()
                return made, False
            if session.fresh():
                return session, True
            session.close() if session.pid != os.getpid() else session.quit()

    def give(self, session: SmtpSession) -> None:
        """Put a connection back after a mail that went well, or one that was refused."""
        with self._lock:
            self._idle.append(session)

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.quit()


def as_flask_message(subject: str, to: str, sender: str, text: str, html: str) -> FlaskMessage:
    """Return the mail as Flask-Mail's Message, for hosts that listen to its signal."""
    return FlaskMessage(subject=subject, recipients=[to], sender=sender, body=text, html=html)
