"""When a rule would have fired in the last week, from the figures that are kept."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from tasks import kpis
from tasks.alerts import evaluation, measures
from tasks.alerts.measures import OWN, Measure, Now, Seen
from tasks.engine.figures import metrics
from tasks.engine.figures.chosen import Choice, choice
from tasks.engine.figures.measuring import Span
from tasks.engine.figures.metrics import GAUGES, Counts, Figures

WEEK_S = 7 * 86400
NO_PAST = (
    "No past is kept of this, so it cannot be said when it would have fired."
    " The rule looks at it once a minute from now on."
)


class Drafted(Protocol):
    """A rule, or one that is being written."""

    measure: Any
    target: Any
    over_minutes: Any
    comparison: Any
    threshold: Any
    for_minutes: Any


@dataclass(frozen=True, slots=True)
class Firing:
    """One time that it would have fired; `until` is None where it still would."""

    at: datetime
    until: datetime | None
    worst: float


@dataclass(frozen=True, slots=True)
class Preview:
    """What the last week says of a rule: its value over time and its firings, oldest first.

    `why` says why nothing can be told; `note` what is coarser in the past than it will be.
    """

    points: Sequence[tuple[datetime, float | None]] = ()
    firings: Sequence[Firing] = ()
    now: Seen | None = None
    breached: bool = False
    why: str = ""
    note: str = ""
    since: datetime | None = None


Point = tuple[datetime, int, Seen]  # the end of a span, its seconds, what the rule would have seen


@dataclass(slots=True)
class Window:
    """The counts of the last spans together; a span that leaves is taken off again."""

    span_s: int
    counts: Counts = field(default_factory=dict)
    inside: deque[tuple[Span, Counts]] = field(default_factory=deque)

    def add(self, span: Span, counts: Counts) -> None:
        """Let a span come in, and those go that are too old for it."""
        self.inside.append((span, counts))
        for name, n in counts.items():
            self.counts[name] = self.counts.get(name, 0) + n
        end = span.at.timestamp() + span.step_s
        while self.inside[0][0].at.timestamp() < end - max(self.span_s, span.step_s):
            for name, n in self.inside.popleft()[1].items():
                left = self.counts.pop(name, 0) - n
                if left:
                    self.counts[name] = left

    def all(self) -> Counts:
        """Return the counts; of gauges the highest."""
        tops = {
            name: max(counts[name] for _, counts in self.inside if name in counts)
            for name in GAUGES if name in self.counts
        }  # fmt: skip
        return {**self.counts, **tops}

    def length_s(self) -> int:
        """Return what the spans inside cover, seconds."""
        return sum(span.step_s for span, _ in self.inside)


def look(now: Now, rule: Drafted, span_s: int = WEEK_S) -> Preview:
    """Return what the last week says of a rule. Raises Unreachable.

    Cost: a read of the kept spans, which a process keeps, and some 10 us a minute of the past.
    """
    measure = measures.BY_NAME[rule.measure]
    seen = measures.look(measure, now, rule)
    broken = evaluation.breached(rule, seen)
    points, note = _past(measure, rule, now, span_s)
    if points is None:
        return Preview(now=seen, breached=broken, why=NO_PAST)
    values = [(at, one.value) for at, _, one in points]
    return Preview(values, firings(rule, points), seen, broken, note=note if values else "",
                   why="" if values else "Nothing was counted yet.", since=values[0][0] if values else None)  # fmt: skip


def _past(measure: Measure, rule: Drafted, now: Now, span_s: int) -> tuple[list[Point] | None, str]:
    """Return what a rule would have seen, and what is not exact about it; None: no past is kept."""
    if measure.name == "new_errors":
        return _error_points(
            rule, now, span_s
        ), "A group that came back and was resolved since is not counted."
    if measure.name == "kpi":
        return _kpi_points(rule, now, span_s), ""
    if measure.point is None:
        return None, ""
    if measure.split and not rule.target:
        return _split_points(measure, rule, now, span_s)
    kind, _, name = rule.target.partition(":")
    wanted = choice(
        name if kind == "queue" else None, name if kind == "task" else None, without=OWN
    )
    spans = now.huey.reads.kept(span_s, [wanted], now.ms)
    window = Window(rule.over_minutes * 60)
    points = [
        _point(span, _seen(measure, window, span, span.each[0].values())) for span in _known(spans)
    ]
    return points, _note(rule, spans)


def _known(spans: Sequence[Span]) -> Sequence[Span]:
    """Leave out the time before anything was counted."""
    first = next((n for n, span in enumerate(spans) if span.is_known), len(spans))
    return spans[first:]


def _note(rule: Drafted, spans: Sequence[Span]) -> str:
    """Say where the past is coarser than the rule; nothing where that makes no difference."""
    steps = sorted({span.step_s for span in spans if span.is_known}, reverse=True)
    needs = {rule.over_minutes * 60, rule.for_minutes * 60} - {0} or {60}
    coarse = [step for step in steps if any(need % step for need in needs)]
    if not coarse:
        return ""
    until = max(
        span.at + timedelta(seconds=span.step_s) for span in spans if span.step_s == coarse[-1]
    )
    return f"Before {until:%-d %b %H:%M} UTC it is looked at by {STEPS[coarse[0]]}, so shorter times are rounded up there."


STEPS = {60: "the minute", 600: "ten minutes", 3600: "the hour"}


def _split_points(
    measure: Measure, rule: Drafted, now: Now, span_s: int
) -> tuple[list[Point], str]:
    """Return the sum over the queues, each looked at alone; one in which no job ever waited adds nothing."""
    spans = now.huey.reads.kept(span_s, [choice(without=OWN)], now.ms)
    held = {
        queue
        for span in spans
        for (queue, _), counts in span.each[0].items()
        if counts.get("depth")
    }
    queues = [queue for queue in now.huey.reads.names() if queue in held]
    if queues:
        spans = now.huey.reads.kept(span_s, [Choice(without=OWN, by_queue=True)], now.ms)
    windows = [(queue, Window(rule.over_minutes * 60)) for queue in queues]
    points = []
    for span in _known(spans):
        counts = span.each[0]
        seen = [
            _seen(measure, window, span, [counts.get((queue, ""), {})]) for queue, window in windows
        ]
        points.append(_point(span, _sum(seen)))
    return points, _note(rule, spans)


def _point(span: Span, seen: Seen) -> Point:
    return span.at + timedelta(seconds=span.step_s), span.step_s, seen


def _seen(measure: Measure, window: Window, span: Span, counts: Iterable[Counts]) -> Seen:
    assert measure.point is not None  # noqa: S101 - looked at before
    return measure.point(_figures(window, span, counts))


def _figures(window: Window, span: Span, counts: Iterable[Counts]) -> Figures:
    """Let a span come into a window; return the figures of what is in it then."""
    merged: dict[tuple[str, str], Counts] = {}
    for one in counts:
        metrics.merge(merged, {("", ""): one})
    window.add(span, merged.get(("", ""), {}))
    return metrics.figures(span.at, window.length_s(), [window.all()])


def _sum(seen: Sequence[Seen]) -> Seen:
    return Seen(sum(one.value or 0 for one in seen), sum(one.samples for one in seen))


def firings(rule: Drafted, points: Iterable[Point]) -> list[Firing]:
    """Return when a rule would have fired, as the evaluation decides it."""
    found: list[Firing] = []
    since: datetime | None = None  # of the condition's truth
    calm: datetime | None = None
    worse = max if rule.comparison == "over" else min
    for at, step_s, seen in points:
        held = evaluation.breached(rule, seen)
        firing = found[-1] if found and found[-1].until is None else None
        if firing and held:
            calm, found[-1] = None, Firing(firing.at, None, worse(firing.worst, seen.value or 0))
        elif firing:
            calm = calm or at
            if at - calm >= min(evaluation.CALM, timedelta(seconds=step_s * 2)) or step_s > 60:
                found[-1], since, calm = Firing(firing.at, calm, firing.worst), None, None
        elif held:
            since = since or at
            if at - since >= timedelta(minutes=rule.for_minutes):
                found.append(Firing(at, None, seen.value or 0))
        else:
            since = None
    return found


def _error_points(rule: Drafted, now: Now, span_s: int) -> list[Point]:
    """Return the new error groups of each minute's window; groups are kept 30 days."""
    times = [
        at.timestamp() for at in measures.new_groups(now.groups, rule.target.partition(":")[2])
    ]
    end = now.ms // 60000 * 60
    ends = range(end - span_s // 60 * 60, end + 60, 60)
    over_s = rule.over_minutes * 60
    return [
        (datetime.fromtimestamp(at, UTC), 60, Seen(bisect_right(times, at) - bisect_right(times, at - over_s)))
        for at in ends
    ]  # fmt: skip


def _kpi_points(rule: Drafted, now: Now, span_s: int) -> list[Point]:
    """Return a key figure over its hours, at the end of each span."""
    found = measures.definition(rule.measure, rule.target)
    assert found is not None  # noqa: S101 - a rule of this measure names one
    hours_s = found.hours * 3600
    choices = [choice(without=OWN), choice(queues=kpis.fast(now.huey), without=OWN)]
    spans = _known(now.huey.reads.kept(span_s, choices, now.ms))
    whole, quick = Window(hours_s), Window(hours_s)
    posted = kpis.mails_by_step(spans[0].at, MAILS_S) if spans else {}
    points = []
    for span in spans:
        everything = _figures(whole, span, span.each[0].values())
        fast = _figures(quick, span, span.each[1].values())
        end = span.at + timedelta(seconds=span.step_s)
        value, samples = found.measure(kpis.Seen(everything, fast, _mails(posted, end, hours_s)))
        points.append(
            (
                end,
                span.step_s,
                Seen(value, samples, "" if value is not None else "nothing was measured"),
            )
        )
    return points


MAILS_S = 600


def _mails(posted: Mapping[int, tuple[int, int]], end: datetime, over_s: int) -> tuple[int, int]:
    """Return (ended, delivered) of the mails of a time up to `end`."""
    last = int(end.timestamp()) // MAILS_S
    inside = [posted[n] for n in range(last - over_s // MAILS_S + 1, last + 1) if n in posted]
    return sum(ended for ended, _ in inside), sum(sent for _, sent in inside)
