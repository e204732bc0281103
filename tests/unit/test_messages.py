"""Every mail of every type, as it is read and as it goes over the wire."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from html.parser import HTMLParser
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.mailer import messages
from tasks.mailer.messages import (
    ALERT,
    BY_NAME,
    COURSES,
    MESSAGES,
    NAMES,
    EmailType,
    sample,
)
from tasks.mailer.messages import (
    EVERY as TYPES,
)
from tasks.mailer.render import Brand, Rendered, build, message_id, money, render

BRAND = Brand("Academy", "Academy <no-reply@academy.example>", "support@academy.example",
              "https://academy.example")  # fmt: skip
AT = datetime(2026, 11, 24, 11, 42, 9, tzinfo=UTC)
EVERY = [pytest.param(row, kind, id=f"{row.name}-{kind}") for row in TYPES for kind in NAMES]
EACH = [pytest.param(row, id=row.name) for row in TYPES]
LINK = re.compile(r"https?://[^\s\"<>]+")
AMOUNT = re.compile(r"[€¥$][\d.,]+|[\d.,]+\s[€¥$]")


def rendered(row: EmailType, kind: str = "default", **more: Any) -> Rendered:
    data = sample(row, kind).model_dump()
    return render(row, row.data.model_validate(data | more), BRAND)


def wire(row: EmailType, kind: str = "default", **options: Any) -> bytes:
    options = {"to": "ada@example.org", "brand": BRAND, "at": AT,
               "msg_id": message_id(f"{row.name}:1", BRAND.sender)} | options  # fmt: skip
    return build(rendered(row, kind), **options)


class Seen(HTMLParser):
    """What a reader sees of an HTML mail, its links and its elements."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._hidden = 0
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden += tag in ("style", "title")
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.links.append(href)

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "title")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.mark.parametrize(("row", "kind"), EVERY)
def test_every_mail_renders_whole(row: EmailType, kind: str) -> None:
    mail = rendered(row, kind)
    for part in (mail.subject, mail.text, mail.html):
        assert part.strip()
        left = part.replace("{{7*7}}", "").replace("{% raw %}", "")  # the hostile sample's own
        assert "{{" not in left
        assert "{%" not in left
        assert not re.search(r"\bNone\b|\bUndefined\b", part)
    assert mail.size < 100_000
    assert "Subject:" not in mail.text
    assert mail.text.rstrip().endswith("Academy, support@academy.example")
    assert "You get this" in mail.text
    assert "You get this" in Seen(mail.html).text


@pytest.mark.parametrize(("row", "kind"), EVERY)
def test_both_parts_say_the_same_links_and_amounts(row: EmailType, kind: str) -> None:
    mail = rendered(row, kind)
    seen = Seen(mail.html)
    links = {link for link in seen.links if not link.startswith("mailto:")}
    assert links == set(LINK.findall(mail.text))
    for link in links:
        assert link in seen.text  # the address itself, for those whose button does not work
    assert set(AMOUNT.findall(seen.text)) == set(AMOUNT.findall(mail.text))


@pytest.mark.parametrize("row", EACH)
def test_all_that_a_mail_is_given_is_in_both_parts(row: EmailType) -> None:
    data = sample(row, "default")
    mail = rendered(row)
    body = Seen(mail.html).text
    for name, value in row.sample.items():
        if name in ("amount_minor", "currency", "paid_at", "due_at", "event", "opened_at"):
            continue
        assert str(value) in mail.text, name
        assert str(value) in body.replace("482 913", "482913"), name
    assert data.name in mail.text
    assert data.name in body


@pytest.mark.parametrize("row", EACH)
def test_hostile_values_are_escaped_in_html_and_left_alone_in_text(row: EmailType) -> None:
    mail = rendered(row, "hostile")
    assert NAMES["hostile"] in mail.text
    tags = [tag for tag, _ in Seen(mail.html).tags]
    assert "script" not in tags
    assert "b" not in tags
    assert html.escape("<b>x</b> {{7*7}}") in mail.html
    if "course" in row.sample:
        assert COURSES["hostile"] in mail.text
        assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; {% raw %}" in mail.html
    assert "&lt;" not in mail.text
    assert "&amp;" not in mail.text


@pytest.mark.parametrize("row", EACH)
def test_names_with_marks_are_unharmed_in_text(row: EmailType) -> None:
    assert "Zoë Łukasz-O’Neil" in rendered(row, "unicode").text
    assert "O'Neil & Sons" in rendered(row, name="O'Neil & Sons").text


