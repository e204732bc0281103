"""A rule from ok to firing and back: once a minute, once for all consumers, each change told once."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from alerting import (
    Hook,
    deliver,
    every,
    incidents,
    make_hook,
    make_mail,
    make_rule,
    notices,
    rule_of,
)
from scripted_smtp import ScriptedServer
from waiting import PATIENCE_S

from tasks import database as db
from tasks import outbox, settings
from tasks.alerts import evaluation, measures, models, rules
from tasks.alerts.evaluation import look_at_all
from tasks.alerts.measures import Seen
from tasks.database import utcnow
from tasks.engine import JobHuey
from tasks.mailer import delivery
from tasks.mailer.models import EmailMessage

SYNC = "queue:sync"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def start() -> datetime:
    return utcnow().replace(second=0, microsecond=0)


@pytest.fixture
def smtp(huey: JobHuey, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let mail go to a scripted server."""
    server = ScriptedServer().start()
    monkeypatch.setenv("MAIL_SERVER", "127.0.0.1")
    monkeypatch.setenv("MAIL_PORT", str(server.port))
    settings.reset()
    delivery.pool.cache_clear()
    yield server
    delivery.pool().close()
    delivery.pool.cache_clear()
    server.stop()


def see(rule: models.AlertRule, at: datetime, value: float | None, samples: int = 100) -> str:
    """Let a rule see a value in a minute."""
    with db.session() as session:
        return evaluation.settle(session, rule.id, Seen(value, samples), at)


def test_a_rule_fires_by_what_its_queue_did_and_tells_by_mail_and_webhook(
    huey: JobHuey, ends: Callable[..., None], smtp: ScriptedServer, hook: Hook, start: datetime
) -> None:
    told = [make_mail("ops@example.org", "boss@example.org").id, make_hook(hook.url).id]
    rule = make_rule("failed_share", name="Sync fails", target=SYNC, severity="critical",
                     least_samples=4, channels=told)  # fmt: skip
    ends(well=3)
    assert look_at_all(start) == (1, 0)
    assert rule_of(rule).note == "3 of 4 finished jobs"
    ends(failed=1)
    assert look_at_all(start + MINUTE) == (1, 1)
    (incident,) = incidents()
    assert incident.said == "Failed share of queue sync: 25\u2009%, over 5\u2009%"
    deliver(huey)
    assert [mail.state for mail in every(EmailMessage)] == ["sent", "sent"]
    assert {mail.to_addr for mail in every(EmailMessage)} == {"ops@example.org", "boss@example.org"}
    assert every(EmailMessage)[0].subject == "CRITICAL: Sync fails"
    (body,) = hook.bodies()
    assert (body["event"], body["incident"]["value"], body["incident"]["rule"]) == (
        "fired",
        0.25,
        rule.id,
    )
    ends(well=40)
    for n in range(2, 5):
        look_at_all(start + n * MINUTE)
    (incident,) = incidents()
    assert (incident.closed_at, incident.ended) == (start + 2 * MINUTE, "well")
    deliver(huey)
    assert [body["event"] for body in hook.bodies()] == ["fired", "resolved"]
    with db.reading() as session:
        assert {(n.event, n.state) for n in models.notices(session, [incident.id])} == {
            ("fired", "sent"), ("resolved", "sent"),
        }  # fmt: skip


def test_a_condition_holds_for_its_minutes_before_it_fires(huey: JobHuey, start: datetime) -> None:
    rule = make_rule("waiting", threshold=10, for_minutes=3)
    values = [11, 11, 9, 11, 11, 11, 11]
    states = [see(rule, start + n * MINUTE, value) for n, value in enumerate(values)]
    assert states == ["pending", "pending", "ok", "pending", "pending", "pending", "firing"]
    (incident,) = incidents()
    assert (incident.began_at, incident.opened_at) == (start + 3 * MINUTE, start + 6 * MINUTE)


def test_minutes_in_which_nobody_looked_do_not_count_as_true(
    huey: JobHuey, start: datetime
) -> None:
    rule = make_rule("waiting", threshold=10, for_minutes=10)
    assert see(rule, start, 11) == "pending"
    assert see(rule, start + 30 * MINUTE, 11) == "pending", "half an hour without a worker"
    assert rule_of(rule).since_at == start + 30 * MINUTE


