"""Short ways to make rules and channels, to deliver what waits, and to look at what became of it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from driving import run_all
from sqlalchemy import select
from waiting import PATIENCE_S

from dashboard.models import AuditEntry
from tasks import database as db
from tasks import outbox
from tasks.alerts import rules
from tasks.alerts.models import AlertChannel, AlertIncident, AlertNotice, AlertRule
from tasks.engine import JobHuey, Permanent


@dataclass
class Hook:
    """What a webhook's server was sent, and how it answers: statuses in turn, the last one stays."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=lambda: [(200, {})])
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]


def make_rule(measure: str, **given: Any) -> AlertRule:
    with db.session() as session:
        name = given.pop("name", f"{measure} rule")
        return rules.save_rule(
            session, rules.RuleIn(name=name, measure=measure, **given), "ada@example.org"
        )


def make_mail(*to: str, name: str = "On call") -> AlertChannel:
    with db.session() as session:
        given = rules.ChannelIn(name=name, kind="mail", addresses=list(to or ("ops@example.org",)))
        return rules.save_channel(session, given)[0]


def make_hook(
    url: str, secret: str = "a secret of some length", name: str = "Chat"
) -> AlertChannel:
    with db.session() as session:
        given = rules.ChannelIn(name=name, kind="webhook", url=url, secret=secret)
        return rules.save_channel(session, given)[0]


def rule_of(rule: AlertRule) -> AlertRule:
    with db.reading() as session:
        found = session.get(AlertRule, rule.id)
        assert found is not None
        return found


def every(model: Any) -> list[Any]:
    with db.reading() as session:
        return list(session.query(model).order_by(model.id))


def incidents() -> list[AlertIncident]:
    return every(AlertIncident)


def notices() -> list[AlertNotice]:
    return every(AlertNotice)


def deliver(huey: JobHuey) -> list[str]:
    """Run what waits: the jobs of notices. Returns: their ids."""
    assert outbox.settle(PATIENCE_S)
    return run_all(huey)


@contextlib.contextmanager
def ending(huey: JobHuey) -> Iterator[Callable[..., None]]:
    """Run jobs of a task that end as told: `ends(failed=2, well=1)`."""

    @huey.task(name="alerts.ends", queue="sync")
    def ends(how: str) -> str:
        if how == "failed":
            raise Permanent("the door is locked")
        return how

    def run(**many: int) -> None:
        for how, n in many.items():
            for _ in range(n):
                ends(how)
        run_all(huey)

    yield run
    huey._registry.unregister(ends.task_class)


def audit() -> list[tuple[str, str, dict[str, Any]]]:
    """Return what the audit has, the first first: (act, outcome, what was given)."""
    with db.reading() as session:
        found = session.scalars(select(AuditEntry).order_by(AuditEntry.id))
        return [(row.action, row.outcome, json.loads(row.detail)) for row in found]


def text(html: str) -> str:
    """Return what a page says within its frame."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.split("<main")[1].split("</main")[0]))
