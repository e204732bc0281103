"""What each measure sees of real jobs, queues and workers; and the table of measures itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from driving import fire_due, run_all

from tasks import database as db
from tasks import kpis
from tasks.alerts import measures, saying
from tasks.alerts.measures import BY_NAME, MEASURES, Now, Seen
from tasks.alerts.rules import BadRule, RuleIn, check_target
from tasks.database import utcnow
from tasks.engine import JobHuey
from tasks.engine.instance import Breaker
from tasks.mailer.models import EmailMessage

SYNC = "queue:sync"


def look(huey: JobHuey, name: str, target: str = "", over_minutes: int = 15) -> Seen:
    """Take a measure now."""
    asked = RuleIn(name="x", measure=name, target=target, over_minutes=over_minutes)
    return measures.look(BY_NAME[name], Now(huey), asked)


def test_every_row_of_the_table_is_whole() -> None:
    assert len(BY_NAME) == len(MEASURES)
    for row in MEASURES:
        assert row.look or row.point, row.name
        assert set(row.scopes) <= {"everything", "queue", "task", "kpi"}
        assert row.comparison in ("over", "under")
        assert bool(row.samples) == bool(row.least_samples), row.name
        assert row.meaning, row.name
        assert saying.condition(
            RuleIn(
                name="x", measure=row.name, target="kpi:failed_rate" if row.name == "kpi" else ""
            )
        )


def test_failures_are_seen_by_queue_task_and_together(
    huey: JobHuey, ends: Callable[..., None]
) -> None:
    ends(well=3, failed=1)
    task = "task:" + next(name for name in huey.reads.tasks() if name.endswith("alerts.ends"))
    for target in ("", SYNC, task):
        assert look(huey, "failed_share", target) == Seen(0.25, 4)
        assert look(huey, "failed_jobs", target) == Seen(1, 4)
        assert look(huey, "completed", target) == Seen(3, 4)
    assert look(huey, "failed_share", "queue:email") == Seen(None, 0, "nothing finished")
    for name in ("wait_p95", "run_p95"):
        seen = look(huey, name, SYNC)
        assert seen.value is not None
        assert (0 <= seen.value < 60, seen.samples) == (True, 4)


def test_a_new_kind_of_error_is_counted_and_one_that_comes_back(
    huey: JobHuey, ends: Callable[..., None]
) -> None:
    assert look(huey, "new_errors").value == 0
    ends(failed=2)
    assert look(huey, "new_errors").value == 1
    (group,) = huey.reads.error_groups().items
    assert look(huey, "new_errors", f"task:{group.task}").value == 1
    assert look(huey, "new_errors", "task:tasks.reminders.scan").value == 0
    huey.commands.resolve_group(group.id, by="ada@example.org")
    ends(failed=1)
    assert look(huey, "new_errors").value == 2, "new, and back"
    huey.commands.mute_group(group.id, by="ada@example.org")
    assert look(huey, "new_errors").value == 0, "a muted group says nothing"


def test_what_waits_is_seen_as_it_is_now(huey: JobHuey) -> None:
    from tasks.maintenance import clean_up

    for _ in range(3):
        huey.enqueue(clean_up.s())
    assert look(huey, "waiting").value == look(huey, "waiting", "queue:maintenance").value == 3
    assert look(huey, "waiting", SYNC).value == 0
    seen = look(huey, "oldest", "queue:maintenance").value
    assert seen is not None
    assert 0 <= seen < 60


def changed(huey: JobHuey, name: str, **figures: Any) -> Now:
    """Return a look at queues of which one has other figures; what the process keeps is as it was."""
    now = Now(huey)
    queues = [replace(q, **figures) if q.name == name else q for q in now.snapshot.queues]
    now.snapshot = replace(now.snapshot, queues=queues)
    return now


def test_a_standstill_is_jobs_that_wait_all_the_time_while_none_starts_and_no_pause(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.maintenance import clean_up

    huey.enqueue(clean_up.s())
    assert look(huey, "stalled", over_minutes=10).value == 0, "it has not waited for ten minutes"
    now = changed(huey, "maintenance", oldest_waiting_s=601.0)
    asked = RuleIn(name="x", measure="stalled", over_minutes=10)
    assert measures.look(BY_NAME["stalled"], now, asked).value == 1
    now = changed(huey, "maintenance", oldest_waiting_s=601.0, paused=True)
    assert measures.look(BY_NAME["stalled"], now, asked).value == 0


def test_workers_queues_without_one_breakers_and_missed_ticks(huey: JobHuey) -> None:
    assert look(huey, "workers").value == 0
    assert look(huey, "unserved").value == 5
    huey.lease.beat()
    assert look(huey, "workers").value == 1
    assert look(huey, "unserved").value == look(huey, "unserved", SYNC).value == 0
    assert look(huey, "breaker").value == 0
    huey.storage.client.hset(
        huey.storage.keys.of("queue", "email"), mapping={"bs": "open", "since": "1"}
    )
    fire_due(huey, huey.reads.now_ms() - 3_600_000)  # an hour with no worker
    assert look(huey, "missed", "task:tasks.reminders.scan").value == 1
    missed = look(huey, "missed").value
    assert missed is not None
    assert missed >= 2
    run_all(huey)


def test_an_open_breaker_is_seen(huey: JobHuey) -> None:
    now = changed(huey, "email", breaker=Breaker(state="open"))
    asked = RuleIn(name="x", measure="breaker")
    assert measures.look(BY_NAME["breaker"], now, asked).value == 1
    assert (
        measures.look(
            BY_NAME["breaker"], now, RuleIn(name="x", measure="breaker", target=SYNC)
        ).value
        == 0
    )


def test_memory_is_a_share_of_maxmemory_and_nothing_without_one(huey: JobHuey) -> None:
    assert look(huey, "memory") == Seen(None, 0, "Redis has no maxmemory")
    huey.storage.client.config_set("maxmemory", "1gb")
    try:
        value = look(huey, "memory").value
    finally:
        huey.storage.client.config_set("maxmemory", "0")
    assert value is not None
    assert 0 < value < 1


def test_key_figures_are_seen_over_their_own_hours_and_begin_with_their_target(
    huey: JobHuey, ends: Callable[..., None]
) -> None:
    ends(well=3, failed=1)
    assert look(huey, "kpi", "kpi:failed_rate") == Seen(0.25, 4)
    with db.session() as session:
        for n in range(4):
            session.add(EmailMessage(
                key=f"k{n}", message_id="m", job_id=f"j{n}", type="welcome", stream="operations" if n == 3 else "account",
                to_addr="a@example.org", expires_at=utcnow() + timedelta(days=1), state="failed" if n else "sent",
            ))  # fmt: skip
    seen = look(huey, "kpi", "kpi:delivery_rate")
    assert (seen.value, seen.samples) == (pytest.approx(1 / 3), 3), (
        "mails to operators are left out"
    )
    given = RuleIn(name="x", measure="kpi", target="kpi:delivery_rate")
    assert (given.comparison, given.threshold, given.least_samples) == (
        "under",
        0.95,
        kpis.LEAST_SAMPLES,
    )
    assert saying.condition(given) == "under 95\u2009%, for 10 min, of at least 20 samples"
    assert saying.subject(given) == "Mail delivered, 24 h"


@dataclass
class Case:
    measure: str
    target: str
    said: str


@pytest.mark.parametrize("case", [
    Case("waiting", "task:tasks.reminders.scan", "asked of everything, queue; not of task"),
    Case("workers", SYNC, "asked of everything; not of queue"),
    Case("failed_share", "queue:none", "there is no queue 'none'"),
    Case("failed_share", "task:none", "there is no task 'none'"),
    Case("kpi", "", "asked of kpi; not of everything"),
    Case("kpi", "kpi:none", "there is no kpi 'none'"),
])  # fmt: skip
def test_a_target_that_cannot_be_is_told(huey: JobHuey, case: Case) -> None:
    with pytest.raises(BadRule, match=case.said):
        check_target(case.measure, case.target, huey.reads.names(), huey.reads.tasks())


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [(None, "%", "no value"), (0.123, "%", "12.3\u2009%"), (90, "s", "1 min 30 s"), (1, "jobs", "1 job"),
     (1284, "jobs", "1\u2009284 jobs"), (180, "ms", "180 ms"), (3, "", "3")],
)  # fmt: skip
def test_a_value_is_said_with_its_unit(value: Any, unit: str, words: str) -> None:
    assert measures.said(value, unit) == words


def test_over_nothing_is_said_as_any() -> None:
    given = RuleIn(name="x", measure="breaker", target="queue:email")
    assert (
        saying.rule_in_words(given)
        == "Queues held up by their breaker of queue email: any, for 5 min"
    )
    assert saying.fired(given, 1) == "Queues held up by their breaker of queue email: 1 queue"
