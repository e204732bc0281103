"""The five key figures over time, with their targets, a week before, tables and a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from flask import Blueprint, Response

from dashboard import actions, charts, formats, plots
from dashboard.answers import when
from dashboard.pages import render, shown_range, watch
from dashboard.security import declare
from tasks import kpis
from tasks.engine import Unreachable
from tasks.engine.figures.measuring import RANGES
from tasks.kpis import KPIS, Definition, Kpi

bp = Blueprint("kpis", __name__)
OFFERED = tuple(RANGES)
Points = Sequence[tuple[datetime, dict[str, Kpi]]]


@bp.get("/kpis")
def show() -> Any:
    """Show each figure's course, its target, and how it was a week before."""
    view, range_ = watch(), shown_range("24h", OFFERED)
    if view.error:
        return render(
            "kpis.html", rows=[], range_=range_, offered=OFFERED, points=[], error=view.error
        )
    huey = actions.huey()
    points = kpis.history(huey, range_)
    marks = [(event.at, event.text) for event in huey.reads.events(points[0][0])]
    rows = [
        {"kpi": kpi, "now": now, "before": before, "since": kpis.off_since(points, kpi.name),
         "chart": _chart(kpi, points, marks), "narrow": _chart(kpi, points, marks, charts.NARROW), "last": points[:-13:-1]}
        for kpi, now, before in kpis.compared(huey, range_)
    ]  # fmt: skip
    figures = [[(kpi.value, kpi.samples) for kpi in found.values()] for _, found in points]
    return render("kpis.html", figures=(figures, marks), rows=rows, range_=range_, offered=OFFERED,
                  points=points, step_s=RANGES[range_].step_s, error="")  # fmt: skip


def _chart(kpi: Definition, points: Points, marks: plots.Marks, width: float = 680) -> plots.Plot:
    """Draw one figure; seconds are drawn as times."""
    factor, unit = {"s": (1000.0, "ms"), "%": (1.0, "%"), "ms": (1.0, "ms")}.get(
        kpi.unit, (1.0, "")
    )
    values = [
        None if found[kpi.name].value is None else (found[kpi.name].value or 0) * factor
        for _, found in points
    ]
    target = None if kpi.target is None else kpi.target * factor
    return plots.plot([at for at, _ in points], {"p99": values}, names={"p99": ""}, unit=unit, width=width, height=150,
                      target=target, marks=marks)  # fmt: skip


@bp.get("/kpis.csv")
def download() -> Response:
    """Send a range's points as CSV: instants in UTC, plain numbers, empty where nothing is known."""
    if watch().error:
        raise Unreachable(watch().error)
    range_ = shown_range("24h", OFFERED)
    points = kpis.history(actions.huey(), range_)
    head = ["at", *(name for kpi in KPIS for name in (kpi.name, f"{kpi.name}_samples"))]
    body = ([when(at), *_cells(found)] for at, found in points)
    return csv_file(f"kpis-{range_}.csv", head, body)


def _cells(found: dict[str, Kpi]) -> Iterable[Any]:
    for kpi in KPIS:
        one = found[kpi.name]
        yield "" if one.value is None else round(one.value, 4)
        yield one.samples


def csv_file(name: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """Return rows as a file of comma-separated values."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows(rows)
    disposition = f'attachment; filename="{name}"'
    return Response(
        text.getvalue(), mimetype="text/csv", headers={"Content-Disposition": disposition}
    )


def said(kpi: Kpi, value: float | None = None) -> str:
    """Return a KPI's value, or another one of it, with its unit."""
    shown = kpi.value if value is None else value
    if shown is None:
        return "–"
    if kpi.unit == "%":
        return formats.share(shown)
    return (
        formats.duration(shown) if kpi.unit == "s" else f"{formats.few(shown)} {kpi.unit}".strip()
    )


bp.add_app_template_filter(said, "kpi_said")
declare("viewer", show, download)
