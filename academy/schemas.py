"""The bodies of the JSON endpoints: an unknown field or a wrong value is refused by name."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tasks.mailer.messages import Currency, Name, address

MOST = 2_000_000_000  # fits a 32 bit column: ids, and 20 million euros


def _zone(value: str) -> str:
    try:
        return ZoneInfo(value).key
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise ValueError("a time zone such as Europe/Berlin is expected") from exc


Address = Annotated[str, Field(max_length=320), AfterValidator(address)]
Number = Annotated[int, Field(ge=1, le=MOST, strict=True)]


class Body(BaseModel):
    """Base of every body."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Body):
    """No field is taken."""


class Registration(Body):
    """A person who wants to join."""

    email: Address
    name: Annotated[Name, Field(min_length=1)]
    locale: Annotated[str, Field(pattern=r"^[a-z]{2}(_[A-Z]{2})?$")] = "en"
    timezone: Annotated[str, Field(max_length=60), AfterValidator(_zone)] | None = None


class RegistrationCode(Body):
    """The code from the mail."""

    email: Address
    code: Annotated[str, Field(pattern=r"^[0-9]{6}$")]


class ResetRequest(Body):
    """A person who forgot the password."""

    email: Address


class NewPassword(Body):
    """The token from the mail, and the new password."""

    token: Annotated[str, Field(min_length=1, max_length=500)]
    password: Annotated[str, Field(min_length=10, max_length=200)]


class NewEnrollment(Body):
    """A person for a course."""

    user_id: Number
    course_id: Number


class NewPayment(Body):
    """Money for an enrollment, in minor units: 1999 EUR is 19.99 euros."""

    enrollment_id: Number
    amount_minor: Number
    currency: Currency


class Evidence(Body):
    """What the payer brought along; the provider's word counts, not this."""

    evidence: Annotated[str, Field(max_length=200)] = ""
