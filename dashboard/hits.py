"""Whom the failed jobs of an error group were for, of its newest thousand; read on, not anew, in each look."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.engine import Job, JobFilter, JobHuey, State, Term
from tasks.engine.records import Page
from tasks.engine.rows import score

LOOKED_AT = 1000
AT_ONCE = 500
KEPT_GROUPS = 20
KEPT_S = 60.0  # a job whose arguments were changed keeps its place: it is seen after so long


@dataclass(frozen=True, slots=True)
class Told:
    """What a job tells of whom it was for."""

    person: str
    kind: str
    worker: str
    task: str


@dataclass(slots=True)
class Hit:
    """Whom a group's newest failed jobs were for, by what can be told of them."""

    looked: int = 0
    people: set[str] = field(default_factory=set)
    by: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, name: str, value: str) -> None:
        """Count one job under a heading."""
        if value:
            self.by.setdefault(name, Counter())[value] += 1


@dataclass(frozen=True, slots=True)
class Read:
    """What was read of a group: how many jobs there were, the score of the newest, what they tell."""

    total: int | None
    newest: int
    told: Sequence[Told]
    hit: Hit
    since: float  # by the monotonic clock, when all was read


def failed(group: str) -> JobFilter:
    """Return the filter of a group's failed jobs."""
    return JobFilter(state=State.FAILED, terms=(Term("group", (group,)),))


class Hits:
    """What a web process has read of the groups that are looked at."""

    def __init__(self, huey: JobHuey) -> None:
        self.huey = huey
        self._lock = threading.Lock()
        self._read: dict[str, Read] = {}

    def of(self, group: str, page: Page) -> Hit:
        """Return whom a group hit; `page` is the newest of its failed jobs, just read.

        Cost: nothing while no job came or went, one search for jobs that came, two or three for all.
        """
        known = self._read.get(group)
        if known and time.monotonic() - known.since > KEPT_S:
            known = None
        if known is None or (known.total, known.newest) != (page.total, _newest(page)):
            known = (known and self._read_on(group, known, page)) or self._read_all(group)
        with self._lock:
            self._read.pop(group, None)
            self._read[group] = known
            while len(self._read) > KEPT_GROUPS:
                self._read.pop(next(iter(self._read)))
        return known.hit

    def _read_on(self, group: str, known: Read, page: Page) -> Read | None:
        """Read the jobs that came; None where others went or changed, which only a new look tells."""
        if known.total is None or page.total is None or not 0 < page.total - known.total < AT_ONCE:
            return None
        came = self.huey.reads.jobs(failed(group), f"n{known.newest}", AT_ONCE)
        if len(came.items) != page.total - known.total:
            return None
        told = [*self._told(came.items), *known.told][:LOOKED_AT]
        return Read(page.total, _newest(page), told, counted(told), known.since)

    def forget(self) -> None:
        """Read anew in the next look: somebody has just changed something."""
        with self._lock:
            self._read.clear()

    def _read_all(self, group: str) -> Read:
        since = time.monotonic()
        page = first = self.huey.reads.jobs(failed(group), None, AT_ONCE)
        jobs = list(page.items)
        while page.next is not None and len(jobs) < LOOKED_AT:
            page = self.huey.reads.jobs(failed(group), page.next, AT_ONCE)
            jobs += page.items
        told = self._told(jobs)
        return Read(first.total, _newest(first), told, counted(told), since)

    def _told(self, jobs: Sequence[Job]) -> list[Told]:
        parameters = {job.task: self.huey.parameters(job.task) for job in jobs}
        return [_told(job, parameters[job.task]) for job in jobs]


def _newest(page: Page) -> int:
    at = page.items[0].changed_at if page.items else None
    return score(at) if at else 0


def _told(job: Job, parameters: Sequence[str]) -> Told:
    named = {**dict(zip(parameters, job.args, strict=False)), **job.kwargs}
    person, kind = _text(named.get("to")), _text(named.get("type"))
    return Told(person.casefold() if "@" in person else "", kind, job.worker or "", job.task.removeprefix("tasks."))  # fmt: skip


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def counted(told: Sequence[Told]) -> Hit:
    """Count whom jobs were for: addresses, their domains, types of mail, tasks, workers."""
    found = Hit(looked=len(told))
    for one in told:
        if one.person:
            found.people.add(one.person)
        found.add("Recipient domain", one.person.rpartition("@")[2])
        found.add("Type", one.kind)
        found.add("Worker", one.worker)
        found.add("Task", one.task)
    if len(found.by.get("Task", ())) < 2:
        found.by.pop("Task", None)
    return found
