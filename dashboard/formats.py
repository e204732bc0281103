"""Jinja filters: time, duration, size, figures, shortened values."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from flask import Flask

from tasks.database import utcnow
from tasks.engine import is_id
from tasks.engine.queues import rate_of
from tasks.spelling import THIN
from tasks.spelling import duration as duration
from tasks.spelling import number as number
from tasks.spelling import share as share

TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def init_app(app: Flask) -> None:
    """Register every filter."""
    for name in ("number", "duration", "ms", "clock", "iso", "ago", "running", "stamp", "short_moment", "share", "short_task", "middle",
                 "address", "compact", "figure", "unit", "sentence", "kept", "did", "every", "target_of",
                 "quoted", "soon", "local", "size", "jobs", "listed", "is_job_id", "as_json", "rate"):  # fmt: skip
        app.add_template_filter(globals()[name], name)


@lru_cache(maxsize=4096)
def quoted(name: str) -> str:
    """Return a name as it stands in an address: a table of hundreds of rows asks no router."""
    return quote(name, safe="")


def every(seconds: int) -> str:
    """Return minute, 30 min, 3 h or day: what one point of a chart covers."""
    for size, unit in ((86400, "day"), (3600, "h"), (60, "min")):
        if seconds >= size:
            many = seconds // size
            return {"min": "minute", "h": "hour"}.get(unit, unit) if many == 1 else f"{many} {unit}"
    return f"{seconds} s"


def rate(text: str) -> str:
    """Return 20 a second or 100 in 15 min, from 20/s or 100/15m."""
    many, period_ms = rate_of(text) or (0, 1000)
    span = every(period_ms // 1000) if period_ms % 1000 == 0 else duration(period_ms / 1000)
    span = "second" if period_ms == 1000 else span
    word = "in" if span[0].isdigit() else "an" if span == "hour" else "a"
    return f"{number(many)} {word} {span}"


def ms(value: float | None) -> str:
    """Return a duration given in milliseconds: 4 ms, else as `duration`."""
    if value is not None and 0 < value < 10:
        return f"{max(1, round(value))} ms"
    return "–" if value is None else duration(value / 1000)


def clock(at: datetime | None) -> str:
    """Return 12:06:24, UTC."""
    return at.astimezone(UTC).strftime("%H:%M:%S") if at else "–"


def stamp(at: datetime | None) -> str:
    """Return 24 Nov 2026, 12:06:24 UTC."""
    return at.astimezone(UTC).strftime("%-d %b %Y, %H:%M:%S UTC") if at else "–"


def short_moment(at: datetime | None) -> str:
    """Return 12:06 for today, else 24 Nov 12:06; UTC."""
    if at is None:
        return "–"
    here = at.astimezone(UTC)
    return here.strftime("%H:%M" if here.date() == utcnow().date() else "%-d %b %H:%M")


def iso(at: datetime | None) -> str:
    """Return the instant for a datetime attribute."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if at else ""


def ago(at: datetime | None) -> str:
    """Return how long ago, or in how long: 4 min ago, in 3 min, in 1 h 34 min."""
    if at is None:
        return "–"
    seconds = (utcnow() - at).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{_rough(seconds)} ago" if seconds > 0 else f"in {_left(-seconds)}"


def running(since: datetime) -> str:
    """Return how long something has run up to now: 4 s, 12 min."""
    return _rough(max(0.0, (utcnow() - since).total_seconds()))


