"""The form of a rule: what stands in it, what it sent, and what the last week says of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from pydantic import ValidationError
from werkzeug.datastructures import MultiDict

from dashboard import plots
from dashboard.shapes import seconds
from tasks import faults
from tasks.alerts import measures, preview, saying
from tasks.alerts.measures import Measure, Now
from tasks.alerts.preview import Preview
from tasks.alerts.rules import BadRule, RuleIn, check_target
from tasks.database import utcnow
from tasks.engine import JobHuey

MUTES = {"30m": 30, "4h": 240}
MORNING = time(8, 0, tzinfo=UTC)
POINTS = 170
PLAIN = ("name", "target", "comparison", "severity")
WHOLE = ("over_minutes", "for_minutes", "least_samples")


@dataclass(frozen=True, slots=True)
class RuleForm:
    """A rule's form: `text` is what stands in each field, `errors` what is wrong with one."""

    measure: Measure
    text: Mapping[str, str]
    channels: Sequence[int]
    enabled: bool
    errors: Mapping[str, str]
    rule: RuleIn | None = None


def limit_text(unit: str, value: float) -> str:
    """Return a threshold as its field shows it: per cent, a duration, a number."""
    if unit == "%":
        return f"{round(value * 100, 6):g}"
    if unit == "s" and value >= 60 and value % 60 == 0:
        return f"{value / 60:g}m"
    return f"{value:g}s" if unit == "s" else f"{value:.12g}"


def limit_value(unit: str, text: str) -> float:
    """Return a threshold from its field. Raises ValueError."""
    plain = text.strip().replace("\u2009", "").replace(" ", "").replace(",", ".")
    if unit == "s":
        return float(seconds(plain))
    value = float(plain.removesuffix("%"))
    return round(value / 100, 8) if unit == "%" else value


TAKES = {"%": "per cent, such as 5", "s": "a duration such as 30s, 5m or 2h"}


def filled(measure: Measure, rule: Any = None, target: str = "") -> RuleForm:
    """Return the form of a rule that there is, or of a new one with what the measure begins with."""
    target = rule.target if rule else target
    of = measures.begins_with(measure.name, target) | {"over_minutes": measure.over_minutes}
    if rule:
        of = {name: getattr(rule, name) for name in of}
    kpi = measures.definition(measure.name, target)
    text = {
        "name": rule.name if rule else kpi.label if kpi else measure.label, "target": target,
        "comparison": of["comparison"], "severity": rule.severity if rule else "warning",
        "threshold": limit_text(measures.unit_of(measure.name, target), of["threshold"]),
        **{field: str(of[field]) for field in WHOLE},
    }  # fmt: skip
    channels = [channel.id for channel in rule.channels] if rule else []
    return RuleForm(measure, text, channels, rule.enabled if rule else True, {})


def sent(huey: JobHuey, measure: Measure, form: MultiDict[str, str]) -> RuleForm:
    """Return what a form sent, checked; `rule` is None where something is wrong. Raises Unreachable."""
    text = {name: form.get(name, "").strip()[:200] for name in (*PLAIN, "threshold", *WHOLE)}
    channels = [int(one) for one in form.getlist("channel") if one.isdigit() and len(one) < 10]
    enabled = "enabled" in form or "measured" not in form
    given: dict[str, Any] = {name: text[name] for name in PLAIN if text[name]}
    errors: dict[str, str] = {}
    for name in WHOLE:
        given[name] = text[name] or None
    unit = measures.unit_of(measure.name, text["target"])
    try:
        given["threshold"] = limit_value(unit, text["threshold"])
    except ValueError:
        errors["threshold"] = f"{text['threshold']!r} is not {TAKES.get(unit, 'a number')}"
    rule = None
    try:
        rule = RuleIn(
            **{"name": "", **given}, measure=measure.name, channels=channels, enabled=enabled
        )
        check_target(rule.measure, rule.target, huey.reads.names(), huey.reads.tasks())
    except ValidationError as exc:
        errors = {**dict(faults.fields(exc)), **errors}
    except BadRule as exc:
        errors[exc.field] = exc.message
    return RuleForm(measure, text, channels, enabled, errors, None if errors else rule)


def drafted(form: RuleForm, stored: Any = None) -> Any:
    """Return what a preview looks at: what the form says, or the rule or measure where it says nothing."""
    if form.rule is not None:
        return form.rule
    if stored is not None:
        return stored
    return (
        None
        if form.errors
        else RuleIn(name="draft", measure=form.measure.name, target=form.text["target"])
    )


def targets(huey: JobHuey, measure: Measure) -> list[tuple[str, str]]:
    """Return (value, words) of what a measure may be asked of. Raises Unreachable."""
    whole = "all " + " and ".join(
        f"{kind}s" for kind in measure.scopes if kind in ("queue", "task")
    )
    found = [("", whole)] if "everything" in measure.scopes else []
    if "queue" in measure.scopes:
        found += [(f"queue:{name}", f"queue {name}") for name in huey.reads.names()]
    if "task" in measure.scopes:
        names = huey.reads.tasks()
        if measure.name == "missed":
            names = [task.task for task in huey.reads.periodic()]
        found += [(f"task:{name}", saying.of(f"task:{name}")) for name in names]
    return found


# The preview


def look(huey: JobHuey, rule: Any) -> Preview | None:
    """Return what the last week says of a rule; None of no rule. Raises Unreachable."""
    return preview.look(Now(huey), rule) if rule is not None else None


def chart(rule: Any, found: Preview) -> plots.Plot | None:
    """Draw a rule's value over the week, its threshold, and when it would have fired."""
    if len(found.points) < 2:
        return None
    unit_of = measures.unit_of(rule.measure, rule.target)
    factor, unit = {"s": (1000.0, "ms"), "ms": (1.0, "ms"), "%": (1.0, "%")}.get(unit_of, (1.0, ""))
    thinned = thin(found.points, highest=rule.comparison == "over")
    values = [None if value is None else value * factor for _, value in thinned]
    end = thinned[-1][0]
    return plots.plot(
        [at for at, _ in thinned], {"out": values}, unit=unit, target=rule.threshold * factor,
        troubles=[(one.at, one.until or end) for one in found.firings],
    )  # fmt: skip


def thin(
    points: Sequence[tuple[datetime, float | None]], *, highest: bool
) -> list[tuple[datetime, float | None]]:
    """Return at most POINTS points of even width in time, each the extreme of its part."""
    start, end = points[0][0], points[-1][0]
    step = max(timedelta(minutes=1), (end - start) / POINTS)
    parts: dict[int, list[float]] = {n: [] for n in range((end - start) // step + 1)}
    for at, value in points:
        if value is not None:
            parts[(at - start) // step].append(value)
    pick = max if highest else min
    return [(start + step * n, pick(values) if values else None) for n, values in parts.items()]


# Muting


def until(form: Mapping[str, str]) -> datetime | None:
    """Return until when a form mutes: 30 min, 4 h, the morning (08:00 UTC), or an instant. Raises ValueError."""
    chosen, now = form.get("for", ""), utcnow()
    if chosen in MUTES:
        return now + timedelta(minutes=MUTES[chosen])
    if chosen == "morning":
        at = datetime.combine(now.date(), MORNING)
        return at if at > now else at + timedelta(days=1)
    text = form.get("until", "").strip()
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError as exc:
        raise ValueError(
            f"Muted until {text!r}: a day and time such as 2026-11-24 08:00 is expected"
        ) from exc
