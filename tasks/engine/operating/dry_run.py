"""Look before an act: how many jobs a query matches, in which states, and ten of them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from tasks.engine import rows
from tasks.engine.operating.acts import APPLIES
from tasks.engine.operations import DryRun
from tasks.engine.reading import ranges
from tasks.engine.records import Job, JobFilter, Page, State, Term

if TYPE_CHECKING:
    from tasks.engine.reads import Reads

SAMPLES = 10
BUDGET_S = 0.5
PAGE = 500


class Counted(NamedTuple):
    """What a query matches; `exact` False: at least so many."""

    many: int
    exact: bool
    by_state: Counter[State]
    searched: int
    of: int


def count(reads: Reads, query: JobFilter) -> Counted:
    """Count a query's jobs by state: exact where indexes alone answer it, as for failed jobs of a task.

    Cost: some round trips then, else at most half a second of searching.
    """
    mix = ranges.count(reads, query) if ranges.is_plain(query) else _indexed(reads, query)
    if mix is None:
        return _walk(reads, query)
    return Counted(mix.total(), True, mix, mix.total(), mix.total())


def _indexed(reads: Reads, query: JobFilter) -> Counter[State] | None:
    """Count by indexes, state by state; None where they do not answer each."""
    mix: Counter[State] = Counter()
    for state in State:
        many = reads.indexed(replace(query, terms=(*query.terms, Term("state", (state.value,)))))
        if many is None:
            return None
        mix[state] = many
    return mix


def _walk(reads: Reads, query: JobFilter) -> Counted:
    until, cursor, searched, of = time.monotonic() + BUDGET_S, None, 0, 0
    mix: Counter[State] = Counter()
    while True:
        page = reads.jobs(query, cursor, PAGE)
        mix.update(job.state for job in page.items)
        searched, of, cursor = searched + page.searched, max(of, page.of), page.next
        if cursor is None or time.monotonic() > until:
            return Counted(mix.total(), cursor is None, mix, min(searched, of), of)


def _skipped(kind: str) -> tuple[State, ...]:
    """Return the states whose jobs an operation of this kind passes over."""
    states = APPLIES.get(kind, tuple(State))
    return tuple(state for state in State if state not in states)


def _samples(reads: Reads, kind: str, query: JobFilter, cursor: str | None, skipped: bool) -> Page:
    if not skipped:
        return reads.jobs(query, cursor, SAMPLES)
    passed = tuple(state.value for state in _skipped(kind))
    if not passed:
        return Page(items=())
    return reads.jobs(replace(query, terms=(*query.terms, Term("state", passed))), cursor, SAMPLES)


def look(reads: Reads, kind: str, query: JobFilter, cursor: str | None = None,
         skipped: bool = False) -> DryRun:  # fmt: skip
    """Say what an operation of this kind would act on now. Raises UnknownQueue."""
    started, as_of = time.perf_counter(), rows.micros(reads.now_ms() * 1000)
    page = _samples(reads, kind, query, cursor, skipped)
    found = count(reads, query)
    states = APPLIES.get(kind, tuple(State))
    return DryRun(
        count=found.many, exact=found.exact, applies=sum(found.by_state[s] for s in states),
        by_state={s: n for s, n in found.by_state.items() if n}, samples=tuple(page.items), next=page.next,
        searched=found.searched, of=found.of, took_ms=(time.perf_counter() - started) * 1000,
        as_of=as_of,
    )  # fmt: skip


def look_at(reads: Reads, kind: str, jobs: list[Job], start: int = 0,
            skipped: bool = False) -> DryRun:  # fmt: skip
    """Say the same of jobs that were ticked one by one, with samples from the one at `start` on."""
    mix = Counter(job.state for job in jobs)
    states = APPLIES.get(kind, tuple(State))
    shown = [job for job in jobs if not skipped or job.state not in states]
    after = start + SAMPLES
    return DryRun(
        count=len(jobs), exact=True, applies=sum(mix[s] for s in states), by_state=dict(mix),
        samples=tuple(shown[start:after]), next=str(after) if after < len(shown) else None, searched=len(jobs), of=len(jobs), took_ms=0.0,
        as_of=rows.micros(reads.now_ms() * 1000),
    )  # fmt: skip
