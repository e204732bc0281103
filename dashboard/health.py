"""Is anything broken: the checks behind the overview's sentence, /readyz and the API's health."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from dashboard import formats
from dashboard.kept import Kept
from tasks import kpis, outbox
from tasks.alerts import models as alerts
from tasks.database import reading, utcnow
from tasks.engine import EngineError, JobHuey, State, Unreachable
from tasks.engine.figures.measuring import WEEK_S
from tasks.engine.instance import Snapshot
from tasks.kpis import BY_NAME, KPIS, LEAST_SAMPLES, Kpi, current

T = TypeVar("T")
OLD_ROW, OUTBOX = timedelta(minutes=1), "/jobs?outbox=1"
MENDED_SHOWN = timedelta(days=1)
KPIS_AGE_S = 5.0
TREND_AGE_S = 30.0
SERVER_AGE_S = 5.0
SLOWEST = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is well or not; `sentence` is what the overview says of it when it is not."""

    name: str
    status: str  # healthy, degraded or unhealthy
    detail: str
    value: float | None = None
    sentence: str = ""
    address: str = ""
    grave: bool = False  # looks as bad as unhealthy, though what matters most goes on
    until: datetime | None = None  # when it ends by itself

    @property
    def is_pause(self) -> bool:
        """Tell whether somebody paused a queue, a task or a tag."""
        return self.name.startswith("pause:")

    @property
    def is_alert(self) -> bool:
        """Tell whether an alert rule fires; a page of its own lists those."""
        return self.name.startswith("alert:")


@dataclass(frozen=True, slots=True)
class Trend:
    """Where the five figures come from: their lines, since when one is off target, a week before."""

    lines: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    off_since: Mapping[str, datetime | None] = field(default_factory=dict)
    before: Mapping[str, Kpi] = field(default_factory=dict)
    slowest: Sequence[tuple[str, float]] = ()  # task, p95 run in ms of the last day


class Shared:
    """What the pages of one second have read: many tabs on a page cost its reads once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}
        self._found: dict[str, Any] = {}

    def get(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` returned for this name, made by the first who asks; others of it wait."""
        with self._lock:
            alone = self._making.setdefault(name, threading.Lock())
        with alone:
            if name not in self._found:
                self._found[name] = make()
            found: T = self._found[name]
            return found


@dataclass(frozen=True, slots=True)
class View:
    """What one second of the dashboard rests on; `snapshot` is None while Redis never answered."""

    at: datetime
    snapshot: Snapshot | None
    error: str = ""
    checks: Sequence[Check] = field(default_factory=tuple)
    kpis: Sequence[Kpi] = field(default_factory=tuple)
    trend: Trend = field(default_factory=Trend)
    outbox_waiting: int = 0
    since: datetime | None = None
    shared: Shared = field(default_factory=Shared, repr=False, compare=False)

    @property
    def status(self) -> str:
        """Return the worst of the checks."""
        order = ("healthy", "degraded", "unhealthy")
        return max((check.status for check in self.checks), key=order.index, default="healthy")

    @property
    def firing(self) -> int:
        """Count the alert rules that fire and are not muted."""
        return sum(check.name.startswith("alert:") for check in self.checks)

    @property
    def troubles(self) -> list[Check]:
        """Return what is not well, the worst first."""
        bad = [check for check in self.checks if check.status != "healthy"]
        return sorted(bad, key=lambda check: (check.status != "unhealthy", not check.grave))


def trend_of(huey: JobHuey) -> Trend:
    """Return the lines of the last hour, and of the last day for the two shares."""
    spans = {1: kpis.history(huey, "1h"), 24: kpis.history(huey, "24h")}
    lines, off = {}, {}
    for definition in KPIS:
        points = spans[definition.hours]
        lines[definition.name] = [found[definition.name].value for _, found in points]
        off[definition.name] = kpis.off_since(points, definition.name)
    timed = [
        (task, seen.run.p95_ms)
        for (_, task), seen in huey.reads.by_task().items()
        if seen.run.p95_ms is not None
    ]
    slowest = sorted(timed, key=lambda one: -one[1])[:SLOWEST]
    return Trend(lines, off, kpis.over(huey, 3600, WEEK_S), slowest)


