"""The search of the job table: what an address asks for, its chips, its strip, what the box may offer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from flask import request

from dashboard import actions, query
from dashboard.answers import when
from dashboard.formats import jobs, number
from dashboard.meaning import alike, closest, task_words
from dashboard.pages import watch
from dashboard.query import Part, QueryError
from tasks.engine import Job, JobFilter, State, Unreachable
from tasks.engine.records import Page, Survey

PARAMS = {"status": "state", "queue": "queue", "task": "task", "tag": "tag", "error": "error",
          "since": "after", "until": "before"}  # fmt: skip
OFFERED = 8
LEAST_LIKE = 3  # letters from which on a word may be misspelt
BARS = 60


def address(**changed: Any) -> str:
    """Return the table's address with arguments changed; None takes one out."""
    args = {**request.args.to_dict(), "cursor": None, "fresh": None, **changed}
    kept = {name: value for name, value in args.items() if value not in (None, "")}
    here = f"{request.script_root}/jobs"
    return f"{here}?{urlencode(kept)}" if kept else here


@dataclass(frozen=True, slots=True)
class Chip:
    """One condition of the search; `without` is the address that leaves it out."""

    field: str
    text: str
    without: str


def parts(text: str | None = None) -> tuple[Part, ...]:
    """Return the conditions of a query, this address's if none is given; none where it cannot be read."""
    try:
        return query.parse(request.args.get("q", "") if text is None else text)
    except QueryError:
        return ()


def chips() -> list[Chip]:
    """Return what the search is made of: the arguments of the address, then the query's parts."""
    given = [(name, field, request.args.get(name, "")) for name, field in PARAMS.items()]
    found = [Chip(f"{f}:", value, address(**{name: None})) for name, f, value in given if value]
    all_of_them = parts()
    for part in all_of_them:
        rest = query.write(other for other in all_of_them if other is not part)
        sign, field, text = "-" if part.negated else "", part.field, str(part).removeprefix("-")
        name = f"{sign}{field}:" if field != "text" else sign
        found.append(Chip(name, text.removeprefix(f"{field}:"), address(q=rest)))
    return found


def tab(state: State | None) -> str:
    """Return the address of a state's tab: the same search in another state."""
    rest = query.write(part for part in parts() if part.field != "state" or part.negated)
    return address(status=state.value if state else None, q=rest)


def whole(args: Mapping[str, str] | None = None) -> str:
    """Return a search as one query: that of this address, or of other arguments."""
    given = request.args if args is None else args
    named = [Part(field, (given[name],)) for name, field in PARAMS.items() if given.get(name)]
    return query.write([*named, *parts(given.get("q", ""))])


# What was meant


@dataclass(frozen=True, slots=True)
class Meant:
    """A search as it was meant, and its address."""

    text: str
    address: str


def meant(page: Page | None) -> Meant | None:
    """Return the search that was meant where this one cannot be read, or finds nothing by its names."""
    given = request.args.get("q", "")
    try:
        query.parse(given)
    except QueryError:
        mended = query.mended(given)
        return Meant(mended, address(q=mended)) if mended else None
    if page is None or page.items or page.next or page.previous:
        return None
    asked = query.parse(whole())
    other = [_respelt(part) for part in asked]
    text = query.write(other)
    gone = dict.fromkeys(PARAMS, None)
    return Meant(text, address(**gone, q=text)) if list(asked) != other else None


def _respelt(part: Part) -> Part:
    """Return a part with the tasks and queues in it that there are, in place of those there are not."""
    if part.negated or part.field not in ("task", "queue"):
        return part
    try:
        known = NAMES[part.field]()
    except Unreachable:
        return part
    found = [v if v in known else next(iter(alike(v, known, 1)), v) for v in part.values]
    return replace(part, values=tuple(found))


def _task_names() -> dict[str, str]:
    names = actions.huey().reads.tasks()
    return {name: name for name in names} | task_words(names)


