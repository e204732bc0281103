"""A rule and its incident in words, the same on the page, in mail and in a webhook."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from tasks.alerts.measures import BY_NAME, definition, said, unit_of
from tasks.spelling import duration


class Ruled(Protocol):
    """What of a rule or an incident is said."""

    measure: str
    target: str
    comparison: str
    threshold: float


class Condition(Ruled, Protocol):
    """What of a rule is said as well."""

    over_minutes: int
    for_minutes: int
    least_samples: int


def minutes(count: int) -> str:
    """Return 15 min, 2 h, 1 d."""
    for size, unit in ((1440, "d"), (60, "h")):
        if count >= size and count % size == 0:
            return f"{count // size} {unit}"
    return f"{count} min"


def of(target: str) -> str:
    """Return what a target names: queue email, task emails.deliver_email."""
    kind, _, name = target.partition(":")
    return f"{kind} {name.removeprefix('tasks.')}"


def subject(rule: Ruled) -> str:
    """Return what is watched: Failed share of queue email."""
    found = definition(rule.measure, rule.target)
    if found is not None:
        return found.label
    label = BY_NAME[rule.measure].label
    return f"{label} of {of(rule.target)}" if rule.target else label


def limit(rule: Ruled) -> str:
    """Return where a rule's limit is: over 5 %; any where it is over nothing."""
    if rule.comparison == "over" and not rule.threshold:
        return "any"
    return f"{rule.comparison} {said(rule.threshold, unit_of(rule.measure, rule.target))}"


def rule_in_words(rule: Condition) -> str:
    """Return a rule as one line: Failed share of queue email: over 5 % in 15 min."""
    return f"{subject(rule)}: {condition(rule)}"


def condition(rule: Condition) -> str:
    """Return when a rule fires: over 5 % in 15 min, for 5 min, of at least 20 finished jobs."""
    row = BY_NAME[rule.measure]
    parts = [limit(rule)]
    if row.windowed:
        parts[0] += f" in {minutes(rule.over_minutes)}"
    if rule.for_minutes:
        parts.append(f"for {minutes(rule.for_minutes)}")
    if row.samples and rule.least_samples > 1:
        parts.append(f"of at least {rule.least_samples} {row.samples}")
    return ", ".join(parts)


def fired(rule: Ruled, value: float | None) -> str:
    """Return what is wrong: Failed share of queue email: 12 %, over 5 %."""
    now = said(value, unit_of(rule.measure, rule.target))
    found = f"{subject(rule)}: {now}"
    return found if limit(rule) == "any" else f"{found}, {limit(rule)}"


def lasted(began: datetime, ended: datetime) -> str:
    """Return how long something was so."""
    return duration(max(0.0, (ended - began).total_seconds()))
