"""What every act is made of: one request to act, what it did, and the two ways of being refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashboard.auth import Actor
from tasks.engine import JobHuey, Outcome
from tasks.engine.operations import Operation


class Forbidden(Exception):
    """The role does not cover the action; the text says which one it needs."""


class Refused(Exception):
    """The action cannot be done as asked; the text says why, and nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What an action did; `message` is a sentence for the screen."""

    message: str
    target: str = ""  # what the audit row is on, where that is known only now
    outcomes: Sequence[Outcome] = ()
    operation: Operation | None = None
    value: Any = None
    done: bool = True
    noted: Mapping[str, Any] = field(
        default_factory=dict
    )  # for the audit, such as before and after


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to act."""

    huey: JobHuey
    actor: Actor
    target: str
    params: Mapping[str, Any] = field(default_factory=dict)


def could_not(outcomes: Sequence[Outcome]) -> str:
    """Return "; 3 could not", of those that an act on several left as they were; nothing where it left none."""
    left = sum(not outcome.done for outcome in outcomes)
    return f"; {left} could not" if left else ""
