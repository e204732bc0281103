"""What is known of worker processes; a child that is killed is buried at once by its parent."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from consumers import Consumers
from driving import run_all
from waiting import wait_until

from tasks.engine import JobHuey, State, UnknownJob
from tasks.engine.errors import Unreachable
from tasks.engine.reading.fleet import bury, ended
from tasks.engine.running.leases import Lease


def a_moment_later(huey: JobHuey) -> None:
    """Let Redis's clock go on: who starts now starts later."""
    before = huey.reads.now_ms()
    wait_until(lambda: huey.reads.now_ms() > before)


def test_a_worker_says_its_memory_version_jobs_and_how_far_they_are(huey: JobHuey) -> None:
    @huey.task()
    def slow() -> None:
        """Nothing."""

    slow()
    task = huey.dequeue()
    huey.storage.note(task.id, task.handed.token, "progress", "62", "310 of 498")
    huey.lease.beat()
    (worker,) = huey.reads.workers()
    assert worker.memory > 1_000_000
    assert (worker.pid, worker.state, worker.busy) == (os.getpid(), "live", 1)
    (job,) = worker.jobs
    assert (job.id, job.progress.percent, job.progress.message) == (task.id, 62, "310 of 498")
    assert job.started_at is not None
    assert worker.started_at <= worker.seen_at


def test_an_older_version_than_the_one_that_started_last_is_marked(
    make_huey: Callable[..., JobHuey],
) -> None:
    old = make_huey(version="1.0")
    new = make_huey(old.name, version="1.1")
    old.lease.start()
    assert [worker.outdated for worker in old.reads.workers()] == [False]
    a_moment_later(old)
    new.lease.start()
    assert {w.version: w.outdated for w in new.reads.workers()} == {"1.0": True, "1.1": False}


def test_a_snapshot_says_which_queues_are_served_and_by_which_versions(
    make_huey: Callable[..., JobHuey],
) -> None:
    old = make_huey(version="1.0")
    new = make_huey(old.name, version="1.1", serve=("email",))
    assert old.reads.snapshot().served == frozenset()
    old.lease.start()
    a_moment_later(old)
    new.lease.start()
    assert old.reads.snapshot().served == {"default", "email"}
    assert list(old.reads.snapshot().versions.items()) == [("1.1", 1), ("1.0", 1)]
    old.commands.quiet(old.lease.proc)
    assert old.reads.snapshot().served == {"email"}


def test_the_dead_say_what_was_recovered_from_them(
    huey: JobHuey, make_huey: Callable[..., JobHuey]
) -> None:
    for one in (huey, victim := make_huey(huey.name)):
        task = one.task(name="note")(lambda: None)
    ids = [task().id for _ in range(2)]
    assert [victim.dequeue().id for _ in ids] == ids
    huey.lease.sweep({victim.lease.proc: "killed by SIGKILL"})
    dead = next(w for w in huey.reads.workers() if w.state == "dead")
    assert (dead.id, dead.gone) == (victim.lease.proc, "killed by SIGKILL")
    assert dead.died_at is not None
    assert [(o.id, o.state) for o in dead.recovered] == [(i, State.WAITING) for i in ids]
    assert run_all(huey) == ids


def test_a_lease_that_redis_was_away_for_is_taken_when_it_is_back(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huey.lease, "beat", _away)
    for _ in range(2):
        with pytest.raises(Unreachable):
            huey.dequeue()
    monkeypatch.undo()
    assert huey.dequeue() is None
    assert huey.lease.kept
    assert [worker.state for worker in huey.reads.workers()] == ["live"]


def _away() -> None:
    raise Unreachable("it is away")


def test_only_its_own_children_are_buried(huey: JobHuey, make_huey: Callable[..., JobHuey]) -> None:
    """Another machine may have the same name and a process of the same number."""
    other = make_huey(huey.name)
    other.lease.info["family"] = "theirs"
    other.lease.start()
    huey.worker_info = {"family": "ours"}
    assert bury(huey, {os.getpid(): -9}) == []
    assert [w.state for w in huey.reads.workers()] == ["live"]


def crowd(huey: JobHuey, many: int, lease_s: float) -> list[Lease]:
    """Let so many workers beat once."""
    found = [Lease(huey.storage, lease_s=lease_s, beat_s=0.2) for _ in range(many)]
    for lease in found:
        lease.info["family"] = "theirs"
        lease.beat()
    return found


def test_of_hundreds_of_workers_each_is_counted_shown_told_and_buried(huey: JobHuey) -> None:
    crowd(huey, 250, lease_s=3600)
    huey.lease.lease_s = 7200  # the last by the end of its lease
    huey.lease.info["family"] = "ours"
    huey.lease.beat()
    assert huey.reads.snapshot().workers_live == 251
    assert len(huey.reads.workers()) == 251
    assert huey.commands.quiet(huey.lease.proc).state == "quiet"
    huey.worker_info = {"family": "ours"}
    bury(huey, {os.getpid(): -9})
    assert huey.reads.worker(huey.lease.proc).state == "dead"
    with pytest.raises(UnknownJob, match="no worker"):
        huey.reads.worker("nobody")


