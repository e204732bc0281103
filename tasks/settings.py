"""Settings: one frozen object from the environment, checked, documented.

The one place that reads the environment. `get()` loads once per process: the environment first,
then `.env`; each name also as `NAME_FILE`, the path of a mounted secret.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks import faults, keyring
from tasks.setting_types import (
    DatabaseUrl,
    Duration,
    Environment,
    FernetKeys,
    Flag,
    LogFormat,
    LogLevel,
    Port,
    QuietHours,
    RedisUrl,
    WebUrl,
    Words,
)

SECRET_NAMES = ("PASSWORD", "SECRET", "KEY", "TOKEN", "DSN")
PREFIXES = (
    "MAIL_",
    "QUEUE_",
    "SMTP_",
    "INBOX_",
    "PAYMENT_",
    "MOODLE_",
    "INCUBATOR_",
    "WORKER_",
    "EMAIL_",
    "ALERT_",
)
FLASK_MAIL = (
    "MAIL_DEBUG",
    "MAIL_MAX_EMAILS",
    "MAIL_SUPPRESS_SEND",
    "MAIL_ASCII_ATTACHMENTS",
    "MAIL_BACKEND",
)
QUEUE_OPTION = re.compile(r"QUEUE_([A-Z0-9_]+?)_(CONCURRENCY|RATE|RETENTION|RETENTION_FAILED)\Z")


class SettingsError(Exception):
    """A setting is wrong; the text names the variable, what it got and what it takes."""


class Settings(BaseModel):
    """Every setting by its name in lower case; a duration is seconds as a float, ending in `_s`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    app_env: Environment = Field(
        "development",
        description="staging and production turn on secure cookies and HSTS,"
        " and refuse embedded services and made-up secrets",
    )
    data_dir: Path = Field(Path("var"), description="everything that is written")
    host: str = Field("127.0.0.1", description="where the dashboard listens")
    port: Port = Field(8000, description="the dashboard's port")
    redis_url: RedisUrl = Field(
        "",
        description="redis://, rediss://, unix://, redis+sentinel://host,host/service/0 or"
        " redis+cluster://host,host; empty: an embedded server under make run",
    )
    database_url: DatabaseUrl = Field("", description="SQLAlchemy URL; empty: app.db in DATA_DIR")
    secret_key: str = Field(
        "", description="signs sessions; made at first start outside staging and production"
    )
    secret_key_fallbacks: Words = Field((), description="older secret keys that are still accepted")
    job_encryption_keys: FernetKeys = Field(
        (), description="Fernet keys for secret job arguments; the first encrypts, all decrypt"
    )
    mail_server: str = Field("", description="the SMTP server; empty: the local inbox of make run")
    mail_port: Port = Field(25, description="its port")
    mail_username: str = Field("", description="its user name, if it asks for one")
    mail_password: str = Field("", description="its password")
    mail_use_tls: Flag = Field(False, description="STARTTLS, verified")
    mail_use_ssl: Flag = Field(False, description="TLS from the first byte, verified")
    mail_default_sender: str = Field(
        "no-reply@academy.example", description="the sender of every mail"
    )
    mail_timeout_s: Duration = Field(
        "30s",
        validate_default=True,
        description="the longest wait for one SMTP reply"
        " (connecting: a third of it; after the final dot: ten times)",
    )
    email_queue_concurrency: int | None = Field(
        None, ge=1, le=1000, description="most email jobs running at once, over all workers (5)"
    )
    enrollment_reminder_after_s: Duration = Field(
        "7d", validate_default=True, description="when an enrollment's reminder is due"
    )
    payment_reminder_after_s: Duration = Field(
        "24h", validate_default=True, description="when a pending payment's reminder is due"
    )
    worker_lease_s: Duration = Field(
        "10s", validate_default=True, description="how long a silent worker keeps its jobs"
    )
    worker_beat_s: Duration = Field(
        "2s", validate_default=True, description="how often a worker says it lives"
    )
    workers: int = Field(8, ge=1, le=256, description="worker threads of one huey_consumer")
    worker_queues: Words = Field((), description="the queues this consumer serves; empty: all")
    admin_email: str = Field("", description="the first operator, made at start if there is none")
    admin_password: str = Field("", description="the first operator's password")
    public_url: WebUrl = Field(
        "", description="the base of links in mail; empty: from HOST and PORT"
    )
    quiet_hours: QuietHours = Field(
        "21-8",
        validate_default=True,
        description="no reminders then, in the person's zone where it is known; off",
    )
    alert_private_webhooks: Flag = Field(
        False, description="alerts may be posted to private addresses"
    )
    trusted_hosts: Words = Field(
        (), description="host names answered; empty: any in development, PUBLIC_URL's otherwise"
    )
    trusted_proxies: int = Field(0, ge=0, le=10, description="how many proxies' headers count")
    demo: Flag = Field(False, description="demo data and traffic (1 under make run)")
    redis_bin: str = Field("", description="the embedded server's binary")
    inbox_smtp_port: Port = Field(1025, description="where the demo inbox takes mail")
    inbox_port: Port = Field(8025, description="where the demo inbox shows it")
    inbox_url: WebUrl = Field("", description="the demo inbox's page, set by make run")
    web_threads: int = Field(8, ge=1, le=256, description="threads of one web process")
    web_concurrency: int = Field(1, ge=1, le=64, description="web processes")
    product_name: str = Field("Academy", description="the platform's name in mails")
    support_email: str = Field("support@academy.example", description="whom people can write to")
    log_level: LogLevel = Field("INFO", description="from which level on to log")
    log_format: LogFormat = Field(
        "console", description="one event a line, for people or for programs"
    )
    queue_options: Mapping[str, Mapping[str, str]] = Field(
        default_factory=dict, description="from QUEUE_<NAME>_<OPTION>"
    )

    @property
    def deployed(self) -> bool:
        """Tell whether this is staging or production."""
        return self.app_env != "development"

    @property
    def base_url(self) -> str:
        """Return the base of links, without a final slash; a server on every address is here."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")


@dataclass(frozen=True, slots=True)
class Row:
    """One setting for people: where its value came from, and the value, secrets masked."""

    name: str
    default: str
    meaning: str
    source: str
    value: str


def variable(field: str) -> str:
    """Return a field's variable: WORKER_LEASE for worker_lease_s."""
    return field.removesuffix("_s").upper() if field.endswith("_s") else field.upper()


