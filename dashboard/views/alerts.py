"""Alerts: what fires, the rules with a preview of the last week, the history; mute and acknowledge."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, redirect, request, url_for

from dashboard import actions, alert_forms, auth, rights
from dashboard.alert_acts import UnknownAlert, rule_of
from dashboard.alert_forms import RuleForm
from dashboard.models import row_id
from dashboard.pages import is_fragment, render, say, watch
from dashboard.security import declare, local_path
from tasks.alerts import models, rules, saying
from tasks.alerts.measures import BY_NAME, MEASURES, Measure, definition, said, unit_of
from tasks.alerts.models import AlertIncident, AlertNotice, AlertRule
from tasks.database import reading, utcnow
from tasks.engine import EngineError, JobHuey, Unreachable
from tasks.kpis import KPIS

bp = Blueprint("alerts", __name__)
SHOWN, AT_ONCE = 10, 50
LATE = timedelta(minutes=3)
TASK = "tasks.alerts.evaluation.evaluate"


def looked_by(huey: JobHuey) -> bool:
    """Tell whether this Huey's workers look at rules: another application's do not."""
    return TASK in huey.reads.tasks()


def late_since(found: Sequence[AlertRule]) -> datetime | None:
    """Return when rules were last looked at, where that is too long ago."""
    looked = [rule.evaluated_at for rule in found if rule.enabled and rule.evaluated_at]
    newest = max(looked, default=None)
    return newest if newest and utcnow() - newest > LATE else None


@bp.get("/alerts")
def table() -> Any:
    """Show what fires, then the rules, the channels, and what fired before."""
    with reading() as db:
        found, channels = models.rules(db), models.channels(db)
        fires, past = models.open_incidents(db), models.incidents(db, limit=SHOWN)
        by_incident = _told(models.notices(db, [one.id for one in (*fires, *past)]))
        tests = models.tests(db)
    figures = ([(r.id, r.name, r.state, r.value, r.note, r.enabled, r.muted_until, r.fired_at) for r in found],
               [(i.id, i.worst, i.acknowledged_at, i.closed_at) for i in (*fires, *past)],
               [(n.id, n.state) for told in by_incident.values() for n in told],
               [(c.id, c.name, c.shown) for c in channels], [(n.id, n.state) for n in tests.values()],
               late_since(found) is None)  # fmt: skip
    return render("alerts.html", figures=figures, rules=found, channels=channels, firing=fires, past=past,
                  told=by_incident, tests=tests, suggestions=rules.SUGGESTIONS, late=late_since(found),
                  by_id={rule.id: rule for rule in found}, looked=looked_by(actions.huey()))  # fmt: skip


def _told(found: Sequence[AlertNotice]) -> dict[int, list[AlertNotice]]:
    by_incident: dict[int, list[AlertNotice]] = {}
    for notice in found:
        by_incident.setdefault(notice.incident_id or 0, []).append(notice)
    return by_incident


@bp.get("/alerts/history")
def history() -> Any:
    """List every firing that is kept, the newest first."""
    cursor = request.args.get("cursor", type=row_id)
    with reading() as db:
        past = models.incidents(db, cursor=cursor, limit=AT_ONCE + 1)
        told = _told(models.notices(db, [one.id for one in past]))
    more = past[AT_ONCE - 1].id if len(past) > AT_ONCE else None
    return render("alert_history.html", past=past[:AT_ONCE], told=told, next=more)


# One rule


def _measure(name: str) -> Measure:
    if name not in BY_NAME:
        raise UnknownAlert(f"there is no measure {name}; there are {', '.join(BY_NAME)}")
    return BY_NAME[name]


@bp.get("/alerts/new")
def new() -> Any:
    """Choose what to watch, then say when it is too much."""
    if "measure" not in request.args:
        return render(
            "alert_new.html", measures=[row for row in MEASURES if row.name != "kpi"], kpis=KPIS
        )
    measure, target = _measure(request.args["measure"]), request.args.get("target", "")
    if measure.name == "kpi" and definition(measure.name, target) is None:
        raise UnknownAlert(
            f"there is no key figure {target}; there are {', '.join(kpi.name for kpi in KPIS)}"
        )
    return _form(alert_forms.filled(measure, target=target[:200]))


@bp.post("/alerts/new")
def create() -> Any:
    """Make a rule, or look at what the last week says of it."""
    return _save(_measure(request.form.get("measure", "")), None)


@bp.get("/alerts/<int:rule_id>")
def show(rule_id: int) -> Any:
    """Show one rule: how it stands, what it says, when it fired."""
    rule = rule_of(rule_id)
    return _form(alert_forms.filled(_measure(rule.measure), rule), rule)


@bp.post("/alerts/<int:rule_id>")
def save(rule_id: int) -> Any:
    """Change a rule, or look at what the last week says of it."""
    rule = rule_of(rule_id)
    return _save(_measure(rule.measure), rule)


def _save(measure: Measure, rule: AlertRule | None) -> Any:
    form = alert_forms.sent(actions.huey(), measure, request.form)
    if form.rule is None or "preview" in request.form:
        return _form(form, rule, status=200 if form.rule else 422)
    try:
        done = actions.run(
            actions.huey(),
            auth.actor(),
            "save_rule",
            str(rule.id) if rule else "new",
            data=form.rule,
        )
    except rules.BadRule as exc:
        wrong = RuleForm(
            measure, form.text, form.channels, form.enabled, {exc.field: exc.message}, form.rule
        )
        return _form(wrong, rule, status=422)
    say(done.message)
    return redirect(url_for("alerts.show", rule_id=done.value.id), 303)


def _form(form: RuleForm, rule: AlertRule | None = None, status: int = 200) -> Any:
    with reading() as db:
        channels = models.channels(db)
        past = models.incidents(db, rule.id, limit=AT_ONCE) if rule else []
        told = _told(models.notices(db, [one.id for one in past]))
    fires = next((one for one in past if one.closed_at is None), None)
    huey = actions.huey()
    try:
        offered = alert_forms.targets(huey, form.measure)
        found = _preview(form, rule)
    except Unreachable as exc:
        offered, found = [], {"preview": None, "chart": None, "draft": None, "away": str(exc)}
    return render("alert_rule.html", status=status, form=form, rule=rule, channels=channels, past=past, fires=fires, told=told,
                  offered=offered, allowed=rights.may(auth.actor(), "save_rule"), unit=unit_of(form.measure.name, form.text["target"]), kpi=definition(form.measure.name, form.text["target"]), **found)  # fmt: skip


def _preview(form: RuleForm, rule: AlertRule | None) -> dict[str, Any]:
    draft = alert_forms.drafted(form, None if form.errors else rule)
    found = None if watch().error else alert_forms.look(actions.huey(), draft)
    chart = alert_forms.chart(draft, found) if found else None
    return {"preview": found, "chart": chart, "draft": draft, "away": watch().error}


@bp.get("/alerts/preview")
def preview() -> Any:
    """Answer with what the last week says of the form that is being filled in."""
    form = alert_forms.sent(actions.huey(), _measure(request.args.get("measure", "")), request.args)
    found = _preview(form, None)
    if not is_fragment():
        return _form(form)
    return render("_alert_preview.html", form=form, **found)


@bp.get("/alerts/<int:rule_id>/delete")
def ask_delete(rule_id: int) -> Any:
    """Ask once more before a rule is deleted."""
    return render("alert_delete.html", kind="rule", thing=rule_of(rule_id), used=[])


@bp.post("/alerts/<int:rule_id>/<any(delete, mute, unmute, enable, disable):what>")
def act(rule_id: int, what: str) -> Any:
    """Do something to a rule, then show the page it came from."""
    back = url_for("alerts.table") if what == "delete" else url_for("alerts.show", rule_id=rule_id)
    undo = {"mute": "unmute", "enable": "disable", "disable": "enable"}.get(what)
    try:
        params = {"until": alert_forms.until(request.form)} if what == "mute" else {}
        done = actions.run(actions.huey(), auth.actor(), f"{what}_rule", str(rule_id), **params)
        say(done.message, undo=f"/alerts/{rule_id}/{undo}" if undo and what != "enable" else "")
    except (actions.Refused, EngineError, ValueError) as exc:
        say(str(exc), "bad")
    return redirect(local_path(request.form.get("next") or back), 303)


@bp.post("/alerts/incidents/<int:incident_id>/acknowledge")
def acknowledge(incident_id: int) -> Any:
    """Say that somebody is on it."""
    try:
        say(
            actions.run(
                actions.huey(), auth.actor(), "acknowledge_incident", str(incident_id)
            ).message
        )
    except (actions.Refused, EngineError) as exc:
        say(str(exc), "bad")
    return redirect(local_path(request.form.get("next") or url_for("alerts.table")), 303)


@bp.post("/alerts/suggested")
def suggested() -> Any:
    """Make the suggested rules; they tell nobody before they are given a channel."""
    try:
        say(actions.run(actions.huey(), auth.actor(), "suggested_rules", "all").message)
    except (actions.Refused, EngineError) as exc:
        say(str(exc), "bad")
    return redirect(url_for("alerts.table"), 303)


# Words

PLACES = {"missed": ("periodic.table", "Periodic tasks"), "workers": ("workers.table", "Workers"),
          "memory": ("overview.show", "Overview"), "new_errors": ("errors.table", "Error groups")}  # fmt: skip


def where(thing: Any) -> tuple[str, str]:
    """Return (address, words) of where one sees what a rule watches."""
    kind, _, name = thing.target.partition(":")
    found = definition(thing.measure, thing.target)
    if found is not None:
        return request.script_root + (found.where or "/kpis"), "Show it"
    if thing.measure in PLACES:
        endpoint, words = PLACES[thing.measure]
        return url_for(endpoint), f"Show {words.lower()}"
    if thing.measure in ("failed_share", "failed_jobs"):
        return url_for(
            "jobs.table", status="failed", **{kind: name} if kind else {}
        ), "Show failed jobs"
    if kind == "task":
        return url_for("tasks.show", name=name), "Show the task"
    return (
        (url_for("queues.show", name=name), f"Show queue {name}")
        if kind
        else (url_for("queues.table"), "Show queues")
    )


def value_of(thing: Any, value: float | None) -> str:
    """Return a value of a rule or an incident with its unit."""
    return (
        said(value, unit_of(thing.measure, thing.target))
        if thing.measure in BY_NAME
        else str(value)
    )


def ended(incident: AlertIncident) -> str:
    """Return how an incident ended."""
    return {"well": "", "changed": "rule changed", "off": "turned off", "deleted": "rule deleted"}.get(incident.ended, "")  # fmt: skip


bp.add_app_template_filter(value_of, "alert_value")
bp.add_app_template_filter(where, "alert_where")
bp.add_app_template_filter(ended, "alert_ended")
bp.add_app_template_filter(saying.condition, "alert_condition")
bp.add_app_template_filter(saying.rule_in_words, "alert_words")
bp.add_app_template_filter(saying.limit, "alert_limit")
bp.add_app_template_filter(saying.subject, "alert_subject")
declare(
    "viewer",
    table,
    history,
    new,
    create,
    show,
    save,
    preview,
    ask_delete,
    act,
    acknowledge,
    suggested,
)