class Watch:
    """One view a second for all viewers of a web process: a hundred tabs cost one snapshot."""

    def __init__(self, huey: JobHuey) -> None:
        self.huey = huey
        self._lock = threading.Lock()
        self._view: View | None = None
        self._made = 0.0
        self._away_since: datetime | None = None
        self._figures: Kept[Sequence[Kpi]] = Kept(KPIS_AGE_S)
        self._trend: Kept[Trend] = Kept(TREND_AGE_S)
        self._server: Kept[tuple[Check, Check]] = Kept(SERVER_AGE_S)

    def view(self, max_age_s: float = 1.0) -> View:
        """Return the view of the last second; a viewer that comes while it is made waits for it."""
        with self._lock:
            if self._view is None or time.monotonic() - self._made > max_age_s:
                self._view = self._look()
                self._made = time.monotonic()
            return self._view

    def forget(self) -> None:
        """Let the next viewer look anew: somebody has just changed something and wants to see it."""
        with self._lock:
            self._made = float("-inf")
            self._figures.forget()
            self._server.forget()

    def _look(self) -> View:
        ask = cache(_from_sql)  # once, also where Redis fails while it is asked
        try:
            snapshot, sql = self.huey.reads.snapshot_beside(ask)
        except Unreachable as exc:
            return self._away(str(exc), ask())
        self._away_since = None
        figures = self._figures.get(lambda: current(self.huey))
        trend = self._trend.get(lambda: trend_of(self.huey))
        server = self._server.get(lambda: (_server(self.huey), _keys(self.huey)))
        checks = [
            Check("redis", "healthy", "answers"), *server, sql.check, _workers(snapshot),
            _unserved(snapshot), _versions(snapshot), *_queues(self.huey, snapshot), *_alerts(sql.firing), *_parts(snapshot), *_off_target(figures), _ticks(self.huey),
            _outbox(sql),
        ]  # fmt: skip
        return View(
            snapshot.at, snapshot, checks=tuple(checks), kpis=tuple(figures), trend=trend,
            outbox_waiting=sql.rows,
        )  # fmt: skip

    def _away(self, error: str, sql: FromSql) -> View:
        """Keep the last figures and say since when Redis is away."""
        self._away_since = self._away_since or utcnow()
        last = self._view.snapshot if self._view else None
        sentence = f"Redis unreachable since {self._away_since:%H:%M}, nothing runs, {formats.jobs(sql.rows)} in the outbox"
        down = Check("redis", "unhealthy", error, sentence=sentence)
        return View(
            utcnow(),
            last,
            error,
            (down, sql.check),
            outbox_waiting=sql.rows,
            since=self._away_since,
        )


@dataclass(frozen=True, slots=True)
class FromSql:
    """What one session of the database told: whether it answers, the outbox, the rules that fire."""

    check: Check
    rows: int = 0
    oldest: datetime | None = None
    firing: Sequence[alerts.AlertIncident] = ()


def _from_sql() -> FromSql:
    try:
        with reading() as db:
            rows, oldest = outbox.waiting(db)
            return FromSql(Check("database", "healthy", "answers"), rows, oldest, alerts.firing(db))
    except SQLAlchemyError as exc:
        down = "The database does not answer"
        return FromSql(Check("database", "unhealthy", str(exc)[:200], sentence=down))


def _workers(snapshot: Snapshot) -> Check:
    waiting = snapshot.totals[State.WAITING]
    count = snapshot.workers_live
    if count == 0 and waiting:
        return Check("workers", "unhealthy", "no worker is alive", 0,
                     f"No worker is alive, {formats.jobs_wait(waiting)}", "/workers")  # fmt: skip
    if count == 0:
        return Check("workers", "degraded", "no worker is alive", 0,
                     "No worker is alive, nothing runs", "/workers", grave=True)  # fmt: skip
    return Check("workers", "healthy", f"{count} alive", count)


