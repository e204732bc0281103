"""Types of settings: each turns a variable's text into a value, or says what it takes."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from tasks import keyring

UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)\Z")


def _duration(value: Any) -> Any:
    match = DURATION.match(str(value).strip())
    if not match:
        raise ValueError("a duration such as 200ms, 30s, 15m, 24h or 7d")
    return float(match[1]) * UNITS_S[match[2]]


def _flag(value: Any) -> Any:
    text = str(value).strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off", ""):
        return False
    raise ValueError("1 or 0 (true or false, yes or no, on or off)")


def _words(value: Any) -> Any:
    if isinstance(value, tuple):
        return value
    return tuple(word.strip() for word in str(value).split(",") if word.strip())


def _quiet(value: Any) -> Any:
    text = str(value).strip().lower()
    if text == "off":
        return None
    match = re.match(r"(\d{1,2})-(\d{1,2})\Z", text)
    if not match or not all(0 <= int(hour) <= 23 for hour in match.groups()):
        raise ValueError("two hours such as 21-8, or off")
    return int(match[1]), int(match[2])


def _upper(value: Any) -> Any:
    return value.strip().upper() if isinstance(value, str) else value


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _redis(value: str) -> str:
    if not value:
        return value
    from tasks.engine import EngineError, addresses  # without an address nobody waits for it

    if value.startswith(addresses.MOVING):
        try:
            addresses.parted(value)
        except EngineError as exc:
            raise ValueError(f"{addresses.FORMS} ({exc})") from exc
    elif not value.startswith(addresses.LONE):
        raise ValueError(addresses.FORMS)
    return value


def _database(value: str) -> str:
    try:
        return value if not value or make_url(value) else value
    except ArgumentError as exc:
        raise ValueError(
            "an SQLAlchemy URL such as sqlite:////path/app.db or postgresql://…"
        ) from exc


def _http(value: str) -> str:
    if value and not re.match(r"https?://[^/\s]+", value):
        raise ValueError("a web address such as https://jobs.example.org")
    return value


def _fernet(value: tuple[str, ...]) -> tuple[str, ...]:
    try:
        if value:
            keyring.Keyring(value)
    except ValueError as exc:
        raise ValueError(
            "Fernet keys, 44 characters of URL-safe base 64 each, with commas between"
        ) from exc
    return value


Duration = Annotated[float, BeforeValidator(_duration)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
QuietHours = Annotated[tuple[int, int] | None, BeforeValidator(_quiet)]
Port = Annotated[int, Field(ge=1, le=65535)]
RedisUrl = Annotated[str, AfterValidator(_redis)]
DatabaseUrl = Annotated[str, AfterValidator(_database)]
WebUrl = Annotated[str, AfterValidator(_http)]
FernetKeys = Annotated[Words, AfterValidator(_fernet)]
Environment = Annotated[Literal["development", "staging", "production"], BeforeValidator(_lower)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]
LogFormat = Annotated[Literal["console", "json"], BeforeValidator(_lower)]
