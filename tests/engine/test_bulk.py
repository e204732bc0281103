"""An operation does exactly the jobs that matched when it began."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bulking import add, cancelled, operate
from driving import States, run_all, run_one, state_of

from tasks.engine import JobFilter, JobHuey, State
from tasks.engine.operating.bulk import KINDS
from tasks.engine.operating.freezing import frozen, thaw

S = State


KIND_ROWS: list[tuple[str, State, State | None, dict[str, Any]]] = [
    ("cancel", S.WAITING, S.CANCELLED, {}),
    ("discard", S.WAITING, None, {}),
    ("run_now", S.SCHEDULED, S.WAITING, {}),
    ("retry", S.CANCELLED, S.WAITING, {}),
    ("retry", S.CANCELLED, S.SCHEDULED, {"delay_s": 60}),
    ("delete", S.CANCELLED, None, {}),
    ("reschedule", S.WAITING, S.SCHEDULED, {"delay_s": 3600}),
    ("priority", S.WAITING, S.WAITING, {"priority": 9}),
    ("tag", S.CANCELLED, S.CANCELLED, {"tags": ["outage"]}),
    ("untag", S.CANCELLED, S.CANCELLED, {"tags": ["old"]}),
    ("patch", S.CANCELLED, S.CANCELLED, {"name": "text", "value": "new"}),
]


@pytest.mark.parametrize(("kind", "before", "after", "given"), KIND_ROWS)
def test_an_operation_acts_on_all_that_match(
    tens: JobHuey, kind: str, before: State, after: State | None, given: dict[str, Any]
) -> None:
    chosen = add(tens, 25, delay=3600 if before is S.SCHEDULED else None)
    if before is S.CANCELLED:
        tens.commands.cancel(chosen)
    tens.commands.tag(chosen, "old")
    other = add(tens, 1, "mail", queue="email")[0]
    started = tens.commands.start_operation(
        kind, filter=JobFilter(queue="default", state=before), by="ada", reason="a test", **given
    )
    assert (started.matched, started.exact, started.state) == (25, True, "running")
    assert (started.by, started.reason) == ("ada", "a test")
    tens.commands.step_operations()
    assert tens.reads.operation(started.id).progress == 40
    operate(tens)
    ended = tens.reads.operation(started.id)
    assert (ended.state, ended.done, ended.skipped, ended.progress) == ("done", 25, 0, 100)
    assert ended.finished_at >= ended.created_at
    counts = tens.reads.queue("default").counts
    assert {s: n for s, n in counts.items() if n} == ({after: 25} if after else {})
    assert state_of(tens, other) is S.WAITING
    outcomes = tens.reads.operation_outcomes(started.id, 100)
    assert [outcome.id for outcome in outcomes] == chosen
    assert all(outcome.done and outcome.at for outcome in outcomes)


def test_every_kind_is_tried_here() -> None:
    assert {row[0] for row in KIND_ROWS} | {"move", "export", "search"} == set(KINDS)


def test_all_that_match_move_to_another_queue(tens: JobHuey) -> None:
    chosen = add(tens, 25)
    tens.commands.start_operation("move", filter=JobFilter(queue="default"), queue="email")
    operate(tens)
    assert tens.reads.queue("email").counts[S.WAITING] == 25
    assert run_all(tens) == chosen


def test_what_is_added_or_comes_to_match_later_is_not_touched(tens: JobHuey) -> None:
    early, other = add(tens, 25), cancelled(tens, 5)
    operation = tens.commands.start_operation("cancel", filter=JobFilter(state=S.WAITING), by="ada")
    late = add(tens, 5)
    tens.commands.step_operations()
    tens.commands.retry(other)
    operate(tens)
    assert tens.reads.operation(operation.id).done == 25
    assert {state_of(tens, job_id) for job_id in early} == {S.CANCELLED}
    assert {state_of(tens, job_id) for job_id in late + other} == {S.WAITING}


def test_a_job_that_changes_while_it_runs_is_left_alone_and_counted(tens: JobHuey) -> None:
    ids = cancelled(tens, 25)
    operation = tens.commands.start_operation("retry", filter=JobFilter(state=S.CANCELLED))
    tens.commands.step_operations()
    tens.commands.retry([ids[0]])  # its turn would come last
    tens.commands.cancel([ids[0]])
    operate(tens)
    ended = tens.reads.operation(operation.id)
    assert (ended.done, ended.skipped, ended.changed, ended.matched) == (24, 0, 1, 25)
    assert state_of(tens, ids[0]) is S.CANCELLED


def test_a_job_that_changes_between_reading_and_acting_is_skipped(
    tens: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = add(tens, 2)
    started = tens.commands.start_operation("cancel", filter=JobFilter(state=S.WAITING))

    def meanwhile(kind: str, ids: Any) -> dict[str, str]:
        run_one(tens)
        return {}

    monkeypatch.setattr(tens.commands.stepper, "before", meanwhile)
    operate(tens)
    assert (state_of(tens, first), state_of(tens, second)) == (S.COMPLETED, S.CANCELLED)
    (skipped,) = tens.reads.operation_outcomes(started.id, which="skipped")
    assert skipped.id == first
    assert skipped.detail == "changed since the query was frozen: the job is completed"


def test_a_tag_that_came_after_the_freeze_does_not_make_a_job_match(tens: JobHuey) -> None:
    ids = cancelled(tens, 25)
    tens.commands.tag(ids[5:], "outage")
    started = tens.commands.start_operation("delete", filter=JobFilter(tag="outage"))
    tens.commands.step_operations()
    tens.commands.tag(ids[:5], "outage")
    operate(tens)
    ended = tens.reads.operation(started.id)
    assert (ended.done, ended.skipped) == (20, 5)
    assert {state_of(tens, job_id) for job_id in ids[:5]} == {S.CANCELLED}


def test_the_job_added_just_before_the_start_is_touched(huey: JobHuey) -> None:
    for _ in range(20):
        job_id = add(huey, 1)[0]
        operation = huey.commands.start_operation("cancel", filter=JobFilter(), by="ada")
        operate(huey)
        assert state_of(huey, job_id) is S.CANCELLED, operation


def test_an_operation_reaches_past_jobs_that_do_not_match(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = add(huey, 3, "rare")
    add(huey, 650)
    monkeypatch.setattr("tasks.engine.reading.finding.SEARCH_ROWS", 200)
    monkeypatch.setattr("tasks.engine.operating.dry_run.BUDGET_S", 0.0)
    operation = huey.commands.start_operation("cancel", filter=JobFilter(task="rare"), by="ada")
    operate(huey)
    ended = huey.reads.operation(operation.id)
    assert (ended.done, ended.matched, ended.exact, ended.changed) == (3, 3, True, 0)
    assert {state_of(huey, job_id) for job_id in wanted} == {S.CANCELLED}


def test_an_operation_may_spare_what_is_young(huey: JobHuey) -> None:
    job_id = States(huey).make(S.FAILED)
    huey.commands.start_operation("delete", filter=JobFilter(state=S.FAILED), older_than_s=3600)
    operate(huey)
    assert state_of(huey, job_id) is S.FAILED


def test_every_field_of_a_filter_survives_freezing() -> None:
    at = datetime(2026, 11, 25, 12, 6, 24, 123456, UTC)
    samples = {"state": S.FAILED, "since": at, "until": at + timedelta(hours=1)}
    for field in fields(JobFilter):
        value = samples.get(field.name, "x")
        if isinstance(field.default, tuple):
            continue
        wanted = replace(JobFilter(), **{field.name: value})
        assert thaw(frozen(wanted)) == wanted, field.name
    assert thaw('{"state": "failed", "gone": "x"}') == JobFilter(state=S.FAILED)