def fields() -> dict[str, str]:
    """Return {variable: field} of every setting."""
    return {variable(name): name for name in Settings.model_fields if name != "queue_options"}


def load(environ: Mapping[str, str]) -> Settings:
    """Return checked settings; makes nothing. Raises SettingsError with one sentence."""
    values = resolved(environ)
    given: dict[str, Any] = {
        field: values[name] for name, field in fields().items() if values.get(name, "") != ""
    }
    given["queue_options"] = _queue_options(values)
    try:
        found = Settings.model_validate(given)
    except ValidationError as exc:
        raise SettingsError(_sentence(exc, values)) from exc
    _check_together(found)
    return found


def resolved(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with each NAME_FILE read. Raises SettingsError."""
    values = dict(environ)
    for name in [
        *fields(),
        *(n.removesuffix("_FILE") for n in environ if QUEUE_OPTION.match(n.removesuffix("_FILE"))),
    ]:
        path = environ.get(f"{name}_FILE")
        if path and not environ.get(name):
            try:
                values[name] = Path(path).read_text().strip()
            except (OSError, UnicodeDecodeError) as exc:
                why = getattr(exc, "strerror", None) or "it is not text"
                raise SettingsError(
                    f"{name}_FILE names {path}, which cannot be read ({why});"
                    " give the path of a readable file"
                ) from exc
    return values


def _queue_options(values: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, value in values.items():
        match = QUEUE_OPTION.match(name)
        if match and value:
            found.setdefault(match[1].lower(), {})[match[2].lower()] = value
    return found


def _sentence(exc: ValidationError, values: Mapping[str, str]) -> str:
    error = exc.errors()[0]
    name = variable(str(error["loc"][0]))
    given = error.get("ctx", {}).get("error") or error["msg"].removeprefix("Input should be ")
    takes = faults.takes(error) or str(given)
    got = "a value that is not shown" if is_secret(name) else repr(values.get(name, ""))
    return f"{name} is {got}; it takes {takes}"


def _check_together(found: Settings) -> None:
    """Refuse what only together is wrong. Raises SettingsError."""
    if found.mail_use_tls and found.mail_use_ssl:
        raise SettingsError("MAIL_USE_TLS and MAIL_USE_SSL are both on; turn one of them off")
    other = found.queue_options.get("email", {}).get("concurrency")
    if found.email_queue_concurrency is not None and other not in (
        None,
        str(found.email_queue_concurrency),
    ):
        raise SettingsError(
            f"EMAIL_QUEUE_CONCURRENCY is {found.email_queue_concurrency} and"
            f" QUEUE_EMAIL_CONCURRENCY is {other}; they are two names of one setting: give one"
        )
    if bool(found.admin_email) != bool(found.admin_password):
        given, missing = ("EMAIL", "PASSWORD") if found.admin_email else ("PASSWORD", "EMAIL")
        raise SettingsError(
            f"ADMIN_{given} is set and ADMIN_{missing} is not; the first operator takes both"
        )
    if found.worker_beat_s * 2 > found.worker_lease_s:
        raise SettingsError(
            f"WORKER_BEAT is {found.worker_beat_s:g}s and WORKER_LEASE {found.worker_lease_s:g}s;"
            " a lease takes at least two beats"
        )
    if found.deployed:
        _check_deployed(found)


def _check_deployed(found: Settings) -> None:
    needed = {"SECRET_KEY": found.secret_key, "JOB_ENCRYPTION_KEYS": found.job_encryption_keys,
              "REDIS_URL": found.redis_url, "MAIL_SERVER": found.mail_server}  # fmt: skip
    for name, value in needed.items():
        if not value:
            raise SettingsError(
                f"{name} is not set; {found.app_env} needs it (nothing embedded, nothing made up)"
            )
    if len(found.secret_key) < 32:
        raise SettingsError(
            f"SECRET_KEY is {len(found.secret_key)} characters long;"
            f" {found.app_env} takes at least 32"
        )


def with_made(found: Settings) -> Settings:
    """Return settings whose empty secrets and URLs come from DATA_DIR, made there if need be."""
    data = found.data_dir.resolve()
    made: dict[str, Any] = {"data_dir": data}
    if not found.secret_key:
        made["secret_key"] = _kept(data / "secret.key", lambda: secrets.token_urlsafe(48))
    if not found.job_encryption_keys:
        made["job_encryption_keys"] = tuple(_kept(data / "job.key", keyring.new_key).split(","))
    embedded = data / "redis" / "url"  # what `make run` started: command lines find it here
    if not found.redis_url and embedded.exists():
        made["redis_url"] = embedded.read_text().strip()
    if not found.database_url:
        data.mkdir(parents=True, exist_ok=True)
        made["database_url"] = f"sqlite:///{data / 'app.db'}"
    return found.model_copy(update=made)


def _kept(path: Path, make: Any) -> str:
    """Return a secret file's text; the first to make it wins, and nobody reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(make())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text().strip()


def is_secret(name: str) -> bool:
    """Tell whether a variable's value is never shown."""
    return (
        any(word in name for word in SECRET_NAMES)
        or name.endswith("_URL")
        and name in ("REDIS_URL", "DATABASE_URL")
    )


def environment() -> dict[str, str]:
    """Return the environment over `.env` of the current folder."""
    kept = {name: value or "" for name, value in dotenv_values(".env").items()}
    return {**kept, **os.environ}


def rows() -> list[Row]:
    """Return every setting as `flask settings` prints it."""
    environ, now = environment(), get()
    return [_row(name, field, environ, now) for name, field in fields().items()]


def _row(name: str, field: str, environ: Mapping[str, str], now: Settings) -> Row:
    default = Settings.model_fields[field].default
    source = "default"
    if environ.get(name):
        source = "environment" if name in os.environ else ".env"
    elif environ.get(f"{name}_FILE"):
        source = f"{name}_FILE"
    elif (
        getattr(now, field) != default
        and source == "default"
        and name in ("SECRET_KEY", "JOB_ENCRYPTION_KEYS", "DATABASE_URL", "REDIS_URL")
    ):
        source = "DATA_DIR"
    value = getattr(now, field)
    shown = "••••" if is_secret(name) and value else _text(environ.get(name) or value)
    return Row(name, _text(default), Settings.model_fields[field].description or "", source, shown)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return "" if value is None else str(value)


def unknown_names(environ: Mapping[str, str]) -> list[str]:
    """Return names with our prefixes that are no setting: likely misspelt."""
    known = set(fields()) | {f"{name}_FILE" for name in fields()} | set(FLASK_MAIL)
    return sorted(
        n
        for n in environ
        if n.startswith(PREFIXES) and n not in known and not QUEUE_OPTION.match(n)
    )


@cache
def get() -> Settings:
    """Return this process's settings. Raises SettingsError."""
    return with_made(load(environment()))


def reset() -> None:
    """Forget what was loaded; the next `get` reads again."""
    get.cache_clear()
