"""Line charts are numbers here: inside their frame, gaps stay gaps, names do not lie on each other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from dashboard import plots
from tasks.engine.figures.metrics import Figures

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def minutes(many: int) -> list[datetime]:
    return [NOON + timedelta(minutes=n) for n in range(many)]


def corners(plot: plots.Plot) -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for line in plot.lines
        for piece in line.pieces
        for x, y in (pair.split(",") for pair in piece.split())
    ]


@pytest.mark.parametrize(
    "values", [[], [5], [0, 0, 0], [None] * 4, [1, 900_000, None, 2]],
    ids=["none", "one", "zeros", "unknown", "many"],
)  # fmt: skip
@pytest.mark.parametrize("unit", ["", "ms", "%"])
def test_lines_stay_inside_their_frame(values: Sequence[float | None], unit: str) -> None:
    plot = plots.plot(
        minutes(len(values)), {"p99": values}, names={"p99": "p99"}, unit=unit, target=3
    )
    for x, y in corners(plot):
        assert 0 <= x <= plot.width
        assert 0 <= y <= plot.height


def test_a_gap_stays_a_gap() -> None:
    plot = plots.plot(minutes(5), {"a": [1, 2, None, 3, 4]})
    assert len(plot.lines[0].pieces) == 2
    lonely = plots.plot(minutes(3), {"a": [None, 2, None]})
    assert len(lonely.lines[0].pieces[0].split()) == 2, "one value alone is a short dash"


def test_the_scale_begins_at_zero_and_ends_at_a_round_number() -> None:
    plot = plots.plot(minutes(3), {"a": [90, 95, 99]})
    assert [label.text for label in plot.labels[:3]] == ["0", "50", "100"]


def test_a_height_that_stands_for_nothing_is_not_named() -> None:
    zeros = plots.plot(minutes(3), {"a": [0, 0, 0]})
    assert ([label.text for label in zeros.labels][:2], list(zeros.grid)) == (["0", "12:00"], [])
    unknown = plots.plot(minutes(3), {"a": [None] * 3}, unit="ms", target=200)
    assert ([label.text for label in unknown.labels][:2], list(unknown.grid)) == ([plots.NONE, "12:00"], [])  # fmt: skip
    assert len(plots.plot(minutes(3), {"a": [0, 0, 0]}, target=200).grid) == 2


def test_names_at_the_ends_do_not_lie_on_each_other() -> None:
    series = {name: [10, 10.1] for name in ("p50", "p95", "p99")}
    plot = plots.plot(minutes(2), series, names={name: name for name in series})
    heights = sorted(line.end.y for line in plot.lines if line.end)
    assert all(b - a >= plots.LABEL_HEIGHT for a, b in zip(heights, heights[1:], strict=False))


def test_a_forecast_goes_on_past_the_last_point_and_marks_stand_where_they_were() -> None:
    until = NOON + timedelta(minutes=20)
    plot = plots.plot(minutes(11), {"a": [float(n) for n in range(11)]},
                      ahead=[(NOON + timedelta(minutes=10), 10), (until, 0)],
                      marks=[(NOON + timedelta(minutes=10), "1.5")])  # fmt: skip
    dashed = next(line for line in plot.lines if line.kind == "forecast")
    end = [float(n) for n in dashed.pieces[0].split()[-1].split(",")]
    assert end == [plot.width - 12, plot.base]
    assert plot.marks[0].x == float(dashed.pieces[0].split(",")[0])


def test_words_of_marks_that_would_meet_are_said_once() -> None:
    marks = [(NOON + timedelta(minutes=at), f"1.{at}.0") for at in (1, 2, 3, 30, 58, 59)]
    plot = plots.plot(minutes(61), {"a": [1.0] * 61}, marks=marks)
    assert len({mark.x for mark in plot.marks}) == 6, "each has its line"
    assert [mark.text for mark in plot.marks] == ["", "", "1.3.0", "1.30.0", "", "1.59.0"]


@pytest.mark.parametrize("buckets", [{}, {0: 1}, {3: 5, 60: 2}, {n: n + 1 for n in range(61)}])
def test_a_histogram_stays_inside_its_frame(buckets: dict[int, int]) -> None:
    plot = plots.histogram(buckets)
    assert len(plot.shades) == len(buckets)
    for rect in plot.shades:
        assert 0 <= rect.x <= rect.x + rect.w <= plot.width
        assert 0 <= rect.y <= rect.y + rect.h <= plot.height


def test_runs_stand_right_and_one_is_marked() -> None:
    plot = plots.runs([(10, "completed"), (20, "failed"), (0, "retried")], marked=1)
    assert [rect.kind for rect in plot.shades] == ["b", "f", "r"]
    assert plot.shades[-1].x + plot.shades[-1].w <= plot.width
    assert plot.shades[1].x < plot.marks[0].x < plot.shades[2].x
    assert plots.runs([]).shades == []


def test_percentiles_of_points_without_a_job_are_gaps() -> None:
    points = [
        Figures(at=at, span_s=60, runs={10: 5} if n % 2 else {}) for n, at in enumerate(minutes(4))
    ]
    plot = plots.percentiles(points, "run")
    assert [line.kind for line in plot.lines] == ["p50", "p95", "p99"]
    assert all(len(line.pieces) == 2 for line in plot.lines)


@pytest.mark.parametrize(
    ("highest_s", "said"),
    [(0.002, ["0", "1 ms", "2 ms"]), (0.3, ["0", "0.20 s", "0.40 s"]), (14, ["0", "10 s", "20 s"]), (156, ["0", "2 min", "4 min"]), (5000, ["0", "1 h", "2 h"])],
)  # fmt: skip
def test_an_axis_of_time_is_said_in_single_words(highest_s: float, said: Sequence[str]) -> None:
    values = [0, highest_s * 1000]
    drawn = plots.plot([NOON, NOON + timedelta(minutes=1)], {"p95": values}, unit="ms")
    assert [label.text for label in drawn.labels][:3] == said
