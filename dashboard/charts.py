"""Numbers -> geometry of SVG charts; templates only print it, so nothing is marked safe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from dashboard import formats
from tasks.engine.instance import Minute, Tick
from tasks.engine.records import Attempt

BAR, GAP = 3.0, 1.0
LETTER = 6.5  # how wide a digit of an axis is, at most
NARROW = 340.0  # the width of a drawing for a phone: its words keep their size


@dataclass(frozen=True, slots=True)
class Rect:
    """A bar; `kind` is b (plain), f (failed), r (retried) or cap."""

    x: float
    y: float
    w: float
    h: float
    kind: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """A text on an axis."""

    x: float
    y: float
    text: str
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart; `summary` says it in words."""

    width: float
    height: float
    rects: Sequence[Rect]
    labels: Sequence[Label] = ()
    grid: Sequence[float] = ()
    left: float = 0.0
    points: str = ""
    paths: Mapping[str, str] = field(default_factory=dict)  # {kind: all of its bars in one}
    summary: str = ""


def nice(top: float) -> int:
    """Return a round number at or above `top`, for the top of an axis."""
    step = 1
    while True:
        for factor in (1, 2, 4, 5, 10):
            if step * factor >= top:
                return step * factor
        step *= 10


def nice_count(top: float) -> int:
    """Return a round number at or above `top` whose half is whole: jobs come in wholes."""
    shown = nice(top or 1)
    return {1: 2, 5: 6}.get(shown, shown)


def throughput(minutes: Sequence[Minute], width: float = 680, height: float = 130) -> Chart:
    """Return an hour of finished jobs as stacked bars: completed, retried, failed.

    A path each for what is alike, and over all of a minute a rect that says its figures.
    """
    top = nice_count(max([m.completed + m.failed + m.retried for m in minutes] or [1]))
    bottom, right = 20.0, 4.0
    left = max(36.0, 10 + LETTER * len(formats.number(top)))
    room, plot = width - left - right, height - bottom - 8
    step = room / max(1, len(minutes))
    parts = (0.5, 1.0)
    grid = [round(8 + plot * (1 - part), 1) for part in parts]
    labels = [
        Label(left - 8, y + 4, formats.number(top * part), "end")
        for y, part in zip(grid, parts, strict=True)
    ]
    labels.append(Label(left - 8, 8 + plot + 4, "0", "end"))
    labels += _times([m.at for m in minutes], left, step, height - 4)
    total = sum(m.completed for m in minutes), sum(m.failed for m in minutes)
    return Chart(
        width,
        height,
        [_hit(minute, left + n * step, step, plot) for n, minute in enumerate(minutes)],
        labels,
        grid,
        left=left,
        paths=_stacked(minutes, left, step, plot / top, 8 + plot),
        summary=f"{total[0]} completed and {total[1]} failed in {len(minutes)} minutes",
    )


def _hit(minute: Minute, x: float, step: float, plot: float) -> Rect:
    said = f"{minute.at:%H:%M}: {minute.completed} completed, {minute.retried} retried, {minute.failed} failed"
    return Rect(round(x, 1), 8, round(step, 1), plot, "hit", said)


def _stacked(minutes: Sequence[Minute], left: float, step: float, scale: float,
             base: float) -> Mapping[str, str]:  # fmt: skip
    """Return the bars of all minutes, a path for each kind; `scale` is the height of one job."""
    paths: dict[str, str] = {}

    def draw(kind: str, x: float, y: float, high: float) -> None:
        paths[kind] = paths.get(kind, "") + _bar(x, y, high, step - 1)

    for n, minute in enumerate(minutes):
        x, y = left + n * step, base
        for value, kind in ((minute.completed, "b"), (minute.retried, "r"), (minute.failed, "f")):
            if value:
                high = max(1.0, value * scale)
                y -= high
                draw(kind, x, y, high)
                if kind == "b":
                    draw("cap", x, y, 1.5)
        if y == base:
            draw("zero", x, base - 1, 1)
    return paths