@pytest.mark.parametrize(("row", "kind"), EVERY)
def test_a_subject_carries_no_code_and_no_link(row: EmailType, kind: str) -> None:
    subject = rendered(row, kind).subject
    assert "http" not in subject
    assert "482913" not in subject
    assert subject == subject.strip()
    assert "\n" not in subject


@pytest.mark.parametrize("row", [one for one in MESSAGES if one.secret])
def test_a_secret_is_in_the_body_alone(row: EmailType) -> None:
    [field] = row.secret
    assert field in row.sample
    mail = rendered(row)
    assert row.sample[field] in mail.text
    assert row.sample[field] not in mail.subject
    assert row.keep_body is False


@pytest.mark.parametrize("row", EACH)
def test_html_is_fit_for_mailboxes(row: EmailType) -> None:
    mail = rendered(row, locale="de")  # a German's money and dates; the words are English
    tags = Seen(mail.html).tags
    names = [name for name, _ in tags]
    root = dict(tags)["html"]
    assert root["lang"] == "en"
    assert f"<title>{html.escape(mail.subject)}</title>" in mail.html
    assert not {"script", "link", "img", "form", "iframe", "svg"} & set(names)
    assert names.count("h1") == 1
    assert sum(attrs.get("class") == "button" for _, attrs in tags) <= 1
    assert all("style" in attrs for name, attrs in tags if name in ("h1", "p"))
    assert "prefers-color-scheme: dark" in mail.html
    assert all(attrs.get("role") == "presentation" or attrs.get("class") == "facts"
               for name, attrs in tags if name == "table")  # fmt: skip
    for link in Seen(mail.html).links:
        assert link.startswith(("https://", "mailto:"))


@pytest.mark.parametrize("row", EACH)
def test_text_is_readable_at_72_columns(row: EmailType) -> None:
    for line in rendered(row).text.splitlines():
        assert len(line) <= 82 or LINK.search(line), line
    assert "\n\n\n" not in rendered(row, "minimal").text


@pytest.mark.parametrize("row", EACH)
def test_who_gave_no_name_is_greeted_without_one(row: EmailType) -> None:
    mail = rendered(row, "minimal")
    assert mail.text.startswith("Hello,\n")
    assert "Hello," in Seen(mail.html).text


# Money and dates


@pytest.mark.parametrize(
    ("minor", "currency", "locale", "expected"),
    [
        (124900, "EUR", "en", "€1,249.00"), (124900, "EUR", "de", "1.249,00\xa0€"),
        (124900, "JPY", "en", "¥124,900"), (1500, "JPY", "ja", "￥1,500"), (0, "USD", "en_US", "$0.00"),
        (5, "GBP", "en_GB", "£0.05"), (1234, "BHD", "en", "BHD1.234"),
        (10**12, "EUR", "en", "€10,000,000,000.00"), (999999999999, "EUR", "en", "€9,999,999,999.99"),
    ],
)  # fmt: skip
def test_money(minor: int, currency: str, locale: str, expected: str) -> None:
    assert money(minor, currency, locale) == expected


@pytest.mark.parametrize(
    ("locale", "timezone", "expected"),
    [("en", None, "24 November 2026, 11:42 UTC"), ("en", "Europe/Berlin", "24 November 2026, 12:42 Europe/Berlin"),
     ("de", "Asia/Tokyo", "24 November 2026, 20:42 Asia/Tokyo"), ("fr", None, "24 novembre 2026, 11:42 UTC"),
     ("en", "Mars/Base", "24 November 2026, 11:42 UTC"), ("en", "../etc", "24 November 2026, 11:42 UTC"),
     ("en", "America", "24 November 2026, 11:42 UTC")],
)  # fmt: skip
def test_dates_are_in_the_persons_language_and_zone(
    locale: str, timezone: str | None, expected: str
) -> None:
    mail = rendered(BY_NAME["payment_receipt"], locale=locale, timezone=timezone)
    assert f"Date:    {expected}\n" in mail.text
    assert expected in Seen(mail.html).text


def test_a_time_without_a_zone_is_utc() -> None:
    mail = rendered(BY_NAME["payment_receipt"], paid_at="2026-11-24T11:42:09")
    assert "24 November 2026, 11:42 UTC" in mail.text


