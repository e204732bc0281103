"""Figures over time -> geometry of line charts; templates only print it.

A gap stays a gap, the scale begins at zero, and a line is named at its end, not in a legend.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dashboard.charts import Label, Rect, nice, nice_count
from dashboard.formats import ms, number, share
from tasks.engine.figures.metrics import Figures, bucket_ms, bucket_top_ms
from tasks.engine.rows import EPOCH

LEFT, RIGHT, TOP, BOTTOM = 44.0, 60.0, 8.0, 20.0
LETTER = 7.0  # at most, of a label
LABEL_HEIGHT = 13.0
# Tops of an axis of time over ten seconds: each, and its half, is said in one word.
LONG_MS = tuple(
    1000.0 * s
    for s in (10, 20, 40, 60, 120, 240, 480, 720, 1200, 2400, 3600, 7200, 14400, 28800, 43200)
)
Values = Sequence[float | None]
Marks = Sequence[tuple[datetime, str]]


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `kind` is its class; `pieces` are its unbroken parts, as SVG points."""

    kind: str
    pieces: Sequence[str]
    end: Label | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """An upright dashed line with a word: another version, now."""

    x: float
    text: str
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn chart of lines; `summary` says it in words."""

    width: float
    height: float
    lines: Sequence[Line]
    labels: Sequence[Label]
    grid: Sequence[float]
    base: float
    right: float
    shades: Sequence[Rect] = ()
    marks: Sequence[Mark] = ()
    target: float | None = None
    summary: str = ""
    left: float = LEFT


NONE = "none in this time"


@dataclass(frozen=True, slots=True)
class Frame:
    """Where values lie: from `start` to `end`, from 0 to `top`."""

    start: datetime
    end: datetime
    top: float
    width: float
    height: float
    right: float = RIGHT

    @property
    def base(self) -> float:
        """The y of zero."""
        return self.height - BOTTOM

    def x(self, at: datetime) -> float:
        """Return where an instant lies."""
        whole = max(1.0, (self.end - self.start).total_seconds())
        part = (at - self.start).total_seconds() / whole
        return round(LEFT + min(1.0, max(0.0, part)) * (self.width - LEFT - self.right), 1)

    def y(self, value: float) -> float:
        """Return where a value lies."""
        return round(self.base - min(1.0, value / self.top) * (self.base - TOP), 1)


UNITS: Mapping[str, Callable[[float | None], str]] = {"": number, "ms": ms, "%": share}


def plot(at: Sequence[datetime], series: Mapping[str, Values], *, names: Mapping[str, str] | None = None,  # noqa: PLR0913 - options
         unit: str = "", width: float = 340, height: float = 150, target: float | None = None,
         marks: Sequence[tuple[datetime, str]] = (), trouble: tuple[datetime, datetime] | None = None,
         ahead: Sequence[tuple[datetime, float]] = (),
         troubles: Sequence[tuple[datetime, datetime]] = ()) -> Plot:  # fmt: skip
    """Draw lines over the same instants.

    Args:
        series: {class of the line: its values}, the loudest last; None is a gap.
        names: what stands at a line's end before its last value.
        unit: `` jobs, `ms` a time, `%` a share.
        target: a dashed line across. marks: upright ones.
        trouble, troubles: times that are shaded. ahead: a forecast, dashed.
    """
    named = names or {}
    known = [value for values in series.values() for value in values if value is not None]
    top = _top([*known, *(value for _, value in ahead)], target, unit)
    start, end = (at[0], at[-1]) if at else (EPOCH, EPOCH)
    frame = Frame(start, max([end, *(when for when, _ in ahead)]), top, width, height,
                  RIGHT if named else 12.0)  # fmt: skip
    scaled = any(known) or target or ahead  # else a height would stand for nothing
    parts = () if not known else (0.0, 0.5, 1.0) if scaled else (0.0,)
    lines = [
        _line(frame, at, kind, values, named.get(kind), unit) for kind, values in series.items()
    ]
    if ahead:
        points = " ".join(f"{frame.x(when)},{frame.y(value)}" for when, value in ahead)
        lines.append(Line("forecast", [points]))
    return Plot(
        width, height, _parted(lines), _axis(frame, unit, parts), [frame.y(top * part) for part in parts[1:]], frame.base,
        width - frame.right, _shades(frame, [*([trouble] if trouble else []), *troubles]), _marks(frame, marks),
        frame.y(target) if target is not None and known else None,
        _summary(series, named, unit),
    )  # fmt: skip


def _top(known: Sequence[float], target: float | None, unit: str) -> float:
    highest = max([*known, target or 0.0, 0.0])
    if unit == "%":
        return 1.0 if highest > 0.5 else nice(max(0.01, highest) * 100) / 100
    if unit == "ms" and highest > LONG_MS[0]:
        return next((top for top in LONG_MS if top >= highest), float(nice(highest)))
    return float(nice_count(highest))


def _line(frame: Frame, at: Sequence[datetime], kind: str, values: Values, name: str | None,
          unit: str) -> Line:  # fmt: skip
    """Return a line in unbroken pieces; a lonely value is a short dash."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for when, value in zip(at, values, strict=True):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((frame.x(when), frame.y(value)))
    drawn = [
        [*piece, (piece[0][0] + 2, piece[0][1])] if len(piece) == 1 else piece
        for piece in pieces
        if piece
    ]
    last = next((value for value in reversed(values) if value is not None), None)
    end = None
    if name is not None and drawn and last is not None:
        end = Label(
            frame.width - frame.right + 8,
            drawn[-1][-1][1] + 4,
            f"{name} {UNITS[unit](last)}".strip(),
        )
    return Line(kind, [" ".join(f"{x},{y}" for x, y in piece) for piece in drawn], end)  # fmt: skip


