"""Rendering: a whole page, or its live part for a poll; the query string; the page's own cost."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from flask import Flask, Response, current_app, flash, g, make_response, render_template, request
from flask_wtf.csrf import generate_csrf
from pydantic import ValidationError

from dashboard import actions, auth, charts, formats, orders, rights
from dashboard.health import View
from dashboard.rail import PAGES, Page
from dashboard.shapes import Listing, Wanted
from tasks import faults, settings
from tasks.database import utcnow
from tasks.engine import JobFilter, State, Term
from tasks.engine.instance import Pause, PausedPart
from tasks.engine.wording import consumer_of

PAUSES = {"15m": 15, "1h": 60, "4h": 240, "24h": 1440}  # what the forms offer, in minutes
SLOW_S = 0.25
ROWS = 100  # of a table that shows all there is: a row takes up to 0.2 ms
# allowEval and includeIndicatorStyles: the policy forbids both. 304 and 204 leave a region as it is.
HTMX = {
    "includeIndicatorStyles": False, "allowEval": False, "allowScriptTags": False,
    "historyCacheSize": 0, "selfRequestsOnly": True, "scrollIntoViewOnBoost": False, "timeout": 10000,
    "responseHandling": [
        {"code": "204", "swap": False}, {"code": "304", "swap": False},
        {"code": "[23]..", "swap": True}, {"code": "[45]..", "swap": False, "error": True},
    ],
}  # fmt: skip


Found = TypeVar("Found")
NOTHING = JobFilter(terms=(Term("group", ("none",)),))  # a group's id is 16 hex


def watch() -> View:
    """Return this second's view of everything."""
    view: View = current_app.extensions["watch"].view()
    return view


def shared(make: Callable[[], Found], name: str = "") -> Found:
    """Return what `make` reads, once for this second's view and this address, whoever looks.

    Args:
        name: tells several things read for one address apart.
    """
    return watch().shared.get(f"{name} {request.full_path}", make)


def paused(kind: str, name: str) -> PausedPart | None:
    """Return the pause of a task or a tag; None while it runs."""
    snapshot = watch().snapshot
    parts = snapshot.paused_parts if snapshot else ()
    return next((part for part in parts if (part.kind, part.name) == (kind, name)), None)


def is_fragment() -> bool:
    """Tell whether this request wants the live part alone; the one place that knows htmx's headers.

    A form that htmx posted follows its redirect to a whole page, and picks the main part itself.
    """
    asked = request.headers
    whole = "HX-Boosted" in asked or "HX-History-Restore-Request" in asked
    return "HX-Request" in asked and not whole


def render(template: str, *, figures: Any = None, status: int = 200,
           make: Callable[[], Mapping[str, Any]] = dict, **values: Any) -> Response:  # fmt: skip
    """Render a page, or its live region, with an ETag over its figures.

    Args:
        figures: what the region shows, without ages and clocks; the same figures answer 304.
        make: reads more values, which is not needed for a 304.
    """
    shown = banners()
    etag = marked((figures, shown)) if figures is not None else ""
    if is_fragment() and etag and request.headers.get("If-None-Match", "").strip('"') == etag:
        return _calmly(Response(status=304))
    values |= make()
    values["layout"] = "_live.html" if is_fragment() else "base.html"
    response = make_response(render_template(template, etag=etag, banners=shown, **values), status)
    if etag:
        response.headers["ETag"] = f'"{etag}"'
    return _calmly(response) if is_fragment() else response


def marked(figures: Any) -> str:
    """Return what stands for figures in an ETag: a page of many rows takes it once a second."""
    return hashlib.sha256(repr(figures).encode()).hexdigest()[:16]


def _calmly(response: Response) -> Response:
    """Let the page ask again later where an answer is dear: one page takes a twentieth of a thread."""
    if cost_s() > SLOW_S:
        response.headers["Retry-After"] = str(min(60, math.ceil(cost_s() * 20)))
    return response


def cost_s() -> float:
    """Return the seconds this request has taken so far."""
    return time.perf_counter() - float(g.get("started", time.perf_counter()))


def redis_calls() -> int:
    """Return the round trips to Redis that this request has made."""
    asked: int = actions.huey().storage.scripts.asked
    return asked - int(g.get("asked", asked))


