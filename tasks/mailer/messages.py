"""MESSAGES: every email type with its data, urgency and samples. A new type is one row and two templates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
HOUR_S = 3600
LINK = re.compile(r"https?://[^\s<>\"]{1,900}\Z")


def _one_line(value: str) -> str:
    if CONTROL.search(value):
        raise ValueError("line breaks and control characters are not accepted")
    return value.strip()


def _link(value: str) -> str:
    if not LINK.match(value):
        raise ValueError("a link that begins http:// or https:// is expected")
    return value


def _currency(value: str) -> str:
    from babel.numbers import UnknownCurrencyError, get_currency_name

    try:
        get_currency_name(value.upper(), locale="en")
    except UnknownCurrencyError as exc:
        raise ValueError("a currency code such as EUR is expected") from exc
    if value.upper() not in _currencies():
        raise ValueError("a currency code such as EUR is expected")
    return value.upper()


def _locale(value: str) -> str:
    from babel import Locale, UnknownLocaleError

    try:
        Locale.parse(value)
    except UnknownLocaleError as exc:
        raise ValueError("a locale such as en or de_AT is expected") from exc
    return value


def _instant(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _currencies() -> set[str]:
    from babel import Locale

    return set(Locale("en").currencies)


Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
Name = Annotated[str, Field(max_length=120), AfterValidator(_one_line)]
Link = Annotated[str, AfterValidator(_link)]
Currency = Annotated[str, Field(min_length=3, max_length=3), AfterValidator(_currency)]
Instant = Annotated[datetime, AfterValidator(_instant)]
Locale = Annotated[str, Field(pattern=r"^[a-z]{2}(_[A-Z]{2})?$"), AfterValidator(_locale)]
Minor = Annotated[int, Field(ge=0, le=10**12)]


class Data(BaseModel):
    """What every email type takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    locale: Locale = "en"
    timezone: Annotated[str, Field(max_length=60), AfterValidator(_one_line)] | None = None
    name: Name = ""


class VerificationCode(Data):
    """A code that proves an address."""

    code: Annotated[str, Field(pattern=r"^[0-9A-Za-z]{4,12}$")]
    expires_minutes: Annotated[int, Field(ge=1, le=1440)] = 15


class Welcome(Data):
    """A course is open."""

    course: Line
    url: Link | None = None


class PasswordReset(Data):
    """A link to choose a new password."""

    url: Link
    expires_minutes: Annotated[int, Field(ge=1, le=1440)] = 30


class PaymentReceipt(Data):
    """A payment arrived."""

    course: Line
    receipt_no: Line
    amount_minor: Minor
    currency: Currency
    paid_at: Instant | None = None
    method_last4: Annotated[str, Field(pattern=r"^[0-9]{4}$")] | None = None


class CourseCompletion(Data):
    """A course is finished."""

    course: Line
    url: Link | None = None


class EnrollmentReminder(Data):
    """A course waits to be started or continued."""

    course: Line
    url: Link
    progress_pct: Annotated[int, Field(ge=0, le=100)] | None = None


class PaymentReminder(Data):
    """A payment is still pending."""

    course: Line
    amount_minor: Minor
    currency: Currency
    url: Link
    due_at: Instant | None = None


class Alert(Data):
    """A rule of the dashboard fires, is well again, or is tested."""

    event: Literal["fired", "resolved", "test"]
    rule: Line
    sentence: Annotated[str, Field(min_length=1, max_length=600), AfterValidator(_one_line)]
    url: Link
    channel: Line
    severity: Name = ""
    watched: Annotated[str, Field(max_length=200), AfterValidator(_one_line)] = ""
    value: Name = ""
    limit: Name = ""
    worst: Name = ""
    opened_at: Instant | None = None
    closed_at: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailType:
    """One row of MESSAGES.

    Args:
        delays_s: before attempts 2 to 5, each times 0.8 to 1.2.
        uncertain: resend or hold a mail whose fate is unknown (dot sent, no reply seen).
        secret: fields of `data` that never enter subject, log, dashboard or stored bodies.
        keep_body: whether a sent body may be kept.
    """

    name: str
    title: str
    data: type[Data]
    priority: int
    expires_s: int
    delays_s: tuple[int, int, int, int]
    uncertain: Literal["resend", "hold"] = "resend"
    stream: str = "account"
    quiet_hours: bool = False
    secret: tuple[str, ...] = ()
    keep_body: bool = True
    sample: Mapping[str, Any] = field(default_factory=dict)