def test_many_that_die_at_once_are_suspects_at_once(huey: JobHuey) -> None:
    """Their jobs would wait for each other's grace, 20 workers at a time."""
    crowd(huey, 60, lease_s=0.001)
    suspects = huey.storage.keys.one("suspects")

    def suspected() -> int:
        huey.lease.sweep()
        return int(huey.storage.call("ZCARD", suspects))

    huey.lease.lease_s = 0.2
    wait_until(lambda: suspected() == 60, "all are suspects")


@pytest.mark.parametrize(
    ("code", "words"),
    [(-9, "killed by SIGKILL"), (3, "exited with 3"), (-99, "killed by signal 99")],
)
def test_how_a_process_ended(code: int, words: str) -> None:
    assert ended(code) == words


def test_a_child_that_is_killed_is_buried_long_before_its_lease_ends(
    consumers: Consumers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(consumers.env, "APP_LEASE", "60")
    consumers.start("-k", "process", "-w", "2")
    job_id = consumers.app.held("gate").id
    consumers.hold(1)
    pid = int(consumers.huey.reads.job(job_id).worker.split(":")[1])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: consumers.huey.reads.job(job_id).recovered == 1, "recovered")
    consumers.app.open_gate("gate")
    consumers.reach({State.COMPLETED: 1})
    dead = next(w for w in consumers.huey.reads.workers() if w.pid == pid)
    assert (dead.state, dead.gone) == ("dead", "killed by SIGKILL")
    assert [outcome.id for outcome in dead.recovered] == [job_id]


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_stop_now_gives_back_what_runs_with_no_attempt_burnt(
    consumers: Consumers, kind: str
) -> None:
    process = consumers.start("-k", kind, "-w", "1")
    job_id = consumers.app.held("gate").id
    consumers.hold(1)
    worker = next(w for w in consumers.huey.reads.workers() if w.busy)
    assert consumers.huey.commands.stop_now(worker.id).state == "stopping"
    assert consumers.gone(process) == 0
    job = consumers.huey.reads.job(job_id)
    assert (job.state, job.attempts_made, job.recovered) == (State.WAITING, 0, 0)


def test_stop_now_ends_a_stop_that_waits_for_what_runs(consumers: Consumers) -> None:
    process = consumers.start("-w", "1")
    job_id = consumers.app.held("gate").id
    consumers.hold(1)
    (worker,) = consumers.huey.reads.workers()
    consumers.huey.commands.stop(worker.id)
    consumers.hear("Shutting down gracefully")
    consumers.huey.commands.stop_now(worker.id)
    assert consumers.gone(process) == 0
    assert consumers.huey.reads.job(job_id).state is State.WAITING


def test_a_greenlet_worker_runs_its_jobs_side_by_side(consumers: Consumers) -> None:
    consumers.start("-k", "greenlet", "-w", "3")
    held = [consumers.app.held("gate").id for _ in range(2)]
    consumers.hold(len(held))
    ids = [consumers.app.good().id for _ in range(4)]
    consumers.reach({State.ACTIVE: len(held), State.COMPLETED: len(ids)})
    consumers.app.open_gate("gate")
    consumers.reach({State.COMPLETED: len(held) + len(ids)})


def test_a_greenlets_timeout_in_the_midst_of_its_calls_spoils_no_other(
    consumers: Consumers,
) -> None:
    consumers.start("-k", "greenlet", "-w", "2")
    late = [consumers.app.parts(100_000, timeout=0.2).id for _ in range(4)]
    consumers.reach({State.FAILED: len(late)})
    assert {consumers.huey.reads.job(i).error.type for i in late} == {"TaskTimeout"}
    ids = [consumers.app.good().id for _ in range(4)]
    consumers.reach({State.FAILED: len(late), State.COMPLETED: len(ids)})


@pytest.mark.slow(reason="a process dies and its lease ends")
def test_processes_whose_parent_was_killed_end_what_they_run_and_stop(
    consumers: Consumers,
) -> None:
    parent = consumers.start("-k", "process", "-w", "2")
    running = consumers.app.held("gate").id
    consumers.hold(1)
    parent.kill()
    waiting = consumers.app.good().id
    consumers.app.open_gate("gate")
    wait_until(lambda: consumers.huey.reads.snapshot().workers_live == 0, "they stop")
    job = consumers.huey.reads.job(running)
    assert (job.state, job.attempts_made, job.recovered) == (State.COMPLETED, 1, 0)
    consumers.start()
    wait_until(lambda: consumers.huey.reads.job(waiting).state is State.COMPLETED, "it runs")


def test_a_worker_that_is_none_is_refused(huey: JobHuey) -> None:
    acts: list[Any] = [huey.commands.quiet, huey.commands.stop, huey.commands.stop_now]
    for act in acts:
        with pytest.raises(UnknownJob, match="no worker nope"):
            act("nope")