def _unserved(snapshot: Snapshot) -> Check:
    """Say in which queues jobs wait that no live worker takes; without a worker `_workers` says it."""
    left = [
        queue for queue in snapshot.queues
        if queue.counts[State.WAITING] and not queue.paused and queue.name not in snapshot.served
    ]  # fmt: skip
    if not left or not snapshot.workers_live:
        return Check("unserved", "healthy", "no job waits in a queue that nobody serves", 0)
    names = [queue.name for queue in left]
    waiting = sum(queue.counts[State.WAITING] for queue in left)
    detail = f"No live worker takes jobs of {formats.listed(names, 8)}: start one that serves them, or resume a quiet one"  # fmt: skip
    sentence = f"Nobody serves {formats.listed(names)}, {formats.jobs_wait(waiting)}"
    address = f"/jobs?status=waiting&q=queue:{','.join(names)}"
    return Check("unserved", "degraded", detail, waiting, sentence, address, grave=True)


def _versions(snapshot: Snapshot) -> Check:
    """Say where live workers run another version than the one that started last."""
    total = sum(snapshot.versions.values())
    shown = [f"{version or 'none'} ({n})" for version, n in snapshot.versions.items()]
    if len(shown) < 2:
        return Check("versions", "healthy", f"workers run {shown[0]}" if shown else "no worker is alive")  # fmt: skip
    newest, many = next(iter(snapshot.versions.items()))
    left = total - many
    verb = "runs" if left == 1 else "run"
    sentence = f"{left} of {total} workers {verb} another version than {newest or 'none'}, which started last"  # fmt: skip
    return Check("versions", "degraded", f"Live workers by version: {formats.listed(shown, 8)}", left,
                 sentence, "/workers")  # fmt: skip


def _queues(huey: JobHuey, snapshot: Snapshot) -> list[Check]:
    found = []
    for queue in snapshot.queues:
        waiting = queue.counts[State.WAITING]
        if queue.breaker:
            name = getattr(huey.declared.get(queue.name), "breaker", None) or "the outside"
            then = (
                f", next try {queue.breaker.next_probe_at:%H:%M:%S}"
                if queue.breaker.next_probe_at
                else ""
            )
            since = f" since {queue.breaker.since:%H:%M}" if queue.breaker.since else ""
            sentence = f"{queue.name.capitalize()}: {name} unreachable{since}, {formats.number(waiting)} waiting{then}"
            found.append(
                Check(
                    f"breaker:{queue.name}",
                    "degraded",
                    queue.breaker.reason,
                    waiting,
                    sentence,
                    f"/queues/{queue.name}",
                    grave=True,
                )
            )
        if queue.pause:
            until = formats.until(queue.pause.until)
            by = f" by {queue.pause.by}" if queue.pause.by else ""
            found.append(Check(f"pause:{queue.name}", "degraded", queue.pause.reason, waiting,
                               f"{queue.name} is paused{by}{until}, {formats.number(waiting)} waiting", f"/queues/{queue.name}",
                               until=queue.pause.until))  # fmt: skip
    return found


def _parts(snapshot: Snapshot) -> list[Check]:
    """Say which tasks and tags are paused."""
    found = []
    for part in snapshot.paused_parts:
        until = formats.until(part.pause.until)
        by = f" by {part.pause.by}" if part.pause.by else ""
        sentence = f"{part.kind.capitalize()} {part.name.removeprefix('tasks.')} is paused{by}{until}, {part.parked} held"
        found.append(Check(f"pause:{part.kind}:{part.name}", "degraded", part.pause.reason, part.parked, sentence,
                           f"/jobs?{part.kind}={part.name}&status=waiting", until=part.pause.until))  # fmt: skip
    return found