def _rough(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{int(seconds)} s"


def _left(seconds: float) -> str:
    """Name the next smaller unit of what lies ahead too: whoever waits reads 1 h as soon."""
    for size, step, unit in ((86400, 3600, "h"), (3600, 60, "min")):
        if seconds >= size and (rest := int(seconds % size // step)):
            return f"{_rough(seconds)} {rest} {unit}"
    return _rough(seconds)


def soon(at: datetime | None) -> str:
    """Return 12:07 for today, tomorrow 03:00, Sunday 04:00 within six days, else 1 Dec 04:00; UTC."""
    if at is None:
        return "–"
    at = at.astimezone(UTC)
    days = (at.date() - utcnow().date()).days
    day = {0: "", 1: "tomorrow ", -1: "yesterday "}.get(days)
    if day is None:
        day = f"{at:%A} " if abs(days) < 7 else f"{at:%-d %b} "
    return f"{day}{at:%H:%M}"


def until(at: datetime | None) -> str:
    """Return " until tomorrow 03:00 UTC" as the end of a clause; nothing where no end is set."""
    return f" until {soon(at)} UTC" if at else ""


def local(at: datetime, zone: str) -> str:
    """Return Mon 02:30, the weekday and minute in a zone."""
    return f"{at.astimezone(ZoneInfo(zone)):%a %H:%M}"


def size(octets: int | None) -> str:
    """Return 212 MB, from bytes; a dash for none."""
    if not octets:
        return "–"
    for unit, step in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)):
        if octets >= step:
            value = octets / step
            return (
                f"{value:.1f}{THIN}{unit}"
                if value < 10 and unit == "GB"
                else f"{value:.0f}{THIN}{unit}"
            )
    return f"{octets} B"


def few(value: float | None) -> str:
    """Return a number that is not rounded away where it is small: 0.3, 7.5, 224, under 0.01."""
    if not value or value >= 9.95:
        return number(value)
    if value < 0.01:
        return "under 0.01"
    return f"{value:.1g}" if value < 1 else f"{value:.1f}".removesuffix(".0")


def figure(kpi: Any) -> str:
    """Return a KPI's figure without its unit."""
    if kpi.value is None:
        return "–"
    if kpi.unit == "%":
        return f"{kpi.value * 100:.1f}".removesuffix(".0")
    if kpi.unit == "s":
        minutes, rest = divmod(round(kpi.value), 60)
        return (
            f"{minutes}:{rest:02d}"
            if minutes
            else f"{kpi.value:.2g}"
            if kpi.value < 10
            else f"{kpi.value:.0f}"
        )
    return few(kpi.value)


def unit(kpi: Any) -> str:
    """Return a KPI's unit."""
    if kpi.unit == "s" and kpi.value is not None and kpi.value >= 60:
        return "min"
    return "" if kpi.value is None else str(kpi.unit)


def target_of(kpi: Any) -> str:
    """Return what a KPI should be: target under 200 ms; nothing where it has no target."""
    if kpi.target is None:
        return ""
    word = "over" if kpi.above else "under"
    shown = share(kpi.target) if kpi.unit == "%" else f"{number(kpi.target)} {kpi.unit}"
    return f"target {word} {shown}"


def jobs(count: int) -> str:
    """Return 1 job, 1 284 jobs."""
    return f"{number(count)} job{'' if count == 1 else 's'}"


def jobs_wait(count: int) -> str:
    """Return 1 job waits, 1 284 jobs wait."""
    return f"{jobs(count)} wait{'s' if count == 1 else ''}"


def wait(count: int) -> str:
    """Return 1 waits, 1 284 wait."""
    return f"{number(count)} wait{'s' if count == 1 else ''}"


def is_job_id(text: str) -> bool:
    """Tell whether a text is the id of a job rather than a word or a name."""
    return len(text) >= 20 and is_id(text)


def listed(words: Sequence[str], most: int = 3) -> str:
    """Return email, sync and payments; what is over `most` is counted: email and 4 more."""
    shown, rest = list(words[:most]), len(words) - most
    if rest > 0:
        shown.append(f"{rest} more")
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else "".join(shown)


def sentence(text: str) -> str:
    """Return a text with its first letter large and the rest as it is."""
    return text[:1].upper() + text[1:]


DID = {
    "retry": "retried", "edit_retry": "edited and retried", "queue_job": "queued", "queue_secret_job": "queued", "duplicate": "duplicated", "reveal": "looked at the secrets of", "run_now": "ran now", "cancel": "cancelled",
    "delete": "deleted", "bulk": "started on many", "stop_operation": "stopped", "pause_operation": "paused",
    "resume_operation": "went on with", "pause": "paused", "resume": "resumed", "pause_task": "paused", "resume_task": "resumed", "pause_tag": "paused", "mute_group": "muted", "resolve_group": "resolved", "reopen_group": "reopened", "note_group": "noted", "save_view": "saved the view", "delete_view": "deleted the view",
    "resume_tag": "resumed", "set_limits": "changed the limits of",
    "run_periodic": "ran", "disable_periodic": "turned off", "enable_periodic": "turned on",
    "probe": "tried", "quiet": "quieted", "wake": "resumed", "stop": "stopped", "stop_now": "stopped at once", "send_email": "sent a mail to",
    "reschedule": "rescheduled", "set_priority": "changed the priority of", "priority": "changed the priority of",
    "move": "moved", "tag": "tagged", "untag": "untagged", "patch": "changed an argument of", "bulk_patch": "changed many",
    "empty": "emptied", "export": "exported", "search": "searched", "export_audit": "downloaded", "download_export": "downloaded", "undo_operation": "took back",
    "resend": "sent again", "release": "released", "suppress": "suppressed", "lift": "lifted", "create_operator": "added",
    "save_rule": "saved the alert rule", "suggested_rules": "added the suggested alert rules", "delete_rule": "deleted the alert rule",
    "enable_rule": "turned on the alert rule", "disable_rule": "turned off the alert rule", "mute_rule": "muted the alert",
    "unmute_rule": "unmuted the alert", "acknowledge_incident": "acknowledged the alert", "save_channel": "saved the alert channel",
    "delete_channel": "deleted the alert channel", "test_channel": "tested the alert channel",
    "set_role": "changed the role of", "disable": "disabled", "enable": "enabled", "reset_password": "set the password of",
    "change_password": "changed the password of", "end_sessions": "ended the other sessions of",
    "create_token": "made a token", "revoke_token": "revoked a token", "sign_in": "signed in", "setup": "set up the dashboard",
}  # fmt: skip


def did(action: str) -> str:
    """Return what somebody did, in the past: paused, retried."""
    return DID.get(action, action.replace("_", " "))


def kept(retention: str) -> str:
    """Return 7 days or 100 000 jobs, from 7d/100000."""
    span, slash, jobs = retention.partition("/")
    units = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
    if not slash or span[-1:] not in units or not (span[:-1].isdigit() and jobs.isdigit()):
        return retention
    unit = units[span[-1]]
    return f"{span[:-1]} {unit[:-1] if span[:-1] == '1' else unit} or {number(int(jobs))} jobs"


def short_task(name: str) -> tuple[str, str]:
    """Return (module and dot, function) of a task, without `tasks.`."""
    module, dot, function = name.removeprefix("tasks.").rpartition(".")
    return module + dot, function


def middle(text: str, most: int = 48) -> str:
    """Cut a long value in its middle."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def address(text: str, most: int = 34) -> str:
    """Cut a long address before its @."""
    local, at, domain = text.partition("@")
    if len(text) <= most or not at:
        return middle(text, most)
    room = most - len(domain) - 2
    return f"{local[: max(4, room)]}…@{middle(domain, most - 6)}"


def compact(job: Any, most: int = 64) -> str:
    """Return a job's arguments on one line, the telling ones first."""
    if job.task.endswith("deliver_email") and len(job.args) > 2:
        return f"{job.args[1]} to {address(str(job.args[2]))}"
    parts = [_value(value) for value in job.args] + [
        f"{name}={_value(value)}" for name, value in job.kwargs.items()
    ]
    return middle(", ".join(parts), most)


_line = json.JSONEncoder(ensure_ascii=False, default=str).encode  # a list writes hundreds


def as_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON that a person can read: letters as they are.

    Marks that turn the direction of text stay escaped: they would show another value than there is.
    """
    text = (
        _line(value)
        if indent is None
        else json.dumps(value, ensure_ascii=False, default=str, indent=indent)
    )
    return TURNS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else as_json(value)
