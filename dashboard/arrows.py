"""Arrows along a search: from one job of a list to the next, by an address that anybody may open.

A job's address carries the search as `in` and the moment of the job's change as `at`. The moment,
not the job, is the place in the list: a job that was retried has left it, its neighbours have not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlencode

from flask import request, url_for
from pydantic import ValidationError

from dashboard import actions, searching
from dashboard.shapes import Wanted
from tasks import faults
from tasks.engine import EngineError, Job
from tasks.engine.records import Place
from tasks.engine.rows import micros, score

FILTERS = ("queue", *Wanted.model_fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrows:
    """What leads on from a job: addresses are empty where there is nothing in that direction."""

    text: str
    back: str
    newer: str = ""
    older: str = ""
    place: Place = Place()
    error: str = ""

    @property
    def figures(self) -> tuple[object, ...]:
        """Return what of it is shown, for the page's ETag."""
        place = self.place
        return (self.newer, self.older, place.number, place.total, place.here is None, self.error)


def search() -> str:
    """Return this address's search as one argument: status=failed&q=to:ada@example.org."""
    return urlencode({name: request.args[name] for name in FILTERS if request.args.get(name)})


def addresses(text: str) -> Callable[[Job], str]:
    """Return what names a job's address as one of a search's; a list asks it for each row, so by hand."""
    before, after = f"{request.script_root}/jobs/", f"&in={quote_plus(text)}" if text else ""

    def address(job: Job) -> str:
        here = before + quote(job.id, safe="")
        return f"{here}?at={score(job.changed_at)}{after}" if job.changed_at else here

    return address


def found() -> Arrows | None:
    """Return the arrows that this address asks for; None where it names no place in a search."""
    at, text = request.args.get("at", ""), request.args.get("in", "")
    if not at.isdigit() or len(at) > 16:
        return None
    given = {name: value for name, value in parse_qsl(text) if name in FILTERS}
    back = url_for("jobs.table", **dict[str, Any](given))
    said = searching.whole(given) or "all jobs"
    try:
        queue = given.pop("queue", None)
        wanted = Wanted.model_validate(given).filter(queue)
        place = actions.huey().reads.place(wanted, micros(at))
    except ValidationError as exc:
        return Arrows(text=said, back=back, error=faults.fields(exc)[0][1])
    except EngineError as exc:
        return Arrows(text=said, back=back, error=str(exc))
    return Arrows(
        text=said, back=back, place=place, newer=_side(place.newer, place.newer_cursor, text, back),
        older=_side(place.older, place.older_cursor, text, back),
    )  # fmt: skip


def _side(job: Job | None, cursor: str | None, text: str, back: str) -> str:
    """Return where one arrow leads: to the job, or to the list where the search goes on."""
    if job is not None:
        return addresses(text)(job)
    return f"{back}{'&' if '?' in back else '?'}cursor={cursor}" if cursor else ""
