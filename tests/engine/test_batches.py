"""A batch counts its members by state and calls back once, whatever happens to them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from consumers import Consumers
from driving import run_all, run_one
from waiting import wait_until

from tasks.engine import EngineError, JobFilter, JobHuey, Permanent, State, UnknownBatch
from tasks.engine.queueing.batches import ends_about
from tasks.engine.records import Batch, Term
from tasks.engine.sources import FOLDER, source


class Jobs:
    """Tasks that end as they are told, and one that is called back."""

    def __init__(self, huey: JobHuey) -> None:
        self.called: list[tuple[Any, ...]] = []

        @huey.task(name="part")
        def part(how: str = "well") -> str:
            if how == "failed":
                raise Permanent("no")
            return how

        @huey.task(name="only", unique="{key}")
        def only(key: str) -> None:
            """Nothing."""

        @huey.task(name="done", priority=-100)
        def done(batch_id: str, *more: Any) -> None:
            self.called.append((batch_id, *more))

        self.part, self.only, self.done = part, only, done


@pytest.fixture
def jobs(huey: JobHuey) -> Jobs:
    return Jobs(huey)


def counts(batch: Batch) -> dict[str, int]:
    return {state.value: n for state, n in batch.counts.items() if n}


def test_members_are_counted_by_state_as_they_go(huey: JobHuey, jobs: Jobs) -> None:
    calls = [jobs.part.s(), jobs.part.s("failed"), jobs.part.s(delay=3600), jobs.part.s()]
    batch_id = huey.batch(calls, name="import", by="ada", callback=jobs.done.s("x"))
    found = huey.reads.batch(batch_id)
    assert counts(found) == {"waiting": 3, "scheduled": 1}
    assert (found.name, found.by, found.total, found.sealed, found.progress) == (
        "import",
        "ada",
        4,
        True,
        0,
    )
    task = huey.dequeue()
    assert counts(huey.reads.batch(batch_id)) == {"active": 1, "waiting": 2, "scheduled": 1}
    huey.execute(task)
    run_all(huey)
    found = huey.reads.batch(batch_id)
    assert counts(found) == {"completed": 2, "failed": 1, "scheduled": 1}
    assert (found.progress, found.callback_job, found.finished_at) == (75, None, None)
    assert huey.reads.job(calls[0].id).batch_id == batch_id
    assert jobs.called == []
    huey.commands.cancel([calls[2].id])
    found = huey.reads.batch(batch_id)
    assert counts(found) == {"completed": 2, "failed": 1, "cancelled": 1}
    assert (found.progress, found.callback_job) == (100, f"batch:{batch_id}")
    assert run_all(huey) == [f"batch:{batch_id}"]
    assert jobs.called == [(batch_id, "x")]
    assert [one.id for one in huey.reads.batches()] == [batch_id]


def test_the_callback_comes_once_though_a_member_is_run_again(huey: JobHuey, jobs: Jobs) -> None:
    calls = [jobs.part.s("failed"), jobs.part.s()]
    batch_id = huey.batch(calls, callback=jobs.done.s())
    run_all(huey)
    huey.commands.retry([calls[0].id])
    assert counts(huey.reads.batch(batch_id)) == {"waiting": 1, "completed": 1}
    run_all(huey)
    assert counts(huey.reads.batch(batch_id)) == {"failed": 1, "completed": 1}
    assert jobs.called == [(batch_id,)]


def test_an_empty_batch_calls_back_at_once(huey: JobHuey, jobs: Jobs) -> None:
    batch_id = huey.batch([], callback=jobs.done.s())
    run_all(huey)
    assert jobs.called == [(batch_id,)]


def test_a_batch_without_callback_just_ends(huey: JobHuey, jobs: Jobs) -> None:
    batch_id = huey.batch([jobs.part.s()])
    run_all(huey)
    found = huey.reads.batch(batch_id)
    assert found.finished_at is not None
    assert found.callback_job is None


def test_members_that_end_while_others_are_added_do_not_call_back(
    huey: JobHuey, jobs: Jobs
) -> None:
    huey.open_batch(batch_id="slow", callback=jobs.done.s())
    huey.enqueue_many([jobs.part.s(), jobs.part.s("failed")], batch="slow")
    run_all(huey)
    found = huey.reads.batch("slow")
    assert (found.sealed, found.total, found.callback_job) == (False, 2, None)
    huey.enqueue_many([jobs.part.s()], batch="slow")
    huey.close_batch("slow")
    found = huey.reads.batch("slow")
    assert (found.sealed, found.total, found.progress) == (True, 3, 66)
    assert jobs.called == []
    run_all(huey)
    assert jobs.called == [("slow",)]


def test_many_members_are_added_by_few_scripts_and_once(huey: JobHuey, jobs: Jobs) -> None:
    batch_id = huey.open_batch(callback=jobs.done.s())
    calls = [jobs.part.s(id=f"row-{n}") for n in range(450)]
    before = huey.storage.scripts.asked
    huey.enqueue_many(calls, batch=batch_id)
    assert huey.storage.scripts.asked - before == 4, (
        "a look whether it is open, and 200 jobs a script"
    )
    huey.enqueue_many([jobs.part.s(id=f"row-{n}") for n in range(450)], batch=batch_id)
    huey.close_batch(batch_id)
    assert huey.reads.batch(batch_id).total == 450
    huey.commands.cancel([call.id for call in calls])
    run_all(huey)
    assert jobs.called == [(batch_id,)]


def test_only_an_open_batch_takes_jobs(huey: JobHuey, jobs: Jobs) -> None:
    with pytest.raises(UnknownBatch, match="no batch nope"):
        huey.enqueue_many([jobs.part.s()], batch="nope")
    batch_id = huey.batch([jobs.part.s()])
    with pytest.raises(EngineError, match="was closed"):
        huey.enqueue_many([jobs.part.s()], batch=batch_id)
    assert huey.reads.batch(batch_id).total == 1


def test_a_job_that_comes_as_the_batch_is_closed_is_waited_for(
    huey: JobHuey, make_huey: Callable[..., JobHuey], jobs: Jobs
) -> None:
    batch_id = huey.open_batch(callback=jobs.done.s())
    huey.enqueue_many([jobs.part.s(), jobs.part.s(priority=-50)], batch=batch_id)
    other = make_huey(huey.name)
    add = other.storage.add
    other.storage.add = lambda *given: (huey.close_batch(batch_id), add(*given))[1]
    other.enqueue_many([Jobs(other).part.s(priority=50)], batch=batch_id)
    found = huey.reads.batch(batch_id)
    assert (found.sealed, found.total) == (True, 3)
    run_one(huey)
    run_one(huey)
    assert (huey.reads.batch(batch_id).progress, jobs.called) == (66, [])
    assert huey.reads.batch(batch_id).callback_job is None
    run_all(huey)
    assert jobs.called == [(batch_id,)]


def test_an_open_batch_in_immediate_mode_calls_back_when_it_is_closed() -> None:
    huey = JobHuey("at-once", immediate=True)
    jobs = Jobs(huey)
    batch_id = huey.open_batch(callback=jobs.done.s("x"))
    huey.enqueue_many([jobs.part.s()], batch=batch_id)
    assert jobs.called == []
    huey.close_batch(batch_id)
    huey.close_batch(batch_id)
    assert jobs.called == [(batch_id, "x")]


def unheard(huey: JobHuey, batch_id: str, minutes: float) -> None:
    """Let the maker of a batch be silent for so long."""
    heard_ms = huey.reads.now_ms() - int(minutes * 60_000)
    assert huey.storage.client.zadd(huey.storage.keys.one("adding"), {batch_id: heard_ms}, xx=True, ch=True)  # fmt: skip


def abandoned(huey: JobHuey, jobs: Jobs) -> str:
    """Return a batch of two jobs, one of them ended, whose maker died."""
    batch_id = huey.open_batch(callback=jobs.done.s(), batch_id="left")
    huey.enqueue_many([jobs.part.s(), jobs.part.s("failed")], batch=batch_id)
    run_one(huey)
    return batch_id


def test_a_batch_whose_maker_died_is_closed_after_a_while_and_calls_back_once(
    huey: JobHuey, jobs: Jobs
) -> None:
    batch_id = abandoned(huey, jobs)
    unheard(huey, batch_id, 14)
    huey.lease.sweep()
    assert not huey.reads.batch(batch_id).sealed
    unheard(huey, batch_id, 15.1)
    for _ in range(2):
        huey.lease.sweep()
    found = huey.reads.batch(batch_id)
    assert (found.sealed, found.total, found.callback_job) == (True, 2, None)
    assert found.closed_at is not None
    run_all(huey)
    huey.lease.sweep()
    huey.close_batch(batch_id)  # the maker was but frozen
    run_all(huey)
    assert jobs.called == [(batch_id,)]
    assert huey.reads.batch(batch_id).closed_at is not None


def test_a_batch_that_was_closed_too_early_is_open_again(huey: JobHuey, jobs: Jobs) -> None:
    batch_id = abandoned(huey, jobs)
    unheard(huey, batch_id, 16)
    huey.lease.sweep()
    huey.enqueue_many([jobs.part.s()], batch=batch_id)
    found = huey.reads.batch(batch_id)
    assert (found.sealed, found.closed_at, found.total) == (False, None, 3)
    run_all(huey)
    assert jobs.called == []
    huey.close_batch(batch_id)
    run_all(huey)
    assert jobs.called == [(batch_id,)]


def test_a_maker_that_closes_its_batch_after_all_has_the_last_word(
    huey: JobHuey, jobs: Jobs
) -> None:
    batch_id = abandoned(huey, jobs)
    unheard(huey, batch_id, 16)
    huey.lease.sweep()
    huey.close_batch(batch_id)
    found = huey.reads.batch(batch_id)
    assert (found.sealed, found.closed_at, found.total) == (True, None, 2)


def test_a_batch_whose_jobs_have_all_ended_calls_back_when_it_is_closed_for_its_maker(
    huey: JobHuey, jobs: Jobs
) -> None:
    batch_id = abandoned(huey, jobs)
    run_all(huey)
    unheard(huey, batch_id, 16)
    huey.lease.sweep()
    assert run_all(huey) == [f"batch:{batch_id}"]
    assert jobs.called == [(batch_id,)]
    with pytest.raises(EngineError, match="was closed"):
        huey.enqueue_many([jobs.part.s()], batch=batch_id)


def test_a_job_that_runs_and_makes_a_batch_is_given_its_time(huey: JobHuey, jobs: Jobs) -> None:
    @huey.task(name="maker")
    def maker() -> None:
        huey.open_batch(callback=jobs.done.s(), batch_id="slow")
        unheard(huey, "slow", 20)
        huey.lease.sweep()

    maker()
    run_all(huey)
    assert not huey.reads.batch("slow").sealed
    unheard(huey, "slow", 20)
    huey.lease.sweep()
    assert huey.reads.batch("slow").closed_at is not None


def test_an_open_batch_that_no_worker_would_close_is_found(huey: JobHuey, jobs: Jobs) -> None:
    batch_id = abandoned(huey, jobs)
    huey.storage.call("DEL", huey.storage.keys.one("adding"))
    assert huey.commands.fsck() == {"an open batch that no worker would close": 1}
    unheard(huey, batch_id, 16)
    huey.lease.sweep()
    assert huey.reads.batch(batch_id).closed_at is not None


def test_the_same_batch_once_more_adds_nothing_twice(huey: JobHuey, jobs: Jobs) -> None:
    calls = [jobs.part.s(id=f"row-{n}") for n in range(3)]
    huey.batch(calls, batch_id="import-7", callback=jobs.done.s())
    run_all(huey)
    again = [jobs.part.s(id=f"row-{n}") for n in range(3)]
    huey.batch(again, batch_id="import-7", callback=jobs.done.s())
    assert run_all(huey) == []
    assert counts(huey.reads.batch("import-7")) == {"completed": 3}
    assert jobs.called == [("import-7",)]


def test_a_job_whose_unique_key_is_held_is_no_member(huey: JobHuey, jobs: Jobs) -> None:
    jobs.only("a")
    batch_id = huey.batch([jobs.only.s("a"), jobs.only.s("b")], callback=jobs.done.s())
    assert huey.reads.batch(batch_id).total == 1
    run_all(huey)
    assert jobs.called == [(batch_id,)]


def test_its_failed_members_are_found(huey: JobHuey, jobs: Jobs) -> None:
    calls = [jobs.part.s("failed"), jobs.part.s(), jobs.part.s("failed")]
    batch_id = huey.batch(calls)
    huey.batch([jobs.part.s("failed")])
    run_all(huey)
    wanted = JobFilter(state=State.FAILED, terms=(Term("batch", (batch_id,)),))
    found = huey.reads.jobs(wanted).items
    assert {job.id for job in found} == {calls[0].id, calls[2].id}


def test_a_redelivered_member_counts_once_and_the_callback_comes_once(
    huey: JobHuey, make_huey: Callable[..., JobHuey], jobs: Jobs
) -> None:
    victim = make_huey(huey.name)
    Jobs(victim)
    calls = [jobs.part.s(), jobs.part.s()]
    batch_id = huey.batch(calls, callback=jobs.done.s())
    held = victim.dequeue()
    assert held.id == calls[0].id
    run_one(huey)
    huey.lease.sweep({victim.lease.proc: "killed"})
    victim.execute(held)  # it lives after all: its late commit is refused
    assert counts(huey.reads.batch(batch_id)) == {"waiting": 1, "completed": 1}
    assert run_all(huey) == [calls[0].id, f"batch:{batch_id}"]
    assert counts(huey.reads.batch(batch_id)) == {"completed": 2}
    assert jobs.called == [(batch_id,)]


@pytest.mark.slow(reason="a process dies and its lease ends")
def test_a_worker_killed_between_members_changes_nothing_of_it(consumers: Consumers) -> None:
    app = consumers.app
    calls = [app.good.s() for _ in range(30)] + [app.held.s("gate") for _ in range(4)]
    batch_id = consumers.huey.batch(calls, callback=app.told.s())
    victim = consumers.start()
    consumers.reach({State.COMPLETED: 30, State.ACTIVE: 4})
    victim.kill()
    consumers.start()
    held = [call.id for call in calls[30:]]
    wait_until(lambda: all(consumers.huey.reads.job(i).recovered for i in held), "recovered")
    app.open_gate("gate")
    consumers.reach({State.COMPLETED: 35})
    found = consumers.huey.reads.batch(batch_id)
    assert counts(found) == {"completed": 34}
    callback = consumers.huey.reads.job(found.callback_job)
    assert (callback.result, callback.attempts_made) == (batch_id, 1)


def test_a_pace_says_when_it_ends(huey: JobHuey, jobs: Jobs) -> None:
    batch_id = huey.batch([jobs.part.s() for _ in range(4)])
    batch = huey.reads.batch(batch_id)
    assert ends_about(batch, batch.created_at + timedelta(seconds=10)) is None
    run_one(huey)
    batch = huey.reads.batch(batch_id)
    later = batch.created_at + timedelta(seconds=10)
    assert ends_about(batch, later) == later + timedelta(seconds=30)


def test_what_is_none_is_refused(huey: JobHuey, jobs: Jobs) -> None:
    with pytest.raises(UnknownBatch, match="no batch nope"):
        huey.reads.batch("nope")
    with pytest.raises(EngineError, match="is refused"):
        huey.batch([], batch_id="two words")


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.lua")), ids=lambda path: path.stem)
def test_every_script_that_may_end_a_job_can_add_a_callback(script: Path) -> None:
    text = source(script.stem)
    if "local function finish(" in text and script.stem not in ("trim", "house"):
        assert "add_callback = insert" in text