def test_a_receipt_in_yen_has_no_minor_units() -> None:
    mail = rendered(BY_NAME["payment_receipt"], amount_minor=124900, currency="JPY")
    assert "¥124,900" in mail.text
    assert "¥124,900" in Seen(mail.html).text
    assert "1,249" not in mail.text.replace("124,900", "")


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [("welcome", "locale", "xx"), ("welcome", "locale", "english"), ("welcome", "course", ""),
     ("welcome", "course", "a\r\nBcc: b"), ("welcome", "name", "a\x1b[2J"), ("welcome", "extra", 1),
     ("payment_receipt", "currency", "XXY"), ("payment_receipt", "amount_minor", -1),
     ("payment_receipt", "amount_minor", 12.5), ("payment_receipt", "method_last4", "42424"),
     ("password_reset", "url", "javascript:alert(1)"), ("password_reset", "url", "https://x y"),
     ("verification_code", "code", "12<34"), ("enrollment_reminder", "progress_pct", 101)],
)  # fmt: skip
def test_wrong_data_is_refused(name: str, field: str, value: Any) -> None:
    row = BY_NAME[name]
    with pytest.raises(ValidationError):
        row.data.model_validate({**row.sample, field: value})


# Over the wire


def parsed(raw: bytes) -> EmailMessage:
    found = message_from_bytes(raw, policy=default)
    assert isinstance(found, EmailMessage)
    return found


@pytest.mark.parametrize(("row", "kind"), EVERY)
def test_the_bytes_keep_to_the_rules_and_come_back_as_they_were(row: EmailType, kind: str) -> None:
    raw, mail = wire(row, kind), rendered(row, kind)
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert b"\r" not in raw.replace(b"\r\n", b"")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert raw.isascii()
    found = parsed(raw)
    assert found["Subject"] == mail.subject
    assert [part.get_content_type() for part in found.iter_parts()] == ["text/plain", "text/html"]
    text, page = found.iter_parts()
    assert text.get_content().replace("\r\n", "\n") == mail.text
    assert page.get_content().replace("\r\n", "\n") == mail.html
    for header in ("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"):
        assert len(found.get_all(header)) == 1, header
    assert found["From"].addresses[0].addr_spec == "no-reply@academy.example"
    assert found["Auto-Submitted"] == "auto-generated"


def test_a_retry_sends_the_same_bytes() -> None:
    row = BY_NAME["payment_receipt"]
    assert wire(row) == wire(row)


def test_a_message_id_is_the_same_for_the_same_key_alone() -> None:
    first = message_id("welcome:7", BRAND.sender)
    assert first == message_id("welcome:7", BRAND.sender)
    assert first != message_id("welcome:8", BRAND.sender)
    assert re.fullmatch(r"<[0-9a-f]{32}@academy\.example>", first)


def test_a_product_name_in_any_script_is_a_legal_sender() -> None:
    brand = replace(BRAND, product="Akadémia, “tanulás” 学校", sender="no-reply@academy.example")
    found = parsed(wire(BY_NAME["welcome"], brand=brand))
    assert found["From"].addresses[0].display_name == "Akadémia, “tanulás” 学校"
    assert found["From"].addresses[0].addr_spec == "no-reply@academy.example"


@pytest.mark.parametrize("value", ["a\r\nBcc: eve@example.org", "a\nb", "ä", "x" * 901, ""])
def test_a_header_that_could_smuggle_or_break_is_refused(value: str) -> None:
    for options in ({"headers": {"X-Job": value}}, {"headers": {value: "x"}}, {"msg_id": value}):
        with pytest.raises(ValueError, match="cannot be a mail header"):
            wire(BY_NAME["welcome"], **options)


# The table


def test_there_are_seven_types_the_urgent_ones_first() -> None:
    assert len(MESSAGES) == 7
    assert set(BY_NAME) == {*(row.name for row in MESSAGES), ALERT.name}
    priorities = [row.priority for row in MESSAGES]
    assert priorities == sorted(priorities, reverse=True)
    assert {row.name for row in MESSAGES if row.uncertain == "hold"} == {
        row.name for row in MESSAGES if row.quiet_hours
    } == {"payment_reminder", "enrollment_reminder"}  # fmt: skip


@pytest.mark.parametrize("row", EACH)
def test_five_attempts_fit_before_a_mail_expires(row: EmailType) -> None:
    assert list(row.delays_s) == sorted(set(row.delays_s))
    assert sum(row.delays_s) * 1.2 < row.expires_s


def test_a_wrong_name_is_answered_with_the_right_ones() -> None:
    with pytest.raises(messages.UnknownEmailType, match="no email type 'bill'; there are verif"):
        messages.email_type("bill")
    with pytest.raises(ValueError, match="no sample 'short'; there are default"):
        sample(BY_NAME["welcome"], "short")