def _queue_names() -> dict[str, str]:
    snapshot = watch().snapshot
    return {queue.name: queue.name for queue in (snapshot.queues if snapshot else ())}


NAMES: Mapping[str, Callable[[], dict[str, str]]] = {"task": _task_names, "queue": _queue_names}


# How many match, and when


def survey(wanted: JobFilter, page: Page, is_first: bool) -> Survey:
    """Count what matches and draw it over time; a page that holds everything is counted itself."""
    if page.total is None and page.next is None and is_first:
        return _of_page(page)
    return actions.huey().reads.survey(wanted, BARS, page)


def _of_page(page: Page) -> Survey:
    """Survey jobs that are all on the page."""
    count = len(page.items)
    changed = [job.changed_at for job in page.items if job.changed_at]
    if not changed:
        return Survey(count=count, exact=True, searched=page.searched, of=page.of)
    start, end = min(changed), watch().at
    step = max(1.0, (end - start).total_seconds() / BARS)
    bars, failed = [0] * BARS, [0] * BARS
    for job in page.items:
        at = min(BARS - 1, max(0, int(_since(job, start) / step)))
        bars[at] += 1
        failed[at] += job.state is State.FAILED
    return Survey(count=count, exact=True, searched=page.searched, of=page.of, start=start,
                  step_s=step, bars=bars, failed=failed)  # fmt: skip


def _since(job: Job, start: datetime) -> float:
    return ((job.changed_at or start) - start).total_seconds()


@dataclass(frozen=True, slots=True)
class Bar:
    """One span of the strip, in its 600 by 24 units; `address` narrows the search to it."""

    x: float
    height: float
    failed: float
    title: str
    address: str


def strip(found: Survey) -> list[Bar]:
    """Return a survey as bars: all that match, the failed ones of them apart."""
    top = max([*found.bars, 1])
    width = 600 / max(1, len(found.bars))
    start = found.start or watch().at
    bars = []
    for n, (many, failed) in enumerate(zip(found.bars, found.failed, strict=True)):
        at = start + timedelta(seconds=n * found.step_s)
        high = max(2.0, many / top * 23) if many else 0.0
        red = max(2.0, failed / top * 23) if failed else 0.0
        said = f"{at:%-d %b %H:%M} UTC: {number(many)}" + (f", {number(failed)} failed" if failed else "")  # fmt: skip
        narrowed = address(since=when(at), until=when(at + timedelta(seconds=found.step_s)))
        bars.append(
            Bar(round(n * width, 2), round(high, 1), round(min(high, red), 1), said, narrowed)
        )
    return bars


def end(found: Survey) -> datetime | None:
    """Return where the strip ends."""
    return found.start + timedelta(seconds=found.step_s * len(found.bars)) if found.start else None


# What the box may offer


@dataclass(frozen=True, slots=True)
class Offer:
    """One line of the menu: `text` completes the word; `note` says how many or what it is.

    `address` is where it leads; empty for a field, whose value is still to be typed.
    """

    text: str
    note: str
    address: str = ""


def offers(kept: str, typed: str) -> tuple[list[Offer], str]:
    """Return what completes the word being typed, and a sentence on what is searched."""
    before, _, word = typed.rpartition(" ")
    field, colon, value = word.removeprefix("-").partition(":")
    sign = "-" if word.startswith("-") else ""
    if not colon:
        fields = list(_fields(field)) or list(_fields(closest(field, query.FIELDS) or field))
        return [Offer(f"{sign}{name}", said) for name, said in fields], WORDS
    known = list(_values(field, value))[:OFFERED]
    stem = " ".join(part for part in (kept, before) if part)
    found = []
    for text, note in known:
        said = f"{sign}{query.write([Part(field, (text,))])}"
        found.append(Offer(said, note, address(q=f"{stem} {said}".strip())))
    if watch().error and field in VALUES:
        return found, "Redis does not answer: what there is to choose comes back with it."
    return found, HINTS.get(field, f"{field.capitalize()}: {query.FIELDS[field]}." if field in query.FIELDS else WORDS)  # fmt: skip