def _times(at: Sequence[datetime], left: float, step: float, y: float) -> list[Label]:
    if not at:
        return []
    marks = sorted({0, len(at) // 4, len(at) // 2, len(at) * 3 // 4, len(at) - 1})
    anchors = {0: "start", len(at) - 1: "end"}
    return [
        Label(
            round(left + n * step + (step if n == len(at) - 1 else 0), 1),
            y,
            f"{at[n]:%H:%M}",
            anchors.get(n, "middle"),
        )
        for n in marks
    ]


def bars(minutes: Sequence[Minute], many: int = 30) -> Chart:
    """Return the last half hour as small bars, failed on top: one path a kind, for hundreds of rows."""
    return _bars(tuple((m.completed, m.failed) for m in minutes[-many:]), many)


@lru_cache(maxsize=2048)
def _bars(shown: tuple[tuple[int, int], ...], many: int) -> Chart:
    height = 24.0
    top = max([completed + failed for completed, failed in shown] or [1]) or 1
    room, step = height - 2, BAR + GAP
    done_bars, failed_bars = [], []
    for n, (completed, failed) in enumerate(shown):
        high = max(1.5, failed / top * room) if failed else 0.0
        if completed:
            done = max(1.0, min(completed / top * room, room - high))
            done_bars.append(_bar(n * step, height - 1 - done, done))
        else:
            done = 0.0
        if failed:
            failed_bars.append(_bar(n * step, height - 1 - done - high, high))
    paths = {"b": "".join(done_bars), "f": "".join(failed_bars)}
    last = shown[-1][0] if shown else 0
    return Chart(many * step - GAP, height, (), paths={kind: d for kind, d in paths.items() if d},
                 summary=f"{last} finished in this minute")  # fmt: skip


def _bar(x: float, y: float, high: float, wide: float = BAR) -> str:
    return f"M{x:.4g} {y:.4g}h{wide:.4g}v{high:.4g}h-{wide:.4g}z"


def line(values: Sequence[float | None], width: float = 72, height: float = 24) -> Chart:
    """Return a small line; gaps stay gaps by being left out."""
    known = [value for value in values if value is not None]
    top = max(known or [1]) or 1
    step = width / max(1, len(values) - 1)
    points = [
        f"{n * step:.1f},{height - 2 - (value or 0) / top * (height - 4):.1f}"
        for n, value in enumerate(values)
        if value is not None
    ]
    return Chart(width, height, (), points=" ".join(points))


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a job's life on its bar."""

    x: float
    w: float
    kind: str


def life(
    attempts: Sequence[Attempt], start: datetime | None, end: datetime | None, width: float = 700
) -> list[Span]:
    """Return a job's time as a bar: waiting, with each attempt at least 5 px wide."""
    if start is None or end is None or not attempts:
        return []
    total = max(0.001, (end - start).total_seconds())
    kinds = {
        "completed": "completed",
        "failed": "failed",
        "lost": "failed",
        "running": "active",
        "skipped": "completed",
    }
    found = []
    for attempt in attempts:
        x = (attempt.started_at - start).total_seconds() / total * width
        ran = ((attempt.finished_at or end) - attempt.started_at).total_seconds() / total * width
        w = max(5.0, ran)
        found.append(
            Span(
                round(min(max(0.0, x), width - w), 1),
                round(w, 1),
                kinds.get(attempt.outcome, "retrying"),
            )
        )
    return found


def strip(ticks: Sequence[Tick], many: int = 30) -> Chart:
    """Return the last ticks of a periodic task as bars: the height is how long each ran.

    Kinds: b (ran), f (failed), missed (an outline), off and held (a stub), now (not ended).
    """
    bar, gap, height, least = 4.0, 1.0, 20.0, 6.0
    shown = ticks[-many:]
    top = max([tick.run_ms or 0 for tick in shown] or [1]) or 1
    kinds = {"completed": "b", "failed": "f", "cancelled": "f", "fired": "now"}
    rects = []
    for n, tick in enumerate(shown, many - len(shown)):
        kind = kinds.get(tick.state, tick.state)
        h = least + (height - least) * math.sqrt((tick.run_ms or 0) / top)
        h = {"missed": height - 1, "off": 2.0, "held": 2.0}.get(kind, h)
        ran = f", {formats.ms(tick.run_ms)}" if tick.run_ms is not None else ""
        title = f"{tick.at:%d %b %H:%M} UTC: {tick.state}{ran}"
        x, w = (n * (bar + gap) + 0.5, bar - 1) if kind == "missed" else (n * (bar + gap), bar)
        rects.append(
            Rect(
                x,
                round(height - h - (0.5 if kind == "missed" else 0), 1),
                w,
                round(h, 1),
                kind,
                title,
            )
        )
    counts = {
        state: sum(tick.state == state for tick in shown)
        for state in ("completed", "failed", "missed")
    }
    said = ", ".join(f"{number} {state}" for state, number in counts.items())
    return Chart(
        many * (bar + gap) - gap, height, rects, summary=f"Last {len(shown)} ticks: {said}"
    )
