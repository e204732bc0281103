"""What is known of one recipient: mails, plans, courses, why nothing goes there. From SQL alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from tasks import domain
from tasks.database import reading, utcnow
from tasks.domain import Reminder, User
from tasks.mailer import models
from tasks.mailer.classify import greylists
from tasks.mailer.models import Answer, EmailMessage, Suppression

COMING = ("queued", "scheduled", "sending", "deferred")
DAYS = 7
AT_ONCE = 50
SAID = 4


@dataclass(frozen=True, slots=True)
class Delivered:
    """How many mails of those that ended arrived."""

    sent: int
    ended: int

    @property
    def share(self) -> float | None:
        """Return the share that arrived; None where none ended."""
        return self.sent / self.ended if self.ended else None


def _delivered(counts: Mapping[str, int]) -> Delivered:
    ended = sum(counts.get(state, 0) for state in models.MEASURED)
    return Delivered(counts.get("sent", 0), ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """How the mails of an address's domain fared in the last days.

    `put_off` of them were greylisted; `wait_s` is the median until those of them went that did.
    `said`: what servers answered the most, how often.
    """

    name: str
    delivered: Delivered
    server: str
    put_off: int
    wait_s: float | None
    said: Sequence[tuple[str, int]]


def _domain(name: str, counts: Mapping[str, int], answers: Sequence[Answer]) -> Domain:
    first: dict[int, datetime] = {}
    went: dict[int, datetime | None] = {}
    for one in answers:  # the newest first, so that the first attempt stays
        if one.code and greylists(one.code, one.enhanced, one.text):
            first[one.email_id], went[one.email_id] = one.at, one.sent_at
    waits = [(at - first[n]).total_seconds() for n, at in went.items() if at]
    said = Counter(f"{one.code or 'no answer'} {one.enhanced}".strip() for one in answers)
    return Domain(
        name=name, delivered=_delivered(counts), server=answers[0].server if answers else "",
        put_off=len(first), wait_s=median(waits) if waits else None, said=said.most_common(SAID),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """All of it; `older` is the cursor of the next page of mails."""

    address: str
    mails: Sequence[EmailMessage]
    total: int
    older: int | None
    suppressed: Suppression | None
    user: User | None
    courses: Sequence[tuple[str, str]]
    reminders: Sequence[Reminder]
    delivered: Delivered
    domain: Domain

    @property
    def groups(self) -> Sequence[tuple[str, Sequence[EmailMessage]]]:
        """Return the mails by when: on their way, today, before."""
        today = utcnow().date()
        coming = [mail for mail in self.mails if mail.state in COMING]
        ended = [mail for mail in self.mails if mail.state not in COMING]
        new = [mail for mail in ended if mail.updated_at.date() == today]
        old = [mail for mail in ended if mail.updated_at.date() != today]
        return [("On their way", coming), ("Today", new), ("Before", old)]

    @property
    def is_known(self) -> bool:
        """Tell whether anything is known of the address."""
        return bool(self.total or self.user or self.suppressed)


def person(address: str, cursor: int | None = None) -> Person:
    """Return what is known of an address."""
    of, since = address.rpartition("@")[2], utcnow() - timedelta(days=DAYS)
    with reading() as db:
        mails = models.of_person(db, address, cursor, AT_ONCE + 1)
        counts = models.counts_of(db, address)
        user = domain.user_by_email(db, address)
        return Person(
            address=address, mails=mails[:AT_ONCE], total=sum(counts.values()),
            older=mails[AT_ONCE - 1].id if len(mails) > AT_ONCE else None,
            suppressed=models.suppressed(db, address), user=user,
            courses=domain.courses_of(db, user) if user else (),
            reminders=domain.planned_for(db, user) if user else (), delivered=_delivered(counts),
            domain=_domain(of, models.counts_of_domain(db, of, since), models.answers_of_domain(db, of, since)),
        )  # fmt: skip