def test_a_firing_rule_ends_when_it_was_well_for_two_minutes_and_not_at_its_edge(
    huey: JobHuey, start: datetime
) -> None:
    rule = make_rule("waiting", threshold=10, for_minutes=0)
    values = [11, 9, 12, 9, 9, 9]
    states = [see(rule, start + n * MINUTE, value) for n, value in enumerate(values)]
    assert states == ["firing"] * 5 + ["ok"]
    (incident,) = incidents()
    assert (incident.worst, incident.closed_at) == (12, start + 3 * MINUTE)
    assert see(rule, start + 6 * MINUTE, 11) == "firing"
    assert len(incidents()) == 2


def test_under_a_threshold_the_worst_is_the_lowest(huey: JobHuey, start: datetime) -> None:
    rule = make_rule("workers", threshold=3, for_minutes=0)
    for n, value in enumerate((2, 1, 2)):
        see(rule, start + n * MINUTE, value)
    assert incidents()[0].worst == 1


@pytest.mark.parametrize("seen", [Seen(None), Seen(0.9, samples=19)])
def test_without_a_value_or_enough_samples_nothing_fires(
    huey: JobHuey, start: datetime, seen: Seen
) -> None:
    rule = make_rule("failed_share", least_samples=20)
    assert see(rule, start, seen.value, seen.samples) == "ok"
    assert rule_of(rule).note


def test_however_many_look_at_once_a_minute_counts_once_and_tells_once(
    huey: JobHuey, hook: Hook, start: datetime
) -> None:
    rule = make_rule("waiting", threshold=10, for_minutes=0, channels=[make_hook(hook.url).id])
    states: list[str] = []
    gate = threading.Barrier(6)

    def look() -> None:
        gate.wait()
        states.append(see(rule, start, 11))

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(states) == ["", "", "", "", "", "firing"]
    assert len(incidents()) == len(notices()) == 1
    see(rule, start + MINUTE, 11)
    deliver(huey)
    assert len(hook.got) == 1


def test_one_incident_of_a_rule_is_open_at_a_time_by_its_key(
    huey: JobHuey, start: datetime
) -> None:
    from sqlalchemy.exc import IntegrityError

    rule = make_rule("waiting", threshold=10, for_minutes=0)
    see(rule, start, 11)
    with pytest.raises(IntegrityError), db.session() as session:
        found = session.get(models.AlertRule, rule.id)
        assert found is not None
        from tasks.alerts.incidents import begin

        begin(session, found, Seen(11), start)


def test_a_muted_rule_opens_its_incident_and_tells_when_it_is_heard_again(
    huey: JobHuey, hook: Hook, start: datetime
) -> None:
    rule = make_rule("waiting", threshold=10, for_minutes=0, channels=[make_hook(hook.url).id])
    with db.session() as session:
        found = session.get(models.AlertRule, rule.id)
        assert found is not None
        rules.mute(session, found, start + 30 * MINUTE, "grace@example.org")
    assert see(rule, start, 11) == "firing"
    assert (notices(), incidents()[0].muted_by) == ([], "grace@example.org")
    assert models.firing() == []
    see(rule, start + 30 * MINUTE, 11)
    deliver(huey)
    assert [body["event"] for body in hook.bodies()] == ["fired"]


def test_who_was_not_told_of_the_beginning_is_not_told_of_the_end(
    huey: JobHuey, hook: Hook, start: datetime
) -> None:
    rule = make_rule("waiting", threshold=10, for_minutes=0, channels=[make_hook(hook.url).id])
    with db.session() as session:
        found = session.get(models.AlertRule, rule.id)
        assert found is not None
        rules.mute(session, found, start + 30 * MINUTE, "grace@example.org")
    for n, value in enumerate((11, 0, 0, 0)):
        see(rule, start + n * MINUTE, value)
    assert incidents()[0].ended == "well"
    assert notices() == []


@pytest.mark.parametrize("how", ["changed", "off", "deleted"])
def test_a_rule_that_is_changed_turned_off_or_deleted_ends_what_fires_and_says_so(
    huey: JobHuey, hook: Hook, start: datetime, how: str
) -> None:
    channel = make_hook(hook.url).id
    rule = make_rule("waiting", threshold=10, for_minutes=0, channels=[channel])
    see(rule, start, 11)
    with db.session() as session:
        found = session.get(models.AlertRule, rule.id)
        assert found is not None
        if how == "changed":
            given = rules.RuleIn(
                name="waiting rule",
                measure="waiting",
                threshold=50,
                for_minutes=0,
                channels=[channel],
            )
            rules.save_rule(session, given, "ada@example.org", found)
        elif how == "off":
            rules.turn(session, found, on=False)
        else:
            rules.delete_rule(session, found)
    (incident,) = incidents()
    assert (incident.ended, incident.open_of) == (how, None)
    deliver(huey)
    assert [body["event"] for body in hook.bodies()] == ["fired", "resolved"]
    if how != "deleted":
        assert rule_of(rule).state == "ok"