def _parted(lines: Sequence[Line]) -> list[Line]:
    """Move the names at the ends apart, so that none lies on another."""
    loudest_first = [line for line in reversed(lines) if line.end]
    order = sorted(loudest_first, key=lambda line: line.end.y if line.end else 0)
    placed: dict[str, Label] = {}
    floor = float("-inf")
    for line in order:
        assert line.end is not None  # noqa: S101 - filtered above
        y = max(line.end.y, floor)
        floor = y + LABEL_HEIGHT
        placed[line.kind] = Label(line.end.x, round(y, 1), line.end.text)
    return [Line(line.kind, line.pieces, placed.get(line.kind)) for line in lines]


def _axis(frame: Frame, unit: str, parts: Sequence[float]) -> list[Label]:
    """Return what stands at the axes; `parts` of the height are named, none where nothing is known."""
    side = [
        Label(LEFT - 8, frame.y(frame.top * part) + 4, UNITS[unit](frame.top * part) if part else "0", "end")
        for part in parts
    ]  # fmt: skip
    if not parts:
        middle = LEFT + (frame.width - LEFT - frame.right) / 2
        side = [Label(round(middle, 1), round(frame.base / 2, 1), NONE, "middle")]
    span = frame.end - frame.start
    below = []
    for part, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        when = frame.start + span * part
        below.append(Label(frame.x(when), frame.height - 4, moment(when, span), anchor))
    return side + below if span else side


def moment(at: datetime, span: timedelta) -> str:
    """Return an instant as a chart of that span names it."""
    if span <= timedelta(days=1, hours=1):
        return f"{at:%H:%M}"
    return f"{at:%-d %b}"


def _shades(frame: Frame, troubles: Sequence[tuple[datetime, datetime]]) -> list[Rect]:
    found = []
    for start, end in troubles:
        x = frame.x(start)
        found.append(Rect(x, TOP, max(2.0, frame.x(end) - x), frame.base - TOP, "trouble"))
    return found


def _marks(frame: Frame, marks: Sequence[tuple[datetime, str]]) -> list[Mark]:
    """Return upright lines with their words; where two words would meet the earlier one is left out."""
    found: list[Mark] = []
    free = math.inf  # where the words to the right begin
    for at, text in sorted(marks, reverse=True):
        x, wide = frame.x(at), 4 + LETTER * len(text)
        anchor = "end" if x > frame.width * 0.7 else "start"
        begins = x - wide if anchor == "end" else x
        fits = begins + wide <= free
        found.append(Mark(x, text if fits else "", anchor))
        free = begins if fits else free
    return found[::-1]


