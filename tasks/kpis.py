"""The five key figures: what they are, their targets, now, over a range and a week before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks.database import reading, unless_away, utcnow
from tasks.engine import JobHuey
from tasks.engine.figures.chosen import choice
from tasks.engine.figures.measuring import RANGES, WEEK_S
from tasks.engine.figures.metrics import Figures
from tasks.mailer import models as mail

SLOW_QUEUES = ("sync", "maintenance")
LEAST_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Kpi:
    """One of the five figures; `ok` is None where there is no value or no target."""

    name: str
    label: str
    value: float | None
    target: float | None
    ok: bool | None
    samples: int = 0
    unit: str = ""
    above: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What one span of time saw: of everything, of the queues that are to be fast, of mails."""

    all: Figures
    fast: Figures
    mails: tuple[int, int]  # ended, delivered


@dataclass(frozen=True, slots=True)
class Definition:
    """One key figure; `measure` returns its value and how many samples it rests on."""

    name: str
    label: str
    unit: str
    target: float | None
    above: bool
    hours: int  # over how long the figure of now is taken
    measure: Callable[[Seen], tuple[float | None, int]]
    meaning: str
    where: str = ""

    @property
    def title(self) -> str:
        """Return the label without its time: for a figure over another one."""
        return self.label.removesuffix(f", {self.hours} h")

    def of(self, seen: Seen) -> Kpi:
        """Return the figure of one span of time."""
        value, samples = self.measure(seen)
        return Kpi(
            self.name,
            self.label,
            value,
            self.target,
            self.ok(value),
            samples,
            self.unit,
            self.above,
        )

    def ok(self, value: float | None) -> bool | None:
        """Tell whether a value is on target; None where there is no value or no target."""
        if value is None or self.target is None:
            return None
        return value > self.target if self.above else value < self.target


def _api(seen: Seen) -> tuple[float | None, int]:
    return seen.all.mean_ms("api"), seen.all.observed.get("api:n", 0)


def _delivery(seen: Seen) -> tuple[float | None, int]:
    ended, delivered = seen.mails
    return (delivered / ended if ended else None), ended


def _failed(seen: Seen) -> tuple[float | None, int]:
    return seen.all.failed_share, seen.all.finished


def _processing(seen: Seen) -> tuple[float | None, int]:
    found = seen.fast.whole
    return (found.p95_ms / 1000 if found.p95_ms is not None else None), found.samples


def _throughput(seen: Seen) -> tuple[float | None, int]:
    done = seen.all.finished
    return (done * 60 / seen.all.span_s if done else None), done


KPIS = (
    Definition("api_response_ms", "API answer, mean, 1 h", "ms", 200, False, 1, _api,
               "Mean server time of the academy's calls and POST /api/email"),
    Definition("delivery_rate", "Mail delivered, 24 h", "%", 0.95, True, 24, _delivery,
               "Sent of sent, failed and expired; bounces are taken off", "/emails?state=failed"),
    Definition("failed_rate", "Jobs failed, 24 h", "%", 0.05, False, 24, _failed,
               "Ended failed of all that completed or failed", "/jobs?status=failed"),
    Definition("processing_s", "Wait and run, p95, 1 h", "s", 30, False, 1, _processing,
               "Ready to finished, of 95 in 100 jobs; sync and maintenance left out", "/queues"),
    Definition("jobs_per_minute", "Jobs a minute, 1 h", "", None, True, 1, _throughput,
               "Completed and failed jobs"),
)  # fmt: skip
BY_NAME = {found.name: found for found in KPIS}


def fast(huey: JobHuey) -> list[str]:
    """Return the queues that are to be fast."""
    return [queue for queue in huey.declared if queue not in SLOW_QUEUES]


def history(huey: JobHuey, range_: str) -> list[tuple[datetime, dict[str, Kpi]]]:
    """Return [(point, {name: figure})] of a range, oldest first. Raises Unreachable, KeyError."""
    everything, quick = huey.reads.metrics_of(range_, [choice(), choice(queues=fast(huey))])
    step_s = RANGES[range_].step_s
    posted = mails_by_step(everything[0].at, step_s)
    found = []
    for whole, part in zip(everything, quick, strict=True):
        seen = Seen(whole, part, posted.get(int(whole.at.timestamp()) // step_s, (0, 0)))
        found.append((whole.at, {kpi.name: kpi.of(seen) for kpi in KPIS}))
    return found


def mails_by_step(since: datetime, step_s: int) -> dict[int, tuple[int, int]]:
    """Return {step since 1970: (mails ended, delivered)}; nothing while the database is away."""

    def ask() -> dict[int, tuple[int, int]]:
        with reading() as db:
            return mail.delivered_by_time(db, since, step_s)

    return unless_away(ask, {})  # the other four are known all the same


def over(huey: JobHuey, span_s: int, back_s: int = 0, *,
         without: Iterable[str] = ()) -> dict[str, Kpi]:  # fmt: skip
    """Return {name: figure} of the last `span_s` seconds, or of as long a time before.

    `without` names tasks that are left out.
    """
    choices = [choice(without=without), choice(queues=fast(huey), without=without)]
    everything, quick = huey.reads.measured_of(span_s, choices, back_s)
    ended = delivered = 0
    if since := everything.at:
        for at, (total, sent) in mails_by_step(since, 600).items():
            if at * 600 < int(utcnow().timestamp()) - back_s:
                ended, delivered = ended + total, delivered + sent
    seen = Seen(everything, quick, (ended, delivered))
    return {kpi.name: kpi.of(seen) for kpi in KPIS}


def compared(huey: JobHuey, range_: str) -> list[tuple[Definition, Kpi, Kpi]]:
    """Return (definition, this range, the same time a week before) of each figure."""
    span_s = RANGES[range_].span_s
    now, before = over(huey, span_s), over(huey, span_s, WEEK_S)
    return [(kpi, now[kpi.name], before[kpi.name]) for kpi in KPIS]


def current(huey: JobHuey) -> list[Kpi]:
    """Return the five of now: over the last hour, 24 h for the two shares. Raises Unreachable."""
    hour, day = over(huey, 3600), over(huey, 86400)
    return [(day if kpi.hours == 24 else hour)[kpi.name] for kpi in KPIS]


def off_since(points: Sequence[tuple[datetime, dict[str, Kpi]]], name: str) -> datetime | None:
    """Return since when a figure is off target without a break; None when it is not."""
    since = None
    for at, found in reversed(points):
        if found[name].ok is None:
            continue
        if found[name].ok:
            break
        since = at
    return since
