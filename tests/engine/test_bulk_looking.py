"""Operations that only look: dry runs, exports and searches to the end."""

from __future__ import annotations

import pytest
from bulking import add, cancelled, operate

from tasks.engine import EngineError, JobFilter, JobHuey, State, Term

S = State


def test_a_dry_run_counts_by_state_and_shows_ten(huey: JobHuey) -> None:
    cancelled(huey, 12)
    waiting = add(huey, 3)
    found = huey.reads.dry_run("retry", JobFilter(queue="default"))
    assert (found.count, found.exact, found.applies) == (15, True, 12)
    assert found.by_state == {S.CANCELLED: 12, S.WAITING: 3}
    assert [job.id for job in found.samples[:3]] == waiting[::-1]
    assert len(found.samples) == 10
    narrow = huey.reads.dry_run("cancel", JobFilter(text="NOTE 2", state=S.WAITING))
    assert (narrow.count, narrow.exact, narrow.applies) == (1, True, 1)


def test_a_dry_run_shows_other_samples_and_those_it_would_skip(huey: JobHuey) -> None:
    gone, waiting = cancelled(huey, 12), add(huey, 3)
    first = huey.reads.dry_run("retry", JobFilter(queue="default"))
    more = huey.reads.dry_run("retry", JobFilter(queue="default"), first.next)
    assert {job.id for job in (*first.samples, *more.samples)} == {*gone, *waiting}
    assert (len(more.samples), more.next) == (5, None)
    skipped = huey.reads.dry_run("retry", JobFilter(queue="default"), skipped=True)
    assert {job.id for job in skipped.samples} == set(waiting)
    assert (skipped.count, skipped.applies) == (15, 12)
    assert huey.reads.dry_run("tag", JobFilter(), skipped=True).samples == ()
    ids = [*gone, *waiting]
    assert len(huey.reads.dry_run_of("retry", ids).samples) == 10
    assert [j.id for j in huey.reads.dry_run_of("retry", ids, 10).samples] == ids[10:]
    assert len(huey.reads.dry_run_of("retry", ids, skipped=True).samples) == 3


def test_a_dry_run_that_ends_early_says_how_far_it_got(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(huey, 700)
    monkeypatch.setattr("tasks.engine.operating.dry_run.BUDGET_S", -1.0)
    found = huey.reads.dry_run("cancel", JobFilter(task="note"))
    assert not found.exact
    assert 0 < found.count <= found.searched < found.of == 700


def test_a_dry_run_of_what_an_index_knows_is_exact_however_many_there_are(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled(huey, 700)
    add(huey, 3)
    monkeypatch.setattr("tasks.engine.operating.dry_run.BUDGET_S", -1.0)
    wanted = JobFilter(task="note", state=S.CANCELLED)
    found = huey.reads.dry_run("retry", wanted)
    assert (found.count, found.exact, found.applies, found.by_state) == (700, True, 700, {S.CANCELLED: 700})  # fmt: skip
    assert huey.commands.start_operation("retry", filter=wanted).matched == 700


def test_an_export_is_read_when_asked_for_and_acts_on_nothing(huey: JobHuey) -> None:
    add(huey, 3)
    operation = huey.commands.start_operation("export", filter=JobFilter(state=S.WAITING))
    assert (operation.state, operation.matched, operation.progress) == ("done", 3, 100)
    assert huey.commands.step_operations() == 0
    assert huey.reads.queue("default").counts[S.WAITING] == 3


@pytest.mark.parametrize("wanted", [JobFilter(text="note 1"), JobFilter(terms=(Term("attempt", ("0",)),)),
                                    JobFilter(state=S.WAITING)])  # fmt: skip
def test_a_search_goes_to_the_end_in_chunks_and_keeps_what_it_found(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch, wanted: JobFilter
) -> None:
    add(huey, 40)
    monkeypatch.setattr("tasks.engine.reading.finding.SEARCH_ROWS", 7)
    started = huey.commands.start_operation("search", filter=wanted, by="ada")
    assert (started.state, started.matched, started.done) == ("running", 40, 0)
    late = add(huey, 3)  # changed after the search was frozen
    assert huey.commands.stepper.step() == 1
    assert huey.reads.operation(started.id).seen == 7
    operate(huey)
    ended = huey.reads.operation(started.id)
    monkeypatch.undo()
    expected = [job.id for job in huey.reads.jobs(wanted, limit=500).items if job.id not in late]
    assert huey.reads.operation_found(started.id) == expected
    assert huey.reads.operation_found(started.id, limit=2, start=1) == expected[1:3]
    assert (ended.state, ended.done, ended.seen, ended.matched) == ("done", len(expected), 40, 40)
    assert huey.reads.queue("default").counts[S.WAITING] == 43


def test_a_search_that_finds_more_than_it_keeps_counts_on(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = add(huey, 9)
    monkeypatch.setattr("tasks.engine.operating.stepping.MOST_FOUND", 4)
    started = huey.commands.start_operation("search", filter=JobFilter(state=S.WAITING))
    operate(huey)
    assert huey.reads.operation(started.id).done == 9
    assert huey.reads.operation_found(started.id) == made[::-1][:4]
    assert huey.storage.client.ttl(huey.storage.keys.of("op_ids", started.id)) > 86400


def test_a_search_is_stopped_and_a_step_of_another_counts_once(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(huey, 20)
    monkeypatch.setattr("tasks.engine.reading.finding.SEARCH_ROWS", 5)
    started = huey.commands.start_operation("search", filter=JobFilter(text="note"))
    record = huey.reads.bulk.record(started.id)
    stepper = huey.commands.stepper
    assert stepper._look_on(started.id, record)
    assert not stepper._look_on(started.id, record)
    assert huey.reads.operation(started.id).seen == 5
    huey.commands.stop_operation(started.id, by="ada")
    operate(huey)
    stopped = huey.reads.operation(started.id)
    assert (stopped.state, stopped.seen) == ("stopped", 5)
    assert len(huey.reads.operation_found(started.id)) == 5
    with pytest.raises(EngineError, match="a search takes a filter"):
        huey.commands.start_operation("search", ids=["x"])