def _summary(series: Mapping[str, Values], names: Mapping[str, str], unit: str) -> str:
    said = []
    for kind, values in series.items():
        last = next((value for value in reversed(values) if value is not None), None)
        said.append(f"{names.get(kind) or kind} {UNITS[unit](last)}")
    return ", ".join(said) + " at the end"


def histogram(buckets: Mapping[int, int], width: float = 340, height: float = 110) -> Plot:
    """Draw how often a time was how long: a bar a bucket, two to an octave."""
    low, high = (min(buckets), max(buckets)) if buckets else (0, 1)
    many, most = high - low + 1, max(buckets.values(), default=1)
    room, base = width - LEFT - 12, height - BOTTOM
    step = min(24.0, room / max(8, many))
    rects = [
        Rect(round(LEFT + (bucket - low) * step, 1), round(base - max(1.0, n / most * (base - TOP)), 1), round(step - 1, 1),
             round(max(1.0, n / most * (base - TOP)), 1), "b", f"up to {ms(bucket_top_ms(bucket))}: {number(n)}")
        for bucket, n in sorted(buckets.items())
    ]  # fmt: skip
    marks = sorted({low, low + many // 2, high})
    labels = [
        Label(round(LEFT + (bucket - low + 0.5) * step, 1), height - 4, ms(bucket_ms(bucket)), "middle")
        for bucket in marks
    ] if buckets else []  # fmt: skip
    side = [Label(LEFT - 8, TOP + 4, number(most), "end"), Label(LEFT - 8, base + 4, "0", "end")]
    total = sum(buckets.values())
    return Plot(width, height, (), side + labels, [TOP], base, width - 12, rects,
                summary=f"{number(total)} between {ms(bucket_ms(low))} and {ms(bucket_ms(high))}")  # fmt: skip


def runs(found: Sequence[tuple[float, str]], marked: int | None = None, width: float = 340) -> Plot:
    """Draw a task's last runs: a bar a run, its height the duration; a triangle marks one.

    Args:
        found: (ms, outcome) of each run, oldest first.
    """
    height, most = 64.0, max([ran for ran, _ in found] or [1]) or 1
    kinds = {"failed": "f", "retried": "r", "cancelled": "zero"}
    step = width / 60
    first = 60 - len(found)
    rects = [
        Rect(round((first + n) * step, 1), round(54 - max(1.5, ran / most * 50), 1), round(step - 1.5, 1),
             round(max(1.5, ran / most * 50), 1), kinds.get(outcome, "b"), f"{ms(ran)}, {outcome}")
        for n, (ran, outcome) in enumerate(found)
    ]  # fmt: skip
    mark = [Mark(round((first + marked + 0.5) * step - 1, 1), "▲")] if marked is not None else []
    failed = sum(outcome == "failed" for _, outcome in found)
    return Plot(width, height, (), (), (), 54, width, rects, mark, left=0,
                summary=f"{len(found)} runs, {failed} failed, the longest {ms(most)}")  # fmt: skip


def percentiles(points: Sequence[Figures], what: str, marks: Marks = (),
                trouble: tuple[datetime, datetime] | None = None) -> Plot:  # fmt: skip
    """Draw p50, p95 and p99 of `run` or `wait` over a range's points."""
    found = [getattr(point, what) for point in points]
    series = {name: [getattr(one, f"{name}_ms") for one in found] for name in ("p50", "p95", "p99")}
    return plot([point.at for point in points], series, names={name: name for name in series},
                unit="ms", marks=marks, trouble=trouble)  # fmt: skip


def ends(points: Sequence[Figures], marks: Marks = ()) -> Plot:
    """Draw how many completed, were retried and failed in each of a range's points."""
    return plot(
        [point.at for point in points],
        {
            "in": [point.completed for point in points], "retried": [point.retried for point in points],
            "failing": [point.failed for point in points],
        },
        names={"in": "done", "retried": "retried", "failing": "failed"}, marks=marks,
    )  # fmt: skip