def _fields(start: str) -> Iterator[tuple[str, str]]:
    for name, said in query.FIELDS.items():
        written = "args." if name == "args" else f"{name}:"
        if written.startswith(start):
            yield written, said


def _values(field: str, value: str) -> Iterable[tuple[str, str]]:
    try:
        found = VALUES[field]() if field in VALUES and not watch().error else []
    except Unreachable:
        found = []
    fits = [(text, note) for text, note in found if value.casefold() in f"{text} {note}".casefold()]
    if fits or len(value) < LEAST_LIKE:
        return fits
    notes = dict(found)
    return [
        (text, f"{notes[text]}, is like it") for text in alike(value, task_words(notes), OFFERED)
    ]


def _states() -> list[tuple[str, str]]:
    snapshot = watch().snapshot
    return [(s.value, jobs(snapshot.totals[s]) if snapshot else "") for s in State]


def _queues() -> list[tuple[str, str]]:
    snapshot = watch().snapshot
    found = snapshot.queues if snapshot else ()
    return [(queue.name, jobs(sum(queue.counts.values()))) for queue in found]


def _tasks() -> list[tuple[str, str]]:
    many: dict[str, int] = dict.fromkeys(actions.huey().reads.tasks(), 0)
    for (_, task), states in actions.huey().reads.task_mix().items():
        many[task] = many.get(task, 0) + sum(states.values())
    ordered = sorted(many.items(), key=lambda one: (-one[1], one[0]))
    return [(task.removeprefix("tasks."), jobs(n)) for task, n in ordered]


def _groups() -> list[tuple[str, str]]:
    found = actions.huey().reads.error_groups(limit=50).items
    return [(g.id, f"{g.type} {g.title[:60]}, {jobs(sum(g.jobs.values()))}") for g in found]


def _errors() -> list[tuple[str, str]]:
    many: dict[str, int] = {}
    for group in actions.huey().reads.error_groups(limit=200).items:
        many[group.type] = many.get(group.type, 0) + sum(group.jobs.values())
    return [(name, jobs(n)) for name, n in many.items()]


def _workers() -> list[tuple[str, str]]:
    return [(worker.id, worker.state) for worker in actions.huey().reads.workers()]


def _ages(*said: str) -> Callable[[], list[tuple[str, str]]]:
    return lambda: [(age, f"{age[:-1]} {UNITS[age[-1]]} ago") for age in said]


UNITS = {"m": "minutes", "h": "hours", "d": "days"}
VALUES: dict[str, Callable[[], Sequence[tuple[str, str]]]] = {
    "state": _states, "queue": _queues, "task": _tasks, "group": _groups, "error": _errors,
    "worker": _workers, "after": _ages("10m", "1h", "24h", "7d"), "before": _ages("1h", "24h", "7d"),
    "older": _ages("10m", "1h", "24h"), "recovered": lambda: [("yes", "its worker died"), ("no", "")],
    "attempt": lambda: [(">1", "tried more than once"), ("1", "tried once")],
}  # fmt: skip
WORDS = "Other words are looked for in ids, arguments, tags and errors; they have no index."
INDEXED = "Indexed for jobs that are scheduled, retrying, failed or cancelled."
HINTS = {
    "to": "An address, or *@domain. An address is indexed: all jobs are searched.",
    "task": f"A task's name, whole or its last part. {INDEXED}", "group": f"An error group. {INDEXED}",
    "tag": f"A tag. {INDEXED}", "batch": f"A batch. {INDEXED}",
    "state": "Indexed: all jobs are searched. A comma means or.",
    "queue": "Indexed: all jobs are searched. A comma means or.",
    "error": "Words of an error's class or message; its group is found at once.",
}  # fmt: skip
