"""An email type and its data -> subject, HTML and text; then the bytes that go over the wire.

The bytes are a pure function of their input: a retry sends the same ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from email.charset import QP, Charset
from email.header import Header
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart
from email.policy import compat32
from email.utils import format_datetime, formataddr, parseaddr
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import css_inline
from babel.dates import format_datetime as babel_datetime
from babel.numbers import format_currency, get_currency_precision
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.mailer.messages import Data, EmailType

TEMPLATES = Path(__file__).parent / "templates"
LINE_LIMIT = 900
WIRE = compat32.clone(linesep="\r\n")


@dataclass(frozen=True, slots=True)
class Brand:
    """Who sends: product name, sender address, support address, base of links."""

    product: str
    sender: str
    support: str
    base_url: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """One email as people see it; `size` in bytes of the HTML."""

    subject: str
    html: str
    text: str

    @property
    def size(self) -> int:
        """Bytes of the HTML part; mailboxes cut it off over about 100 000."""
        return len(self.html.encode())


@cache
def _environment(html: bool) -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, autoescape=html,  # noqa: S701 - text has no markup
        trim_blocks=html, lstrip_blocks=html, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters["money"] = money
    made.filters["moment"] = moment
    return made


@cache
def _inliner() -> css_inline.CSSInliner:
    return css_inline.CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)


def money(minor: int, currency: str, locale: str) -> str:
    """Return integer minor units as money, such as €1,249.00."""
    amount = Decimal(minor).scaleb(-get_currency_precision(currency))
    return format_currency(amount, currency, locale=locale)


def moment(at: datetime, locale: str, timezone: str | None) -> str:
    """Return an instant as a date and time in the person's zone, UTC where it is not known."""
    zone = ZoneInfo("UTC")
    with contextlib.suppress(ZoneInfoNotFoundError, ValueError, OSError):  # a folder is an OSError
        zone = ZoneInfo(timezone or "UTC")
    return f"{babel_datetime(at.astimezone(zone), 'd MMMM yyyy, HH:mm', locale=locale)} {zone.key}"


def render(kind: EmailType, data: Data, brand: Brand) -> Rendered:
    """Render one email. Raises jinja2.TemplateError for a template that asks for what is not there."""
    values: dict[str, Any] = {**data.model_dump(), "brand": brand}
    text = _environment(False).get_template(f"{kind.name}.txt").render(values)
    first, _, body = text.partition("\n")
    subject = first.removeprefix("Subject: ").strip()
    html = (
        _environment(True).get_template(f"{kind.name}.html").render({**values, "subject": subject})
    )
    return Rendered(
        subject=subject,
        html=_inliner().inline(html),
        text=re.sub(r"\n{3,}", "\n\n", body).strip() + "\n",
    )


def message_id(key: str, sender: str) -> str:
    """Return the Message-ID of a key, the same on every attempt."""
    domain = parseaddr(sender)[1].rpartition("@")[2]
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@{domain}>"


def _part(text: str, subtype: str) -> MIMENonMultipart:
    charset = Charset("utf-8")
    charset.body_encoding = QP
    part = MIMENonMultipart("text", subtype, policy=WIRE, charset="utf-8")
    part.set_payload(text.replace("\r\n", "\n"), charset)
    return part


def _token(value: str) -> str:
    """Check a header of plain ASCII, which must not be folded. Raises ValueError."""
    if not re.fullmatch(rf"[\x20-\x7e]{{1,{LINE_LIMIT}}}", value):
        raise ValueError(
            f"{value[:60]!r} cannot be a mail header: plain ASCII up to {LINE_LIMIT} characters is expected"
        )
    return value


def build(rendered: Rendered, *, to: str, brand: Brand, msg_id: str, at: datetime,
          headers: dict[str, str] | None = None) -> bytes:  # fmt: skip
    """Return the mail as it goes over the wire: CRLF line ends, no line over 998 octets.

    Raises: ValueError for a header that is refused.
    """
    digest = hashlib.sha256(msg_id.encode()).hexdigest()[:24]
    mail = MIMEMultipart("alternative", boundary=f"=_{digest}", policy=WIRE)
    name, address = parseaddr(brand.sender)
    label = name or brand.product
    mail["From"] = formataddr(
        (Header(label, "utf-8").encode() if not label.isascii() else label, address)
    )
    # As UTF-8 (RFC 6532) where it is not ASCII: only a server with SMTPUTF8 gets such a mail.
    mail["To"] = _token(to) if to.isascii() else to.encode().decode("ascii", "surrogateescape")
    mail["Subject"] = Header(
        rendered.subject, "utf-8" if not rendered.subject.isascii() else None, 76, "Subject"
    )  # type: ignore[assignment]
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = _token(msg_id)
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    for header, value in (headers or {}).items():
        mail[_token(header)] = _token(value)
    mail.attach(_part(rendered.text, "plain"))
    mail.attach(_part(rendered.html, "html"))
    return mail.as_bytes(policy=WIRE)