def test_another_name_or_channel_leaves_a_firing_rule_as_it_is(
    huey: JobHuey, start: datetime
) -> None:
    rule = make_rule("waiting", threshold=10, for_minutes=0)
    see(rule, start, 11)
    with db.session() as session:
        found = session.get(models.AlertRule, rule.id)
        given = rules.RuleIn(name="Another", measure="waiting", threshold=10, for_minutes=0)
        rules.save_rule(session, given, "ada@example.org", found)
    assert rule_of(rule).state == "firing"
    assert incidents()[0].closed_at is None


def test_a_rule_that_is_off_is_not_looked_at(huey: JobHuey, start: datetime) -> None:
    make_rule("waiting", threshold=0, for_minutes=0, enabled=False)
    assert look_at_all(start) == (0, 0)


def test_one_rule_that_cannot_be_looked_at_stops_no_other(
    huey: JobHuey, start: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, other = make_rule("memory"), make_rule("workers", threshold=5, for_minutes=0)
    monkeypatch.setattr(measures.Now, "server", property(lambda self: 1 / 0))
    assert look_at_all(start) == (2, 1)
    assert "ZeroDivisionError" in rule_of(broken).note
    assert rule_of(other).state == "firing"


def test_our_own_failures_fire_no_rule_so_that_none_feeds_itself(
    huey: JobHuey, hook: Hook, start: datetime
) -> None:
    hook.answers = [(404, {})]
    told = [make_hook(hook.url).id]
    first = make_rule("waiting", threshold=10, for_minutes=0, channels=told)
    make_rule("failed_jobs", threshold=0, channels=told)
    make_rule("new_errors", threshold=0, channels=told)
    make_rule(
        "kpi", target="kpi:failed_rate", threshold=0, least_samples=0, for_minutes=0, channels=told
    )
    see(first, start, 11)
    deliver(huey)
    assert notices()[0].state == "failed"
    assert huey.reads.measured(600).failed == 1
    look_at_all(start + MINUTE)
    assert len(incidents()) == 1
    assert deliver(huey) == []


def test_the_periodic_task_looks_and_old_incidents_are_forgotten(
    huey: JobHuey, start: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "utcnow", lambda: start)  # both in one minute
    make_rule("workers", threshold=5, for_minutes=0)
    assert evaluation.evaluate.call_local() == "1 looked at, 1 firing"
    assert evaluation.evaluate.call_local() == "0 looked at, 0 firing"
    (incident,) = incidents()
    with db.session() as session:
        found = session.get(models.AlertIncident, incident.id)
        assert found is not None
        found.closed_at, found.open_of = utcnow() - timedelta(days=91), None
    assert evaluation.forget.call_local() == "1 incidents deleted"
    assert incidents() == []


LOOKS = """
import sys
from datetime import datetime
from tasks import database as db
from tasks.alerts import evaluation
from tasks.alerts.measures import Seen

print("ready", flush=True)
minute = datetime.fromisoformat(sys.stdin.readline().strip())
for rule_id in range(1, 9):
    with db.session() as session:
        print(evaluation.settle(session, rule_id, Seen(11), minute), flush=True)
"""


@pytest.mark.slow(reason="two processes load the tasks")
def test_several_processes_that_look_at_once_open_and_tell_each_incident_once(
    huey: JobHuey, hook: Hook, start: datetime
) -> None:
    told = [make_hook(hook.url).id]
    for n in range(8):
        make_rule("waiting", name=f"rule {n}", threshold=10, for_minutes=0, channels=told)
    command = [sys.executable, "-c", LOOKS]
    workers = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=db.ROOT
        )
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:  # both at once: the rest of it is waited for below
        assert worker.stdin is not None
        worker.stdin.write(f"{start.isoformat()}\n")
        worker.stdin.flush()
    said = [worker.communicate(timeout=PATIENCE_S)[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert sum(map(len, said)) == 8, "each rule fired in one process"
    assert (len(incidents()), len(notices())) == (8, 8)
    outbox.push()  # as the relay does with what other processes committed
    deliver(huey)
    assert len(hook.got) == 8