RELAXED = (30, 120, 480, 1920)
MESSAGES: tuple[EmailType, ...] = (
    EmailType(name="verification_code", title="Verification code", data=VerificationCode, priority=100,
              expires_s=900, delays_s=(5, 15, 45, 135), secret=("code",), keep_body=False,
              sample={"code": "482913"}),
    EmailType(name="password_reset", title="Password reset", data=PasswordReset, priority=95,
              expires_s=1800, delays_s=(10, 30, 90, 270), secret=("url",), keep_body=False,
              sample={"url": "https://academy.example/reset/8f2k1m9q"}),
    EmailType(name="payment_receipt", title="Payment receipt", data=PaymentReceipt, priority=70,
              expires_s=72 * HOUR_S, delays_s=RELAXED, stream="billing",
              sample={"course": "Applied statistics", "receipt_no": "2026-000481", "amount_minor": 124900,
                      "currency": "EUR", "paid_at": "2026-11-24T11:42:09Z", "method_last4": "4242"}),
    EmailType(name="welcome", title="Welcome", data=Welcome, priority=60, expires_s=48 * HOUR_S,
              delays_s=RELAXED,
              sample={"course": "Applied statistics", "url": "https://academy.example/courses/applied-statistics"}),
    EmailType(name="course_completion", title="Course completion", data=CourseCompletion, priority=50,
              expires_s=72 * HOUR_S, delays_s=RELAXED, stream="learning",
              sample={"course": "Applied statistics", "url": "https://academy.example/certificates/481516"}),
    EmailType(name="payment_reminder", title="Payment reminder", data=PaymentReminder, priority=30,
              expires_s=24 * HOUR_S, delays_s=RELAXED, uncertain="hold", stream="reminders", quiet_hours=True,
              sample={"course": "Applied statistics", "amount_minor": 124900, "currency": "EUR",
                      "url": "https://academy.example/pay/481516", "due_at": "2026-12-01T00:00:00Z"}),
    EmailType(name="enrollment_reminder", title="Enrollment reminder", data=EnrollmentReminder, priority=20,
              expires_s=72 * HOUR_S, delays_s=RELAXED, uncertain="hold", stream="reminders", quiet_hours=True,
              sample={"course": "Applied statistics", "url": "https://academy.example/courses/applied-statistics",
                      "progress_pct": 20}),
)  # fmt: skip
# To those who run the platform: not for POST /api/email, and no part of its delivery rate.
ALERT = EmailType(
    name="alert", title="Alert", data=Alert, priority=90, expires_s=4 * HOUR_S, delays_s=(10, 30, 120, 480),
    stream="operations",
    sample={"event": "fired", "rule": "Jobs fail", "sentence": "Failed share of queue email: 12 %, over 5 %, since 12:03 UTC.",
            "url": "https://jobs.academy.example/alerts/7", "channel": "On call", "severity": "critical",
            "watched": "Failed share of queue email", "value": "12 %", "limit": "over 5 %",
            "opened_at": "2026-11-24T12:08:00Z"},
)  # fmt: skip
EVERY = (*MESSAGES, ALERT)
BY_NAME = {row.name: row for row in EVERY}
NAMES = {
    "default": "Ada Lovelace",
    "long": "Maximiliane Theodora von Hohenstein-Oberpfalz zu Musterstadt",
    "unicode": "Zoë Łukasz-O’Neil",
    "hostile": "<b>x</b> {{7*7}}",
    "minimal": "",
}
COURSES = {
    "long": "Applied statistics for the social sciences, winter term, with exercises, tutorials and a final project week",
    "unicode": "مقدمة في الإحصاء · 統計学入門",
    "hostile": "<script>alert(1)</script> & {% raw %}",
}


class UnknownEmailType(ValueError):
    """There is no such email type."""


def email_type(name: str) -> EmailType:
    """Return a row of MESSAGES. Raises UnknownEmailType."""
    if name not in BY_NAME:
        raise UnknownEmailType(f"there is no email type {name!r}; there are {', '.join(BY_NAME)}")
    return BY_NAME[name]


def sample(row: EmailType, kind: str) -> Data:
    """Return one of a type's samples: default, long, unicode, hostile or minimal.

    Raises: ValueError for another name.
    """
    if kind not in NAMES:
        raise ValueError(f"there is no sample {kind!r}; there are {', '.join(NAMES)}")
    values: dict[str, Any] = {**row.sample, "name": NAMES[kind]}
    if "course" in values and kind in COURSES:
        values["course"] = COURSES[kind]
    if kind == "minimal":
        required = {n for n, f in row.data.model_fields.items() if f.is_required()}
        values = {n: v for n, v in values.items() if n in required}
    return row.data.model_validate(values)


def address(text: str) -> str:
    """Return a checked, normalised address. Raises ValueError with a sentence."""
    if CONTROL.search(text):
        raise ValueError(
            "the address holds a line break or control character; give one plain address"
        )
    try:
        return validate_email(
            text.strip(), check_deliverability=False, test_environment=True
        ).normalized
    except EmailNotValidError as exc:
        raise ValueError(f"{text[:120]!r} is no address: {exc}") from exc
