"""An SMTP server that does at each step what the test says, and counts what it accepted."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import ssl
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

DROP, STALL = "drop", "stall"
USUAL = {
    "banner": "220 mx.example ESMTP", "noop": "250 2.0.0 OK", "rset": "250 2.0.0 OK",
    "starttls": "220 2.0.0 go ahead", "auth": "235 2.7.0 welcome", "mail": "250 2.1.0 OK",
    "rcpt": "250 2.1.5 OK", "data": "354 go ahead", "body": "", "dot": "250 2.0.0 OK: queued as {id}",
    "quit": "221 2.0.0 bye",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Accepted:
    """One mail the server took: `wire` is what came, `mail` without the added dots."""

    sender: str
    to: str
    options: str
    wire: bytes
    connection: int

    @property
    def mail(self) -> bytes:
        return re.sub(rb"(?m)^\.", b"", self.wire)


class ScriptedServer:
    """Listens on a port of its own; `next(rcpt="550 …")` says what the next command gets.

    An action is a reply, `drop`, `stall`, or a reply then `drop` as "250 OK|drop"; `{id}` is the
    queue id. At `body` it happens after the 354, before the final dot. `hooks` are called there.
    """

    def __init__(self, *, extensions: str = "8BITMIME SMTPUTF8", context: ssl.SSLContext | None = None,
                 implicit: bool = False) -> None:  # fmt: skip
        self.extensions, self.context, self.implicit = extensions, context, implicit
        self.actions: dict[str, deque[str]] = defaultdict(deque)
        self.always: dict[str, str] = {}
        self.hooks: dict[str, Callable[[], object]] = {}
        self.accepted: list[Accepted] = []
        self.commands: list[str] = []
        self.connections = 0
        self.port = 0
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._listener: socketserver.ThreadingTCPServer | None = None

    def next(self, **actions: str) -> None:
        """Say what happens at the next command of each phase, once; commands queue up."""
        for phase, action in actions.items():
            self.actions[phase].append(action)

    def action(self, phase: str) -> str:
        if phase in self.hooks:
            self.hooks[phase]()
        found = self.actions[phase]
        return found.popleft() if found else self.always.get(phase, USUAL[phase])

    def start(self) -> ScriptedServer:
        """Listen, after a `stop` on the same port."""
        server = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, _Over):
                    _Connection(server, self.request).serve()

        class Listener(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        self._stopping.clear()
        self._listener = Listener(("127.0.0.1", self.port), Handler)
        self.port = self._listener.server_address[1]
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Refuse and drop every connection."""
        self._stopping.set()
        if self._listener is not None:
            self._listener.shutdown()
            self.drop_all()
            self._listener.server_close()
            self._listener = None

    def drop_all(self) -> None:
        """Close the connections that are open, as a server that restarts does."""
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def said(self, verb: str) -> list[str]:
        """Return the commands that began with `verb`."""
        return [line for line in self.commands if line.upper().startswith(verb)]


class _Over(Exception):
    """The conversation ends."""


class _Connection:
    def __init__(self, server: ScriptedServer, sock: socket.socket) -> None:
        self.server, self.sock = server, sock
        server.connections += 1
        self.number = server.connections
        self.sender = self.to = self.options = ""

    def serve(self) -> None:
        self.server._open.add(self.sock)
        try:
            if self.server.implicit:
                self.secure()
            self.answer("banner")
            self.file = self.sock.makefile("rb")
            while line := self.file.readline():
                self.command(line.decode().rstrip("\r\n"))
        finally:
            self.server._open.discard(self.sock)
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
            self.sock.close()

    def secure(self) -> None:
        assert self.server.context is not None
        self.server._open.discard(self.sock)
        self.sock = self.server.context.wrap_socket(self.sock, server_side=True)
        self.server._open.add(self.sock)

    def say(self, text: str) -> None:
        self.sock.sendall(text.encode() + b"\r\n")

    def answer(self, phase: str) -> str:
        """Do what the script says. Returns: the first digit of the reply."""
        action, _, then = self.server.action(phase).partition("|")
        if action == STALL:
            self.server._stopping.wait(20)
            raise _Over
        if action == DROP:
            raise _Over
        queue_id = f"Q{len(self.server.accepted) + 1}"
        if phase == "dot" and action.startswith("2"):
            self.keep()  # before the reply: a test looks as soon as it has read it
        if action:
            self.say(action.replace("{id}", queue_id))
        if then == DROP:
            raise _Over
        return action[:1]

    def keep(self) -> None:
        self.server.accepted.append(
            Accepted(self.sender, self.to, self.options, self.wire, self.number)
        )

    def command(self, line: str) -> None:
        self.server.commands.append(line)
        verb = line.split(" ", 1)[0].lower()
        if verb in ("ehlo", "helo"):
            self.ehlo()
        elif verb == "data":
            if self.answer("data") == "3":
                self.body()
        elif verb in USUAL:
            self.noted(verb, line)
            given = self.answer(verb)
            if verb == "starttls" and given == "2":
                self.secure()
                self.file = self.sock.makefile("rb")
            if verb == "quit":
                raise _Over
        else:
            self.say("500 5.5.1 what?")

    def ehlo(self) -> None:
        extensions = self.server.extensions.split()
        lines = ["mx.example", *(one.replace("_", " ") for one in extensions)]
        for n, line in enumerate(lines):
            self.say(f"250{'-' if n < len(lines) - 1 else ' '}{line}")

    def noted(self, verb: str, line: str) -> None:
        address = line.partition("<")[2].partition(">")[0]
        if verb == "mail":
            self.sender, self.options = address, line.partition(">")[2].strip()
        if verb == "rcpt":
            self.to = address

    def body(self) -> None:
        self.answer("body")
        lines = []
        while (line := self.file.readline()) not in (b".\r\n", b""):
            lines.append(line)
        if not line:
            raise _Over
        self.wire = b"".join(lines)
        self.answer("dot")
