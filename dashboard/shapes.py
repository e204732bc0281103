"""The models that check what the API takes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from dashboard import query
from dashboard.models import MOST_ID
from tasks.database import utcnow
from tasks.engine import JobFilter, State
from tasks.mailer.messages import BY_NAME as EMAIL_TYPES
from tasks.mailer.models import STATES as MAIL_STATES

DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?\Z")
UNITS_S = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST_S = 366 * 86400.0
NAMES = {"delayed": "scheduled"}


def seconds(value: Any) -> Any:
    """Return a wait in seconds from a number or a duration such as 90s. Raises ValueError."""
    if isinstance(value, bool):
        raise ValueError("seconds (a number) or a duration such as 90s or 24h is expected")
    match = DURATION.match(str(value).strip())
    if not match:
        raise ValueError("seconds (a number) or a duration such as 90s or 24h is expected")
    found = float(match[1]) * UNITS_S[match[2]]
    if found > LONGEST_S:
        raise ValueError("at most a year (366d) is accepted")
    return found


def instant(value: Any) -> Any:
    """Return an aware instant from RFC 3339 text. Raises ValueError."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError as exc:
        raise ValueError("an instant such as 2026-11-24T08:00:00Z is expected") from exc
    if found.tzinfo is None:
        raise ValueError("an instant with its zone, such as 2026-11-24T08:00:00Z, is expected")
    return found.astimezone(UTC)


def moment(value: Any) -> Any:
    """Return an instant from RFC 3339 text or an age such as 2h. Raises ValueError."""
    if value is None or DURATION.match(str(value)):
        return None if value is None else utcnow() - timedelta(seconds=seconds(value))
    return instant(value)


def one_of(value: str, names: Iterable[str]) -> str:
    """Return a name that there is. Raises ValueError."""
    if value not in names:
        raise ValueError(f"one of {', '.join(names)} is expected")
    return value


Wait = Annotated[float, BeforeValidator(seconds)]
Instant = Annotated[datetime, BeforeValidator(instant)]
Moment = Annotated[datetime, BeforeValidator(moment)]
Status = Annotated[State, BeforeValidator(lambda value: NAMES.get(value, value))]
Text = Annotated[str, Field(max_length=200)]
RowId = Annotated[int, Field(ge=1, le=MOST_ID)]
MailState = Annotated[str, AfterValidator(lambda value: one_of(value, MAIL_STATES))]
MailType = Annotated[str, AfterValidator(lambda value: one_of(value, EMAIL_TYPES))]


def query_text(value: Any) -> Any:
    """Return a query that can be read. Raises QueryError, a ValueError that names the position."""
    query.parse(str(value or ""))
    return str(value or "")


Query = Annotated[str, BeforeValidator(query_text)]


class Body(BaseModel):
    """A request body: unknown fields are refused by name."""

    model_config = ConfigDict(extra="forbid")


class Wanted(Body):
    """The filters of a listing."""

    status: Status | None = None
    task: Text | None = None
    tag: Text | None = None
    q: Query | None = None
    error: Text | None = None
    since: Moment | None = None
    until: Moment | None = None

    def filter(self, queue: str | None) -> JobFilter:
        """Return the engine's filter."""
        plain = JobFilter(queue=queue, state=self.status, task=self.task, tag=self.tag,
                          error=self.error, since=self.since, until=self.until)  # fmt: skip
        return query.narrowed(plain, query.parse(self.q or ""))


class Listing(Wanted):
    """The query of a listing."""

    sort: Literal["-changed", "changed"] = "-changed"
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: Annotated[str, Field(pattern=r"^[no]\d{1,20}$")] | None = None


class Bulk(Wanted):
    """What a bulk action acts on: ids, or the filters of a listing."""

    ids: (
        Annotated[
            list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]],
            Field(min_length=1, max_length=10_000),
        ]
        | None
    ) = None
    reason: Text = ""


class Paced(Bulk):
    """A bulk action at a pace: most jobs a second; without it as fast as it goes."""

    pace: Annotated[float, Field(gt=0, le=100_000)] | None = None

    def plan(self) -> dict[str, Any]:
        """Return how the operation goes on."""
        return {"pace": self.pace}


class BulkRun(Paced):
    """A bulk action that makes jobs run: `canary` of them first, and the others only if
    `canary_share` per cent of those complete."""

    canary: Annotated[int, Field(ge=0, le=10_000)] = 0
    canary_share: Annotated[int, Field(ge=1, le=100)] = 95

    def plan(self) -> dict[str, Any]:
        """Return how the operation goes on."""
        return {"pace": self.pace, "canary": self.canary, "share": self.canary_share}


