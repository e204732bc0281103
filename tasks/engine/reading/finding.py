"""Finding jobs: pages by time of change and surveys, within a budget; Reads inherits it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from tasks.engine import rows
from tasks.engine.reading.plans import Key, Plan, Planner
from tasks.engine.records import Children, Job, JobFilter, Page, Place, State, Survey
from tasks.engine.scripts import Beside

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey
    from tasks.engine.storage import JobStorage

SEARCH_ROWS = 20_000
CROSSED = 10_000  # members that Redis looks up in other indexes: a few ms
SEARCH_S = 0.06
LOOK = 400  # members a script looks at: a few ms
AT_ONCE = 500  # jobs read by their ids in one round trip
PLACE_LOOK = 400  # and on either side of one job, for its neighbours
DECODED = 150  # rows a script answers to be read here
RANGES_AT_ONCE = 5000  # that a script counts: about 5 ms
LENGTHS_US = [s * 1_000_000 for s in (3600, 4 * 3600, 86400, 7 * 86400, 30 * 86400, 400 * 86400)]
LEAST_SPANS = 12


@dataclass(slots=True)
class Walk:
    """How far a search got; `edge` is the last score looked at, None once the end was reached."""

    found: list[tuple[int, Job]] = field(default_factory=list)
    searched: int = 0
    edge: int | None = None


@dataclass(slots=True)
class Spans:
    """Equal spans of time, us, and how many jobs changed in each; `failed` are those that have failed."""

    first: int
    step: int
    counts: list[int]
    failed: list[int]


class Finding:
    """The questions whose answer is a list of jobs."""

    huey: JobHuey
    storage: JobStorage

    def some(self, ids: Sequence[str]) -> dict[str, Job]:
        """Return jobs as lists show them, by id; those not kept are left out.

        Their `changed_at` is when they ended, or None. Cost: one round trip for each 500.
        """
        if len(ids) > AT_ONCE:
            parts = (self.some(ids[n : n + AT_ONCE]) for n in range(0, len(ids), AT_ONCE))
            return {job_id: job for part in parts for job_id, job in part.items()}
        keys = self.storage.keys.of
        asks = [
            ask for i in ids
            for ask in (("HGETALL", keys("job", i)), ("GET", keys("final", i)), ("GET", keys("envelope", i)),
                        ("LINDEX", keys("attempts", i), -1), ("GET", keys("progress", i)))
        ]  # fmt: skip
        reply = self.storage.pipeline(asks)
        found: dict[str, Job] = {}
        for n, job_id in enumerate(ids):
            figures, text, envelope, last, progress = reply[n * 5 : n * 5 + 5]
            if figures or text:
                row = rows.Row(job_id, 0, figures, text or b"", envelope or b"", [last or b""], progress or b"")  # fmt: skip
                job = rows.job_of(row)
                found[job_id] = replace(job, changed_at=job.finished_at)
        return found

    def names(self) -> list[str]:
        """Return every queue: the declared ones in order, then others that were used."""
        used = {
            name.decode() for name in self.storage.call("SMEMBERS", self.storage.keys.one("queues"))
        }
        declared = list(self.huey.declared)
        return declared + sorted(used - set(declared))

    def jobs(self, wanted: JobFilter, cursor: str | None = None, limit: int = 50,
             newest_first: bool = True, bars: int = 0) -> Page:  # fmt: skip
        """List jobs by time of their last change.

        Args:
            cursor: `next` or `previous` of another page; None starts at the newest.
            limit: 1 to 500 jobs.
            newest_first: False turns the page's order around.
            bars: of the survey that will be asked for with this page: where indexes alone answer the
                filter, Redis counts while the page's jobs are read here.
        Returns: a page whose `total` is exact where indexes alone answer the filter, else None;
            `of` is how many jobs the smallest index holds.
        Raises: UnknownQueue; EngineError for a value that no field takes.
        Cost: 3 round trips, and one more for each 400 jobs that had to be looked at.
        """
        limit = max(1, min(500, limit))
        plan = self._plan(wanted)
        first = next(self._asks(plan, wanted, bars), None) if plan.is_exact else None
        beside = Beside(self.storage.scripts, "bars", json.dumps(first)) if first else None
        walk = self._walk(plan, wanted, cursor, limit + 1, beside=beside)
        up = bool(cursor and cursor.startswith("n"))
        page = walk.found[1:] if up and len(walk.found) > limit else walk.found[:limit]
        items = [job for _, job in page]
        edge = page[0 if up else -1][0] if len(walk.found) > limit else walk.edge
        next_, previous = self._cursors(page, cursor, up, edge)
        return Page(
            items=items if newest_first else items[::-1], next=next_, previous=previous,
            total=plan.of if plan.is_exact else None, searched=walk.searched, of=plan.of, plan=plan,
            spans=beside.reply if beside else None,
        )  # fmt: skip

    def _cursors(self, page: Sequence[tuple[int, Job]], cursor: str | None, up: bool,
                 edge: int | None) -> tuple[str | None, str | None]:  # fmt: skip
        """Return where to go on, older and newer; `edge` None: nothing is left in this direction."""
        if not page and edge is None:
            return None, None
        newest, oldest = (page[0][0], page[-1][0]) if page else (edge, edge)
        if up:
            return f"o{oldest}", None if edge is None else f"n{edge}"
        return None if edge is None else f"o{edge}", f"n{newest}" if cursor else None

    def _plan(self, wanted: JobFilter) -> Plan:
        bounds = {"cross": CROSSED, "oldest": _score(wanted.since), "newest": _score(wanted.until)}

        def sizes(keys: Sequence[Key]) -> Sequence[int]:
            found: list[int] = self.storage.scripts.run(
                "sizes", json.dumps({**bounds, "keys": keys})
            )
            return found

        return Planner(self.huey, wanted, self.names()).plan(sizes)

    def _walk(self, plan: Plan, wanted: JobFilter, cursor: str | None, limit: int,
              most: int | None = None, beside: Beside | None = None) -> Walk:  # fmt: skip
        """Look at jobs until `limit` match, within a budget of `most` jobs and of time.

        beside: what Redis does while the first of them are read here.
        """
        up, most = bool(cursor and cursor.startswith("n")), most or SEARCH_ROWS
        ask = {**_ask(plan, wanted), "up": up, "from": cursor[1:] if cursor else ""}
        walk, started = Walk(), time.perf_counter()
        while True:
            left = limit - len(walk.found)
            ask["rows"] = left if plan.narrow is None else DECODED
            ask["look"] = max(1, min(LOOK, most - walk.searched))
            reply = self.storage.scripts.run("jobs", json.dumps(ask))
            read = partial(self._rows, reply[0])
            page = beside.while_(read) if beside and beside.reply is None else read()
            walk.searched += reply[1]
            matching = [row for row in page if plan.narrow is None or plan.narrow(row[1])]
            walk.found += matching[:left]
            ask["from"] = reply[2].decode() or ask["from"]
            full = len(walk.found) >= limit
            ended = reply[1] < ask["look"] and len(page) < ask["rows"] and not full
            walk.edge = None if ended else int(ask["from"])
            spent = walk.searched >= most or time.perf_counter() - started > SEARCH_S
            if ended or full or spent:
                if up:
                    walk.found.reverse()
                return walk

    def _rows(self, found: Sequence[Sequence[Any]]) -> list[tuple[int, Job]]:
        return [self._row(row) for row in found]

    def _row(self, row: Sequence[Any]) -> tuple[int, Job]:
        score = int(row[0])
        found = rows.Row(row[1].decode(), score, row[2], row[3], row[4], [row[5]], row[6])
        return score, rows.job_of(found)

    def children(self, job: Job, limit: int = 20) -> Children:
        """Return the jobs that a job queued while it ran, and those that follow it.

        They stand in the order in which they were queued; of more than `limit` those are read whose
        last change is the longest ago. Cost: two round trips.
        """
        key = self.storage.keys.of("children", job.id)
        total, first = self.storage.pipeline([("ZCARD", key), ("ZRANGE", key, 0, limit - 1)])
        followers = [follower for follower in (job.then_id, job.else_id) if follower]
        ids = dict.fromkeys([*followers, *(child.decode() for child in first)])
        items = sorted(self.some(list(ids)).values(), key=_queued) if ids else []
        return Children(items, max(total, len(items)))

    def place(self, wanted: JobFilter, at: datetime) -> Place:
        """Say which jobs stand before and after a moment among those that match, and which number it is.

        Cost: where indexes alone answer the filter seven round trips, else at most 400 jobs looked at
        on either side.
        """
        plan, score = self._plan(wanted), rows.score(at)
        many = 1 if plan.is_exact else PLACE_LOOK + 1
        newer = self._walk(plan, wanted, f"n{score}", many, PLACE_LOOK)
        older = self._walk(plan, wanted, f"o{score}", many, PLACE_LOOK)
        here = self._walk(plan, wanted, f"o{score + 1}", 1, 1)
        met = [job for found, job in here.found if found == score]
        if plan.is_exact:
            later = replace(wanted, since=_latest(wanted.since, rows.micros(score + 1)))
            above: int | None = self._plan(later).of
            total: int | None = plan.of
        else:
            above = len(newer.found) if newer.edge is None else None
            ended = above is not None and older.edge is None
            total = len(newer.found) + len(met) + len(older.found) if ended else None
        return Place(
            here=met[0] if met else None, newer=newer.found[-1][1] if newer.found else None,
            older=older.found[0][1] if older.found else None, total=total,
            number=above + 1 if above is not None else None,
            newer_cursor=_cut(newer, "n"), older_cursor=_cut(older, "o"),
        )  # fmt: skip

    def look_on(self, wanted: JobFilter, cursor: str = "") -> tuple[list[str], int, str | None]:
        """Look at the next jobs of a search, as many as the budget of a page allows.

        Returns: the ids that match, how many were looked at, and the cursor after them; None at the end.
        """
        walk = self._walk(self._plan(wanted), wanted, cursor or None, SEARCH_ROWS + 1)
        ids = [job.id for _, job in walk.found]
        return ids, walk.searched, None if walk.edge is None else f"o{walk.edge}"

    def size(self, wanted: JobFilter) -> int:
        """Return how many jobs a search for a filter has to look at."""
        return self._plan(wanted).of

    def indexed(self, wanted: JobFilter) -> int | None:
        """Count the jobs that match by indexes alone; None where jobs have to be looked at."""
        plan = self._plan(wanted)
        return plan.of if plan.is_exact or not plan.of else None

    def count(self, wanted: JobFilter) -> tuple[int, bool]:
        """Count the jobs that match. Returns: the count, and whether it is exact."""
        found = self.survey(wanted, bars=0)
        return found.count, found.exact

    def survey(self, wanted: JobFilter, bars: int = 60, page: Page | None = None) -> Survey:
        """Count the jobs that match, and how many of them changed when, within the budget of a search.

        Args:
            page: one of this filter, just read: what was counted for it is not counted again.
        Cost: exact filters one ZCOUNT for each key and bar that its jobs reach over; others one round
            trip for each 400 jobs.
        """
        plan = page.plan if page and page.plan else self._plan(wanted)
        if not plan.is_exact:
            return self._looked(plan, wanted, bars)
        return self._counted(plan, wanted, bars, page.spans if page else None)

    def _asks(self, plan: Plan, wanted: JobFilter, bars: int) -> Iterator[dict[str, Any]]:
        """Return what the script is asked for all keys of a plan, some at once; only the first places the spans."""
        if not bars or not plan.keys:
            return
        many = max(LEAST_SPANS, min(bars, RANGES_AT_ONCE // len(plan.keys)))
        ask: dict[str, Any] = {"many": many, "failed": plan.failed, **_placed(plan, wanted)}
        at_once = max(1, RANGES_AT_ONCE // many)
        for start in range(0, len(plan.keys), at_once):
            yield {**ask, "keys": plan.keys[start : start + at_once]}

    def _counted(self, plan: Plan, wanted: JobFilter, bars: int, begun: Sequence[Any] | None) -> Survey:  # fmt: skip
        """Survey by ranges alone; `begun` is the first reply, where it was asked for before."""
        found = Survey(count=plan.of, exact=True, searched=plan.of, of=plan.of)
        spans: Spans | None = None
        for ask in self._asks(plan, wanted, bars):
            if spans is None:
                spans = _spans(begun) if begun else self._spans(ask)
                continue
            more = self._spans({**ask, "first": spans.first, "step": spans.step})
            spans.counts = [a + b for a, b in zip(spans.counts, more.counts, strict=True)]
            spans.failed = [a + b for a, b in zip(spans.failed, more.failed, strict=True)]
        return replace(found, **_drawn(spans)) if spans else found

    def _spans(self, ask: dict[str, Any]) -> Spans:
        return _spans(self.storage.scripts.run("bars", json.dumps(ask)))

    def _looked(self, plan: Plan, wanted: JobFilter, bars: int) -> Survey:
        """Survey by looking at each job; where a job must be read to be known, pages of them are."""
        if plan.narrow is not None:
            walk = self._walk(plan, wanted, None, 500)
            return Survey(count=len(walk.found), exact=walk.edge is None, searched=walk.searched, of=plan.of)  # fmt: skip
        ask = {**_ask(plan, wanted), "up": False, "from": "", "rows": 1, "count": True}
        first = next(self._asks(plan, wanted, bars), None)
        spans = self._spans({**first, "keys": []}) if first else None  # to place them
        if spans:
            ask["bars"] = {"first": spans.first, "step": spans.step, "many": len(spans.counts)}
        count = searched = 0
        started = time.perf_counter()
        while True:
            ask["look"] = max(1, min(LOOK, SEARCH_ROWS - searched))
            reply = self.storage.scripts.run("jobs", json.dumps(ask))
            count, searched = count + reply[3], searched + reply[1]
            if spans:
                spans.counts = [a + b for a, b in zip(spans.counts, reply[4], strict=True)]
                spans.failed = [a + b for a, b in zip(spans.failed, reply[5], strict=True)]
            ended = reply[1] < ask["look"]
            ask["from"] = reply[2].decode() or ask["from"]
            if ended or searched >= SEARCH_ROWS or time.perf_counter() - started > SEARCH_S:
                return Survey(count=count, exact=ended, searched=searched, of=plan.of, **_drawn(spans))  # fmt: skip

    def recent_failures(self, limit: int = 8) -> list[Job]:
        """Return the jobs that failed last."""
        return list(self.jobs(JobFilter(state=State.FAILED), limit=limit).items)


def _ask(plan: Plan, wanted: JobFilter) -> dict[str, Any]:
    return {"keys": plan.keys, "tests": plan.tests, "needles": plan.needles,
            "oldest": _score(wanted.since), "newest": _score(wanted.until)}  # fmt: skip


def _placed(plan: Plan, wanted: JobFilter) -> dict[str, Any]:
    """Return what says where the spans of a survey begin and end."""
    asked = () if wanted.since else plan.keys
    sets = [key if isinstance(key, str) else key[0] for key in asked]
    return {"oldest_of": sets, "lengths": LENGTHS_US, "since": _score(wanted.since),
            "until": _score(wanted.until)}  # fmt: skip


def _spans(reply: Sequence[Any]) -> Spans:
    first, step, counts, failed = reply
    return Spans(int(first), int(step), counts, failed)


def _drawn(spans: Spans | None) -> dict[str, Any]:
    if spans is None:
        return {}
    start = datetime.fromtimestamp(spans.first / 1_000_000, UTC)
    return {"start": start, "step_s": spans.step / 1_000_000, "bars": spans.counts,
            "failed": spans.failed}  # fmt: skip


def _cut(walk: Walk, direction: str) -> str | None:
    """Return where a search that met nothing goes on; None where it met something or the end."""
    return None if walk.found or walk.edge is None else f"{direction}{walk.edge}"


def _queued(job: Job) -> tuple[bool, datetime]:
    return job.created_at is None, job.created_at or datetime.min.replace(tzinfo=UTC)


def _latest(one: datetime | None, other: datetime) -> datetime:
    return max(one or other, other)


def _score(at: datetime | None) -> str:
    return str(rows.score(at)) if at else ""
