"""Charts are numbers here: inside their frame, true to the figures, calm where nothing is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from dashboard import charts
from tasks.engine.instance import Minute
from tasks.engine.records import Attempt

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def hour(**figures: Sequence[int]) -> list[Minute]:
    return [
        Minute(
            at=NOON + timedelta(minutes=n),
            **{name: values[n % len(values)] for name, values in figures.items()},
        )
        for n in range(60)
    ]


@pytest.mark.parametrize(
    ("top", "shown"), [(0, 1), (1, 1), (3, 4), (7, 10), (11, 20), (401, 500), (999_999, 1_000_000)]
)
def test_an_axis_ends_at_a_round_number(top: float, shown: int) -> None:
    assert charts.nice(top) == shown


@pytest.mark.parametrize(("top", "shown"), [(0, 2), (1, 2), (2, 2), (5, 6), (7, 10), (45, 50)])
def test_an_axis_of_jobs_has_a_whole_number_at_its_middle(top: float, shown: int) -> None:
    assert charts.nice_count(top) == shown
    assert charts.nice_count(top) % 2 == 0


def test_large_figures_of_an_axis_are_read_in_thousands() -> None:
    said = [label.text for label in charts.throughput(hour(completed=[5000])).labels]
    assert said[:3] == ["2 500", "5 000", "0"]


@pytest.mark.parametrize("width", [680, charts.NARROW])
@pytest.mark.parametrize("most", [1, 5_000, 5_000_000])
def test_the_figures_of_an_axis_have_room_before_it(most: int, width: float) -> None:
    chart = charts.throughput(hour(completed=[most]), width)
    for label in chart.labels[:3]:
        assert label.x - charts.LETTER * len(label.text) >= 0
    assert chart.left < min(rect.x for rect in chart.rects) + 0.1


@pytest.mark.parametrize(
    "minutes",
    [[], hour(), hour(completed=[1]), hour(completed=[0, 900_000], failed=[3], retried=[1, 2, 3])],
    ids=["no minute", "an empty hour", "one a minute", "many"],
)
def test_bars_stay_inside_their_frame(minutes: list[Minute]) -> None:
    for chart in (charts.throughput(minutes), charts.bars(minutes)):
        shown = [(r.x, r.y, r.w, r.h) for r in chart.rects]
        shown += [bar for path in chart.paths.values() for bar in drawn(path)]
        for x, y, w, h in shown:
            assert x >= 0
            assert x + w <= chart.width + 0.1
            assert y >= 0
            assert y + h <= chart.height + 0.1
            assert h > 0


def drawn(path: str) -> list[tuple[float, ...]]:
    """Return (x, y, width, height) of each bar of a path."""
    found = [re.findall(r"-?[\d.]+", bar) for bar in path.split("z") if bar]
    return [tuple(float(number) for number in bar[:4]) for bar in found]


def test_small_bars_are_one_path_for_what_ended_well_and_one_for_what_failed() -> None:
    chart = charts.bars(hour(completed=[0, 10, 5], failed=[0, 0, 5]))
    done, failed = drawn(chart.paths["b"]), drawn(chart.paths["f"])
    assert len(done) == 20
    assert len(failed) == 10
    assert done[:2] == [(4, 1, 3, 22), (8, 12, 3, 11)]
    assert failed[0] == (8, 1, 3, 11)  # on top of what ended well
    assert charts.bars(hour()).paths == {}
    assert charts.bars([]).paths == {}


def test_a_single_failure_among_many_is_seen() -> None:
    minutes = hour(completed=[5000])
    minutes[59] = Minute(at=minutes[59].at, completed=5000, failed=1)
    failed = drawn(charts.throughput(minutes).paths["f"])
    assert len(failed) == 1
    assert failed[0][3] >= 1


def test_a_bar_says_its_minute_and_figures() -> None:
    chart = charts.throughput(hour(completed=[3], failed=[1], retried=[2]))
    assert chart.rects[0].title == "12:00: 3 completed, 2 retried, 1 failed"
    assert chart.summary == "180 completed and 60 failed in 60 minutes"


def test_twice_the_jobs_are_twice_as_high() -> None:
    heights = [bar[3] for bar in drawn(charts.throughput(hour(completed=[100, 200])).paths["b"])]
    assert heights[1] == pytest.approx(2 * heights[0], rel=0.02)


def test_a_small_line_leaves_out_what_nobody_measured() -> None:
    chart = charts.line([1, None, 3, 2])
    assert len(chart.points.split()) == 3
    assert charts.line([]).points == ""
    assert charts.line([None, None]).points == ""


@pytest.mark.parametrize("ran_s", [0, 0.001, 600])
def test_a_jobs_life_shows_each_attempt_inside_its_bar(ran_s: float) -> None:
    tries = [
        Attempt(number=n, run=1, started_at=NOON + timedelta(minutes=10 * n), worker="w",
                finished_at=NOON + timedelta(minutes=10 * n, seconds=ran_s), outcome="retrying")
        for n in range(4)
    ]  # fmt: skip
    end = tries[-1].finished_at
    spans = charts.life(tries, NOON, end)
    assert len(spans) == 4
    for span in spans:
        assert span.w >= 5
        assert 0 <= span.x <= 700 - span.w + 0.1


def test_a_life_without_an_attempt_has_no_spans() -> None:
    assert charts.life([], NOON, NOON) == []
    assert charts.life([], None, None) == []
