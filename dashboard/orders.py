"""What the form of an operation asks for: its kind, its jobs, what the kind takes, how it goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dashboard import bulk_acts, shapes
from tasks.engine import JobFilter
from tasks.engine.operating.acts import APPLIES
from tasks.engine.operating.freezing import thaw

PACES = ("5", "20", "")
SHARE = 95
MANY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of operation on screen.

    Args:
        verb: of the button. did: what was done to a job. effect: what will become of a job.
        takes: the field of the form that it needs. runs: its jobs run, so a canary can be judged.
    """

    name: str
    verb: str
    did: str
    effect: str
    takes: str = ""
    icon: str = "sliders"
    runs: bool = False
    danger: bool = False

    def title(self, count: int | str, noun: str = "job") -> str:
        """Return the words of the button: Retry 1 284 jobs."""
        return f"{self.verb} {count} {noun}{'' if str(count) == '1' else 's'}"

    @property
    def short(self) -> str:
        """Return the verb as a menu writes it."""
        return self.verb.removesuffix(" of")

    @property
    def action(self) -> str:
        """Return the action whose right it needs."""
        return bulk_acts.bulk_action(self.name)


KINDS = (
    Kind(name="retry", verb="Retry", did="retried", effect="will go to waiting and run again", icon="retry", runs=True),
    Kind(name="run_now", verb="Run now", did="made ready", effect="will go to waiting and run now", icon="play", runs=True),
    Kind(name="cancel", verb="Cancel", did="cancelled", effect="will be cancelled; what runs is asked to stop", icon="x"),
    Kind(name="move", verb="Move", did="moved", effect="will wait in the other queue", takes="queue", icon="move"),
    Kind(name="reschedule", verb="Reschedule", did="rescheduled", effect="will run at the new time", takes="when",
         icon="scheduled"),
    Kind(name="priority", verb="Change priority of", did="given a priority", effect="will run before or after others",
         takes="priority", icon="sliders"),
    Kind(name="tag", verb="Tag", did="tagged", effect="will have the tags", takes="tags", icon="plus"),
    Kind(name="untag", verb="Untag", did="untagged", effect="will lose the tags", takes="tags", icon="minus"),
    Kind(name="patch", verb="Change an argument of", did="changed", effect="will have the new value", takes="argument",
         icon="edit"),
    Kind(name="export", verb="Export", did="exported", effect="will be in the file, secrets masked", icon="download"),
    Kind(name="search", verb="Search", did="found", effect="will be looked at", icon="search"),
    Kind(name="delete", verb="Delete", did="deleted", effect="will be deleted with their history", icon="x", danger=True),
    Kind(name="discard", verb="Empty: delete", did="deleted", effect="will be deleted", icon="x", danger=True),
)  # fmt: skip
BY_NAME = {kind.name: kind for kind in KINDS}
# A queue is emptied on its own page, and a search begins where one stopped.
OFFERED = tuple(kind for kind in KINDS if kind.name not in ("discard", "search"))


def menu(state: str) -> list[Kind]:
    """Return the kinds that change jobs of a state, beside the buttons; any state: all."""
    rest = [kind for kind in OFFERED if kind.takes or kind.name == "export"]
    return [
        kind for kind in rest if not state or kind.name == "export" or state in APPLIES[kind.name]
    ]


def given(kind: Kind, form: Mapping[str, str]) -> dict[str, Any]:
    """Return what a kind takes, from its form. Raises ValueError with a sentence."""
    read: Mapping[str, Callable[[], dict[str, Any]]] = {
        "queue": lambda: {"queue": form.get("to", "")},
        "when": lambda: _when(form),
        "priority": lambda: {"priority": _number(form.get("priority", ""))},
        "tags": lambda: {"tags": form.get("tags", "").split()},
        "argument": lambda: {"name": form.get("name", "").strip(), "value": _json(form.get("value", ""))},
    }  # fmt: skip
    return read[kind.takes]() if kind.takes else {}


def _when(form: Mapping[str, str]) -> dict[str, Any]:
    delay, at = form.get("delay", "").strip(), form.get("at", "").strip()
    if bool(delay) == bool(at):
        raise ValueError("Say when: a time, or a delay such as 2h, one of them")
    if delay:
        return {"delay_s": shapes.seconds(delay)}
    try:
        found = datetime.fromisoformat(at)
    except ValueError as exc:
        raise ValueError(f"{at!r} is no time: 2026-11-24 08:00 is accepted, in UTC") from exc
    return {"at": found if found.tzinfo else found.replace(tzinfo=UTC)}


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as exc:
        raise ValueError(f"{text!r} is no priority: -100 to 100 is accepted") from exc


def _json(text: str) -> Any:
    """Return a value as it was typed: JSON where it is, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def plan(form: Mapping[str, str]) -> dict[str, Any]:
    """Return how the operation goes on. Raises ValueError with a sentence."""
    pace, canary = form.get("pace", ""), form.get("canary", "0")
    try:
        return {"pace": float(pace) if pace else None, "canary": int(canary or 0), "share": SHARE}
    except ValueError as exc:
        raise ValueError("Pace and canary are numbers") from exc


def query(form: Mapping[str, str]) -> JobFilter:
    """Return the query of the form: the frozen one of the page, or filters. Raises ValueError."""
    if form.get("query"):
        try:
            return thaw(form["query"])
        except (ValueError, TypeError) as exc:
            raise ValueError(f"The query cannot be read: {exc}") from exc
    named = {n: form[n] for n in shapes.Wanted.model_fields if form.get(n)}
    return shapes.Wanted.model_validate(named).filter(form.get("queue") or None)


def canary_of(count: int) -> tuple[int, int]:
    """Return how many to try first and how many of them must succeed; (0, 0) for a few jobs."""
    tried = min(20, count // 5)
    return (tried, math.ceil(tried * SHARE / 100)) if tried > 1 else (0, 0)