class BulkRetry(BulkRun):
    """Which jobs run again, after which delay."""

    delay: Wait | None = None


class BulkMove(Paced):
    """Which jobs move, and to which queue."""

    to: Text


class BulkReschedule(Paced):
    """Which jobs run when: `at` or `delay`, one of them."""

    at: Instant | None = None
    delay: Wait | None = None


class BulkPriority(Paced):
    """Which jobs get which priority; the higher runs first."""

    priority: Annotated[int, Field(ge=-100, le=100)]


class BulkTag(Paced):
    """Which jobs get or lose which tags, one word each."""

    tags: Annotated[list[Text], Field(min_length=1, max_length=10)]


class BulkPatch(Paced):
    """Which jobs get which value for an argument; `data.course` is a field inside one."""

    name: Text
    value: Any


class Empty(Body):
    """A queue's name, to empty it."""

    name: Text
    reason: Text = ""


class Outcomes(Body):
    """Which outcomes of an operation: all, skipped, or failed after."""

    which: Literal["all", "skipped", "failed"] = "all"
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    start: Annotated[int, Field(ge=0, le=20_000)] = 0


class Found(Body):
    """Which of the jobs that a search found."""

    limit: Annotated[int, Field(ge=1, le=500)] = 100
    start: Annotated[int, Field(ge=0, le=20_000)] = 0


class Download(Body):
    """The form of an export."""

    format: Literal["ndjson", "csv"] = "ndjson"


class Clean(Bulk):
    """What a clean-up removes."""

    older_than: Annotated[float, Field(ge=0, le=LONGEST_S)] | None = None


class Retry(Body):
    """How to run a job again; changed arguments need the role admin."""

    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    delay: Wait | None = None


class Reason(Body):
    """Why."""

    reason: Text = ""


class PauseBody(Reason):
    """Until when something is paused; without it until resumed."""

    until: Instant | None = None


class Stop(Body):
    """Whether a worker gives back what it runs instead of finishing it."""

    now: bool = False


class Newest(Body):
    """How many of the newest."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50


class Limits(Body):
    """Live limits of a queue; null goes back to the configured value."""

    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    rate: Text | None = None
    retention: Text | None = None
    retention_failed: Text | None = None


class EmailBody(Body):
    """A mail to queue; `data` is checked by the type."""

    type: Text
    to: Annotated[str, Field(max_length=320)]
    data: dict[str, Any] = Field(default_factory=dict)
    delay: Wait | None = None
    send_at: Instant | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] | None = None


class Release(Body):
    """Which held mails go after all: ids, or those to an address or of a type."""

    ids: Annotated[list[RowId], Field(min_length=1, max_length=500)] | None = None  # fmt: skip
    to: Annotated[str, Field(max_length=320)] | None = None
    type: MailType | None = None

    @model_validator(mode="after")
    def _something(self) -> Release:
        if bool(self.ids) == bool(self.to or self.type):
            raise ValueError("say ids, or to and type")
        return self


class Lift(Body):
    """Which suppressed addresses get mail again, and why."""

    addresses: Annotated[
        list[Annotated[str, Field(max_length=320)]], Field(min_length=1, max_length=500)
    ]
    reason: Text = ""


class Resend(Body):
    """A new copy, also to a corrected address."""

    to: Annotated[str, Field(max_length=320)] | None = None


class Minutes(Body):
    """How far back figures go, in minutes."""

    minutes: Annotated[int, Field(ge=1, le=2880)] = 60


class MailListing(Body):
    """The query of the mail log."""

    to: Annotated[str, Field(max_length=320)] | None = None
    state: MailState | None = None
    type: MailType | None = None
    cursor: RowId | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class NewToken(Body):
    """A token to make."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    role: Literal["viewer", "operator", "admin"]


class NewOperator(Body):
    """A person to give a login."""

    email: Annotated[str, Field(max_length=320)]
    role: Literal["viewer", "operator", "admin"]
    password: Annotated[str, Field(max_length=256)]


class ChangedOperator(Body):
    """What changes about a person with a login."""

    role: Literal["viewer", "operator", "admin"] | None = None
    password: Annotated[str, Field(max_length=256)] | None = None
    disabled: bool | None = None

    @model_validator(mode="after")
    def _something(self) -> ChangedOperator:
        if not self.model_fields_set:
            raise ValueError("say role, password or disabled")
        return self
