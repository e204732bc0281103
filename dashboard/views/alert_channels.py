"""Channels of alerts: mail to addresses, webhooks; each can be tested. A webhook's secret is shown once."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, request, url_for
from pydantic import ValidationError

from dashboard import actions, auth, rights
from dashboard.alert_acts import channel_of
from dashboard.pages import render, say
from dashboard.security import declare, local_path
from tasks import faults
from tasks.alerts import models
from tasks.alerts.models import AlertChannel
from tasks.alerts.rules import BadRule, ChannelIn
from tasks.database import reading
from tasks.engine import EngineError

bp = Blueprint("alert_channels", __name__)
KINDS = ("mail", "webhook")


def _kind(name: str) -> str:
    return name if name in KINDS else KINDS[0]


@bp.get("/alerts/channels/new")
def new() -> Any:
    """Show the form of a new channel."""
    return _form(None, _kind(request.args.get("kind", "")), {}, {})


@bp.post("/alerts/channels/new")
def create() -> Any:
    """Make a channel."""
    return _save(None, _kind(request.form.get("kind", "")))


@bp.get("/alerts/channels/<int:channel_id>")
def show(channel_id: int) -> Any:
    """Show one channel: where it goes, which rules use it, how its last test went."""
    found = channel_of(channel_id)
    text = {"name": found.name, "addresses": "\n".join(found.to), "url": found.host}
    return _form(found, found.kind, text, {})


@bp.post("/alerts/channels/<int:channel_id>")
def save(channel_id: int) -> Any:
    """Change a channel."""
    found = channel_of(channel_id)
    return _save(found, found.kind)


def _save(channel: AlertChannel | None, kind: str) -> Any:
    text = {
        name: request.form.get(name, "").strip()[:4000]
        for name in ("name", "addresses", "url", "secret")
    }
    addresses = [one for one in text["addresses"].replace(",", "\n").split() if one]
    target = str(channel.id) if channel else "new"
    try:
        given = ChannelIn(name=text["name"], kind=kind, addresses=addresses if kind == "mail" else [],  # type: ignore[arg-type]
                          url=text["url"], secret=text["secret"])  # fmt: skip
        done = actions.run(actions.huey(), auth.actor(), "save_channel", target, data=given)
    except ValidationError as exc:
        return _form(
            channel,
            kind,
            text,
            {name.partition(".")[0]: said for name, said in faults.fields(exc)},
            422,
        )
    except BadRule as exc:
        return _form(channel, kind, text, {exc.field: exc.message}, 422)
    made, secret = done.value
    if secret:
        return render("alert_secret.html", channel=made, secret=secret)
    say(done.message)
    return redirect(url_for("alert_channels.show", channel_id=made.id), 303)


def _form(channel: AlertChannel | None, kind: str, text: dict[str, str], errors: dict[str, str],
          status: int = 200) -> Any:  # fmt: skip
    with reading() as db:
        test = models.tests(db).get(channel.id) if channel else None
        used = _used(models.rules(db), channel)
    figures = (test and (test.id, test.state, test.detail), channel and channel.name)
    return render("alert_channel.html", status=status, figures=figures, channel=channel, kind=kind, text=text,
                  errors=errors, test=test, used=used, allowed=rights.may(auth.actor(), "save_channel"))  # fmt: skip


def _used(rules: list[models.AlertRule], channel: AlertChannel | None) -> list[models.AlertRule]:
    if channel is None:
        return []
    return [rule for rule in rules if channel.id in {one.id for one in rule.channels}]


@bp.get("/alerts/channels/<int:channel_id>/delete")
def ask_delete(channel_id: int) -> Any:
    """Ask once more before a channel is deleted."""
    found = channel_of(channel_id)
    with reading() as db:
        used = _used(models.rules(db), found)
    return render("alert_delete.html", kind="channel", thing=found, used=used)


@bp.post("/alerts/channels/<int:channel_id>/<any(delete, test):what>")
def act(channel_id: int, what: str) -> Any:
    """Delete a channel or send it a test, then show the page it came from."""
    back = (
        url_for("alerts.table")
        if what == "delete"
        else url_for("alert_channels.show", channel_id=channel_id)
    )
    try:
        say(actions.run(actions.huey(), auth.actor(), f"{what}_channel", str(channel_id)).message)
    except (actions.Refused, EngineError) as exc:
        say(str(exc), "bad")
    return redirect(local_path(request.form.get("next") or back), 303)


declare("viewer", new, create, show, save, ask_delete, act)
