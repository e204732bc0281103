"""Mails on disk, the newest thousand: each one file, its envelope in the first line."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

KEPT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail in the list."""

    id: str
    at: datetime
    sender: str
    to: tuple[str, ...]
    subject: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A mail, whole; `html` and `text` are None where it has no such part."""

    mail: Mail
    headers: list[tuple[str, str]]
    text: str | None
    html: str | None
    source: str
    attachments: list[str]


class Store:
    """The kept mails, oldest first in memory, one file each in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock, self._counter = folder, threading.Lock(), itertools.count()
        folder.mkdir(parents=True, exist_ok=True)
        self._mails: dict[str, Mail] = {}
        for path in sorted(folder.glob("*.mail")):
            with contextlib.suppress(OSError, ValueError, KeyError):
                self._mails[path.stem] = _listed(path.stem, *_split(path.read_bytes()))
        self.version = 0

    def add(self, sender: str, to: list[str], raw: bytes) -> Mail:
        """Keep a mail; the oldest beyond a thousand goes."""
        name = f"{time.time_ns() // 1_000_000:x}-{next(self._counter):04x}"
        envelope: dict[str, object] = {
            "at": datetime.now(UTC).isoformat(), "from": sender, "to": to,
        }  # fmt: skip
        draft = self._folder / f"{name}.new"
        draft.write_bytes(json.dumps(envelope).encode() + b"\n" + raw)
        draft.rename(self._folder / f"{name}.mail")
        with self._lock:
            self._mails[name] = _listed(name, envelope, raw)
            while len(self._mails) > KEPT:
                oldest = next(iter(self._mails))
                del self._mails[oldest]
                (self._folder / f"{oldest}.mail").unlink(missing_ok=True)
            self.version += 1
            return self._mails[name]

    def find(self, to: str = "", limit: int = 100) -> tuple[list[Mail], int]:
        """Return the newest mails whose recipient or subject has `to` in it, and how many match."""
        with self._lock:
            mails = list(self._mails.values())
        wanted = to.lower()
        found = [
            mail
            for mail in reversed(mails)
            if wanted in ",".join(mail.to).lower() or wanted in mail.subject.lower()
        ]
        return found[:limit], len(found)

    def open(self, name: str) -> Opened | None:
        """Return one mail, whole; None when there is none of that name."""
        mail = self._mails.get(name)
        if mail is None:
            return None
        _, raw = _split((self._folder / f"{name}.mail").read_bytes())
        message = _parse(raw)
        return Opened(
            mail=mail,
            headers=[(key, str(value)) for key, value in message.items()],
            text=_body(message, "plain"),
            html=_body(message, "html"),
            source=raw.decode("utf-8", "replace"),
            attachments=[part.get_filename() or "unnamed" for part in message.iter_attachments()],
        )

    def clear(self) -> None:
        """Remove every mail."""
        with self._lock:
            for name in self._mails:
                (self._folder / f"{name}.mail").unlink(missing_ok=True)
            self._mails.clear()
            self.version += 1


def _split(kept: bytes) -> tuple[dict[str, object], bytes]:
    first, _, raw = kept.partition(b"\n")
    return json.loads(first), raw


def _parse(raw: bytes) -> EmailMessage:
    return message_from_bytes(raw, policy=policy.default)


def _listed(name: str, envelope: dict[str, object], raw: bytes) -> Mail:
    head = raw.partition(b"\r\n\r\n")[0]
    to = envelope["to"]
    return Mail(
        id=name,
        at=datetime.fromisoformat(str(envelope["at"])),
        sender=str(envelope["from"]),
        to=tuple(to) if isinstance(to, list) else (str(to),),
        subject=str(_parse(head + b"\r\n\r\n").get("Subject", "")),
        size=len(raw),
    )


def _body(message: EmailMessage, kind: str) -> str | None:
    part = message.get_body((kind,))
    if part is None:
        return None
    try:
        return str(part.get_content())
    except (LookupError, ValueError):
        payload = part.get_payload(decode=True)
        return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else str(payload)
