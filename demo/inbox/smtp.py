"""The SMTP server: takes every mail, unless a knob says otherwise."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from demo.inbox.knobs import KnobBox, Knobs, Phase
from demo.inbox.store import Store

LARGEST = 25 * 1024 * 1024
HOST = "127.0.0.1"


class Wire(SMTP):
    """One connection. Each command first passes the knobs of its phase."""

    def __init__(self, handler: Keep, knobs: KnobBox) -> None:
        self._knobs = knobs
        super().__init__(handler, hostname="inbox.localhost", ident="Jobdeck demo inbox",
                         enable_SMTPUTF8=True, data_size_limit=LARGEST)  # fmt: skip

    async def _handle_client(self) -> None:
        await self._pass("connect")
        await super()._handle_client()

    async def smtp_NOOP(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        """Say that the connection lives, if it does."""
        if self._knobs.now.refuse == "connect":
            await hang_up(self)
        await super().smtp_NOOP(arg)

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802 - aiosmtpd's name
        """Take the sender."""
        await self._pass("mail")
        await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802 - aiosmtpd's name
        """Take a recipient."""
        address = (arg or "").partition("<")[2].partition(">")[0]
        await self._pass("rcpt", [address])
        await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        """Take the mail."""
        await self._pass("data", self._recipients())
        await super().smtp_DATA(arg)

    async def push(self, status: Any) -> None:
        """Answer; 354 begins the body."""
        await super().push(status)
        if str(status).startswith("354"):
            await self._pass("body", self._recipients())

    def _recipients(self) -> list[str]:
        return list(self.envelope.rcpt_tos) if self.envelope else []

    async def _pass(self, phase: Phase, recipients: list[str] | None = None) -> None:
        """Wait, or close the connection, as the knobs say for this phase."""
        await faults(self, self._knobs.now, phase, recipients or [])


async def faults(wire: SMTP, knobs: Knobs, phase: Phase, recipients: list[str]) -> None:
    """Wait as long as the knobs say for a phase; close the connection if they say so.

    A server that refuses connections has lost those it had.
    """
    if knobs.refuse == "connect":
        await hang_up(wire)
    if not knobs.concerns(recipients):
        return
    delay_s = knobs.delay_s.get(phase, 0.0)
    if delay_s:
        await asyncio.sleep(delay_s)
    if knobs.drop == phase:
        await hang_up(wire)


async def hang_up(wire: SMTP) -> None:
    """Close the connection; the session ends here, cancelled by its loss."""
    if wire.transport is not None:
        wire.transport.close()
        await asyncio.Event().wait()


class Keep:
    """What happens to a mail: it is kept, or refused as the knobs say."""

    def __init__(self, store: Store, knobs: KnobBox) -> None:
        self._store, self._knobs = store, knobs

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer a recipient; nobody lives at nobody.example, whatever the knobs say."""
        knobs = self._knobs.now
        if knobs.concerns([address]) and knobs.refuse == "rcpt4":
            return "451 4.2.1 Mailbox busy, try again later"
        unknown = address.lower().endswith("@nobody.example")
        if unknown or (knobs.concerns([address]) and knobs.refuse == "rcpt5"):
            return f"550 5.1.1 <{address}>: no such user here"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Keep the mail. With a drop at the dot it is kept too: the sender cannot know."""
        knobs, recipients = self._knobs.now, list(envelope.rcpt_tos)
        if knobs.concerns(recipients) and knobs.refuse == "data4":
            return "451 4.3.0 Try again later"
        raw = envelope.original_content or b""
        mail = self._store.add(envelope.mail_from or "", recipients, raw)
        await faults(server, knobs, "dot", recipients)
        return f"250 2.0.0 OK queued as {mail.id}"


class Door:
    """The server, on an event loop in a thread of its own."""

    def __init__(self, store: Store, knobs: KnobBox, port: int) -> None:
        self._make = lambda: Wire(Keep(store, knobs), knobs)
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._thread.start()
        listening = self._loop.create_server(self._make, HOST, self.port)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(timeout=10)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Close every connection."""
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    async def _cancel_all(self) -> None:
        """Close the door and end the sessions, so that the loop can close with nothing left."""
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # the closed sockets are let go on the loop's next turn