def say(message: str, kind: str = "plain", undo: str = "") -> None:
    """Show a sentence on the next page; `undo` is the address that takes the act back."""
    said: Any = {"text": message, "undo": undo} if undo else message
    flash(said, kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Banner:
    """What everybody should know on every page; `act` is a name of ACTIONS."""

    kind: str
    icon: str
    title: str
    text: str = ""
    act: str = ""
    act_label: str = ""
    act_address: str = ""
    address: str = ""
    label: str = ""
    until: datetime | None = None


def banners() -> Sequence[Banner]:
    """Return what stands above each page but the overview, which says it as its sentence."""
    if request.endpoint == "overview.show" or auth.actor() is None:
        return ()
    view = watch()
    if view.error:
        return (_away(view),)
    if view.snapshot is None:
        return ()
    queues = [
        _paused(queue.name, queue.pause, formats.wait(queue.counts[State.WAITING]),
                "resume", f"/queues/{queue.name}/resume")
        for queue in view.snapshot.queues
        if queue.pause and not request.path.endswith(f"/queues/{queue.name}")
    ]  # fmt: skip
    parts = [
        _paused(f"{part.kind.capitalize()} {part.name.removeprefix('tasks.')}", part.pause, f"{part.parked} held",
                f"resume_{part.kind}", f"/pauses/{part.kind}/{part.name}/resume")
        for part in view.snapshot.paused_parts
    ]  # fmt: skip
    return queues + parts


def _away(view: View) -> Banner:
    title = view.troubles[0].sentence if view.troubles else "Redis unreachable"
    then = f"Figures are of {view.snapshot.at:%H:%M:%S} UTC. " if view.snapshot else ""
    return Banner(
        kind="bad", icon="failed", title=f"{title}.",
        text=f"{then}Nothing is lost; acts are off.",
    )  # fmt: skip


def _paused(name: str, pause: Pause, held: str, act: str, address: str) -> Banner:
    by = f" by {pause.by}" if pause.by else ""
    return Banner(
        kind="warn", icon="paused", title=f"{name} is paused{by}{formats.until(pause.until)}",
        text=f"{pause.reason}{'. ' if pause.reason else ''}{held}.",
        act=act, act_label="Resume", act_address=address, until=pause.until,
    )  # fmt: skip


def why_off(name: str) -> str:
    """Return why an act is off for whoever looks: the role it needs, or that Redis is away; else ""."""
    action = rights.BY_NAME[name]
    if not rights.may(auth.actor(), name):
        return f"needs the role {action.role}"
    return "off while Redis is away" if action.scope in rights.ON_REDIS and watch().error else ""


def init_app(app: Flask) -> None:
    """Give every template what the frame shows."""
    app.context_processor(_frame)
    app.jinja_env.globals.update(
        may=lambda name: rights.may(auth.actor(), name), why_off=why_off, row_acts=lambda: rights.row_acts(auth.actor()), applies=rights.applies, target_kind=rights.target_kind,
        needs=lambda name: rights.BY_NAME[name].role, has_page=lambda name: name in app.view_functions, charts=charts, State=State,
        filter_names=("queue", *Wanted.model_fields), kinds_for=orders.menu,
        csrf_token=generate_csrf, consumer=lambda: consumer_of(actions.huey()), with_args=with_args, htmx_config=json.dumps(HTMX),
    )  # fmt: skip
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def _frame() -> dict[str, Any]:
    found = settings.get()
    actor = auth.actor() if g.get("request_id") else None
    return {
        "root": request.script_root, "pages": _shown(actor), "own_sign_in": auth.HOSTED not in request.environ, "pauses": PAUSES, "paused": paused, "actor": actor, "theme": theme(),
        "keys": request.cookies.get("keys", ""), "view": watch() if actor else None, "now": utcnow(),
        "env": found.app_env, "inbox_url": found.inbox_url, "path": request.script_root + request.path,
        "cost_ms": lambda: round(cost_s() * 1000), "redis_calls": redis_calls, "version": "0.1.0",
    }  # fmt: skip


def _shown(actor: Any) -> Sequence[Page]:
    """Return the pages of the rail that this role opens; no mail log where the app around has none."""
    hidden = "" if current_app.config.get("SHOW_MAIL", True) else "Mail"
    return [p for p in PAGES if p.group != (hidden or None) and actor and actor.may(p.role)]


def theme() -> str:
    """Return the theme of the cookie: light, dark, or "" for the system's."""
    chosen = request.cookies.get("theme", "")
    return chosen if chosen in ("light", "dark") else ""


def with_args(**changed: Any) -> str:
    """Return this address with some of its arguments changed; None takes one out, as does a new cursor."""
    args = {**request.args.to_dict(), "cursor": None, **changed}
    kept = {name: value for name, value in args.items() if value not in (None, "")}
    here = request.script_root + request.path
    return f"{here}?{urlencode(kept)}" if kept else here


def shown_range(default: str, offered: Sequence[str]) -> str:
    """Return the range that this address names, where the page offers it."""
    found = request.args.get("range", default)
    return found if found in offered else default


@dataclass(frozen=True, slots=True)
class Part(Generic[Found]):
    """The rows of a long table that a page shows; `start` are left out before them."""

    items: Sequence[Found]
    start: int
    total: int

    @property
    def previous(self) -> int | None:
        """Return where the part before begins."""
        return max(0, self.start - ROWS) if self.start else None

    @property
    def next(self) -> int | None:
        """Return where the next part begins."""
        end = self.start + len(self.items)
        return end if end < self.total else None


def part_of(rows: Sequence[Found]) -> Part[Found]:
    """Return the rows that this address asks for; one that is past the end begins anew."""
    given = request.args.get("cursor", "")
    start = int(given) if given.isdecimal() and int(given) < len(rows) else 0
    return Part(rows[start : start + ROWS], start, len(rows))


def listing() -> tuple[Listing, str]:
    """Return the checked filters of this address, and a sentence where one is wrong."""
    given = {n: v for n, v in request.args.to_dict().items() if v and n in Listing.model_fields}
    try:
        return Listing.model_validate(given), ""
    except ValidationError as exc:
        name, words = faults.fields(exc)[0]
        if name == "q":
            return Listing(), words
        return Listing(), f"{name} is {given.get(name, '')!r}: {words}"


def job_filter() -> tuple[JobFilter, Listing, str]:
    """Return the engine's filter of this address; one that cannot be read matches nothing."""
    asked, error = listing()
    queue = request.args.get("queue") or None
    return (NOTHING if error else asked.filter(queue)), asked, error