def _alerts(firing: Sequence[alerts.AlertIncident]) -> list[Check]:
    """Say which alert rules fire and are not muted."""
    return [
        Check(f"alert:{one.open_of}", "degraded", f"At {formats.soon(one.opened_at)}: {one.said}", one.worst,
              f"{one.name}, since {formats.soon(one.opened_at)}", f"/alerts/{one.open_of}", one.severity == "critical")
        for one in firing
    ]  # fmt: skip


def _said(kpi: Kpi, value: float | None) -> str:
    """Return a figure of this KPI with its unit."""
    if kpi.unit == "%":
        return formats.share(value)
    return formats.duration(value) if kpi.unit == "s" else f"{formats.few(value)} {kpi.unit}"


def _off_target(figures: Sequence[Kpi]) -> list[Check]:
    return [
        Check(
            f"kpi:{kpi.name}", "degraded", f"Measured over {formats.number(kpi.samples)} samples",
            kpi.value, f"{kpi.label}: {_said(kpi, kpi.value)}, target {_said(kpi, kpi.target)}",
            BY_NAME[kpi.name].where or "/kpis",
        )
        for kpi in figures
        if kpi.ok is False and kpi.samples >= LEAST_SAMPLES
    ]  # fmt: skip


def _ticks(huey: JobHuey) -> Check:
    """Say which periodic task has a due tick that nobody fired and that nothing ran since."""
    try:
        late = [task for task in huey.reads.periodic() if task.late]
    except EngineError as exc:
        return Check("periodic", "degraded", str(exc))
    if not late:
        return Check("periodic", "healthy", "no tick was missed")
    first = late[0]
    at = formats.soon(first.late.at if first.late else None)
    more = f", and {len(late) - 1} more" if len(late) > 1 else ""
    sentence = f"{first.task.removeprefix('tasks.')} missed its tick at {at}{more}"
    return Check("periodic", "degraded", f"{first.task} was due at {at} and did not run", len(late),
                 sentence, "/periodic")  # fmt: skip


def _outbox(sql: FromSql) -> Check:
    if sql.oldest and utcnow() - sql.oldest > OLD_ROW:
        sentence = f"{formats.jobs_wait(sql.rows)} in the outbox since {sql.oldest:%H:%M}"
        return Check(
            "outbox", "degraded", f"oldest since {sql.oldest:%H:%M:%S}", sql.rows, sentence, OUTBOX
        )
    return Check("outbox", "healthy", f"{sql.rows} waiting", sql.rows)


def _keys(huey: JobHuey) -> Check:
    """Say what the check of all keys had to mend in the last day."""
    try:
        found = [row for row in huey.reads.fsck().last if utcnow() - row[0] < MENDED_SHOWN]
    except EngineError as exc:
        return Check("keys", "degraded", str(exc))
    if not found:
        return Check("keys", "healthy", "nothing had to be mended")
    at, what, name = found[0]
    many = f"{len(found)} things" if len(found) > 1 else "one thing"
    sentence = f"The check of Redis mended {many}, last at {at:%H:%M}: {what} ({name})"
    return Check("keys", "degraded", sentence, len(found), sentence)


def _server(huey: JobHuey) -> Check:
    try:
        server = huey.reads.server()
    except EngineError as exc:
        return Check("redis settings", "degraded", str(exc))
    faults = server.faults
    if server.refuses:
        sentence = "Redis cannot write to its disk: nothing is queued, run or changed until it can"
        return Check("redis settings", "unhealthy", server.refuses, len(faults), sentence)
    if faults:
        return Check(
            "redis settings", "degraded", "; ".join(faults), len(faults), f"Redis: {faults[0]}"
        )
    return Check("redis settings", "healthy", "as they should be")


def as_json(view: View) -> dict[str, Any]:
    """Return the health as the API answers it."""
    return {
        "status": view.status,
        "checks": [
            {"name": c.name, "status": c.status, "detail": c.detail, "value": c.value}
            for c in view.checks
        ],
    }
