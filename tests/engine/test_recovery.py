"""Real consumers that are killed, frozen and stopped lose no job and burn no attempt."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from consumers import Consumers
from driving import run_all
from waiting import PATIENCE_S, wait_until

from tasks.engine import JobFilter, JobHuey, State, Unreachable
from tasks.engine.keys import SCHEMA


@pytest.mark.slow(reason="a process dies and its lease ends")
@pytest.mark.parametrize("kind", ["thread", "process", "greenlet"])
def test_a_killed_consumers_jobs_run_again_marked_and_with_no_attempt_burnt(
    consumers: Consumers, kind: str
) -> None:
    held = [consumers.app.held("gate").id for _ in range(4)]
    victim = consumers.start("-k", kind, program=True)
    consumers.hold(4)
    consumers.start("-k", kind)
    more = [consumers.app.held("gate").id for _ in range(3)]
    consumers.hold(7)
    os.killpg(victim.pid, signal.SIGKILL)
    wait_until(lambda: all(consumers.huey.reads.job(i).recovered for i in held), "recovered")
    consumers.app.open_gate("gate")
    consumers.reach({State.COMPLETED: 7})
    for job_id in held:
        job = consumers.huey.reads.job(job_id)
        assert (job.recovered, job.attempts_made, job.result) == (1, 1, 1)
        assert [attempt.outcome for attempt in job.attempts] == ["lost", "completed"]
    for job_id in more:
        assert consumers.huey.reads.job(job_id).recovered == 0
    states = {worker.pid: worker.state for worker in consumers.huey.reads.workers()}
    assert kind == "process" or states[victim.pid] == "dead"


@pytest.mark.slow(reason="a process is frozen and its lease ends")
def test_a_frozen_consumers_late_commit_is_refused(consumers: Consumers) -> None:
    frozen = consumers.start("-w", "1")
    job_id = consumers.app.held("gate").id
    consumers.hold(1)
    first = consumers.huey.reads.job(job_id).worker
    frozen.send_signal(signal.SIGSTOP)
    consumers.start("-w", "1")
    wait_until(lambda: consumers.huey.reads.job(job_id).worker != first, "taken over")
    consumers.app.open_gate("gate")
    consumers.reach({State.COMPLETED: 1})
    before = consumers.huey.reads.job(job_id)
    frozen.send_signal(signal.SIGCONT)
    consumers.hear("no longer ours: its outcome is dropped")
    after = consumers.huey.reads.job(job_id)
    assert after == before
    assert (after.state, after.recovered, after.result) == (State.COMPLETED, 1, 1)
    assert after.worker != first


def test_a_frozen_consumer_that_comes_back_goes_on_working(consumers: Consumers) -> None:
    frozen = consumers.start()
    frozen.send_signal(signal.SIGSTOP)
    wait_until(lambda: consumers.huey.reads.snapshot().workers_live == 0, "its lease is over")
    ids = [consumers.app.good().id for _ in range(5)]
    frozen.send_signal(signal.SIGCONT)
    consumers.reach({State.COMPLETED: len(ids)})


@pytest.mark.slow(reason="three processes die and their leases end")
def test_a_job_that_kills_its_process_fails_alone_after_three_deaths(
    consumers: Consumers, tmp_path: Path
) -> None:
    good = [consumers.app.good().id for _ in range(6)]
    poison = consumers.app.poison().id
    good += [consumers.app.good().id for _ in range(6)]
    for _ in range(3):
        process = consumers.start()
        consumers.gone(process)
    consumers.start()
    consumers.reach({State.COMPLETED: 12, State.FAILED: 1})
    job = consumers.huey.reads.job(poison)
    assert (job.state, job.recovered, job.attempts_made) == (State.FAILED, 3, 0)
    assert job.error.type == "WorkerDied"
    assert job.error.message == "the worker died 3 times while it ran this job"
    assert job.reason == "its worker died"
    assert {consumers.huey.reads.job(job_id).state for job_id in good} == {State.COMPLETED}
    assert max(consumers.huey.reads.job(job_id).recovered for job_id in good) <= 1


def test_neighbours_of_a_poison_job_in_other_queues_are_not_held_up(
    huey: JobHuey, make_huey: Callable[..., JobHuey]
) -> None:
    for one in (huey, victim := make_huey(huey.name)):
        one.task(name="note", priority=50)(lambda: None)
        mail = one.task(name="mail", queue="email")(lambda: None)
        note = one._registry._registry["test_recovery.note"]
    suspects = [huey.enqueue(note()).id for _ in range(2)]
    assert [victim.dequeue().id, victim.dequeue().id] == suspects
    victim.lease.sweep({victim.lease.proc: "killed"})
    assert [huey.reads.job(job_id).recovered for job_id in suspects] == [1, 1]
    other = mail().id
    first = huey.dequeue()
    assert first.id == suspects[0]
    second = huey.dequeue()
    assert second.id == other
    assert huey.dequeue() is None
    huey.execute(first)
    assert run_all(huey) == [suspects[1]]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_consumer_ends_what_it_runs_and_exits(
    consumers: Consumers, sent: signal.Signals
) -> None:
    process = consumers.start()
    running = [consumers.app.held("gate").id for _ in range(4)]
    consumers.hold(4)
    waiting = consumers.app.held("gate").id
    process.send_signal(sent)
    consumers.hear("Shutting down gracefully")
    consumers.app.open_gate("gate")
    assert consumers.gone(process) == 0
    assert {consumers.huey.reads.job(job_id).state for job_id in running} == {State.COMPLETED}
    assert consumers.huey.reads.job(waiting).state is State.WAITING
    assert consumers.huey.reads.snapshot().workers_live == 0


def test_a_signal_that_comes_while_slots_start_ends_a_consumer_gracefully(
    huey: JobHuey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    consumer = huey.create_consumer(workers=2)
    start = consumer.scheduler.start
    consumer.scheduler.start = lambda: (start(), signal.raise_signal(signal.SIGINT))
    before = {number: signal.getsignal(number) for number in consumer._signal_actions}
    try:
        consumer.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "Shutting down gracefully" in caplog.text
    assert "All workers have stopped" in caplog.text


@pytest.mark.parametrize("options", [("-k", "thread"), ("-k", "process"), ("-k", "greenlet")])
def test_what_still_runs_at_the_end_of_the_timeout_is_given_back_unburnt(
    consumers: Consumers, options: tuple[str, str]
) -> None:
    process = consumers.start("-t", "0.3", "-w", "2", *options)
    ids = [consumers.app.held("gate").id for _ in range(2)]
    consumers.hold(2)
    process.terminate()
    consumers.gone(process)
    consumers.reach({State.WAITING: 2})
    for job_id in ids:
        job = consumers.huey.reads.job(job_id)
        assert (job.attempts_made, job.recovered) == (0, 0)
    consumers.app.open_gate("gate")
    consumers.start()
    consumers.reach({State.COMPLETED: 2})


def test_a_hangup_ends_what_runs_and_begins_anew(consumers: Consumers) -> None:
    process = consumers.start("-w", "1")
    running = consumers.app.held("gate").id
    consumers.hold(1)
    (before,) = consumers.huey.reads.workers()
    process.send_signal(signal.SIGHUP)
    consumers.hear("Shutting down gracefully")
    waiting = consumers.app.good().id
    consumers.app.open_gate("gate")
    consumers.reach({State.COMPLETED: 2})
    jobs = [consumers.huey.reads.job(job_id) for job_id in (running, waiting)]
    assert [(job.attempts_made, job.recovered) for job in jobs] == [(1, 0), (1, 0)]
    assert jobs[0].worker == before.id != jobs[1].worker
    assert process.poll() is None


def test_an_emptied_redis_is_worked_on(consumers: Consumers, redis_url: str) -> None:
    process = consumers.start("-w", "1")
    consumers.app.good()
    consumers.reach({State.COMPLETED: 1})
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    consumers.app.good()
    consumers.reach({State.COMPLETED: 1})
    wait_until(lambda: consumers.huey.reads.snapshot().workers_live == 1, "it beats")
    assert process.poll() is None


def test_a_second_signal_gives_back_at_once(consumers: Consumers) -> None:
    process = consumers.start("-w", "1")
    job_id = consumers.app.held("gate").id
    consumers.hold(1)
    process.terminate()
    consumers.hear("Shutting down gracefully")
    process.terminate()
    consumers.gone(process)
    job = consumers.huey.reads.job(job_id)
    assert (job.state, job.attempts_made, job.recovered) == (State.WAITING, 0, 0)


def test_an_operators_stop_ends_a_consumer_gracefully(consumers: Consumers) -> None:
    process = consumers.start("-w", "1")
    job_id = consumers.app.held("gate").id
    consumers.hold(1)
    (worker,) = consumers.huey.reads.workers()
    assert consumers.huey.commands.stop(worker.id).state == "stopping"
    waiting = consumers.app.good().id
    consumers.hear("Shutting down gracefully")
    consumers.app.open_gate("gate")
    assert consumers.gone(process) == 0
    assert consumers.huey.reads.job(job_id).state is State.COMPLETED
    assert consumers.huey.reads.job(waiting).state is State.WAITING


def test_an_operators_stop_of_one_process_ends_its_consumer_gracefully(
    consumers: Consumers,
) -> None:
    process = consumers.start("-k", "process", "-w", "2")
    job_id = consumers.app.held("gate").id
    consumers.hold(1)
    idle = wait_until(
        lambda: next((w for w in consumers.huey.reads.workers() if not w.busy), None), "idle"
    )
    assert (idle.kind, idle.slots) == ("process", 1)
    consumers.huey.commands.stop(idle.id)
    consumers.hear("Shutting down gracefully")
    consumers.app.open_gate("gate")
    assert consumers.gone(process) == 0
    assert consumers.huey.reads.job(job_id).state is State.COMPLETED
    assert consumers.huey.reads.snapshot().workers_live == 0


def test_an_operators_quiet_keeps_a_consumer_from_new_jobs_until_woken(
    consumers: Consumers,
) -> None:
    consumers.start("-w", "1")
    (worker,) = consumers.huey.reads.workers()
    consumers.huey.commands.quiet(worker.id)
    consumers.beats(2)  # the answer to the first one brings the wish
    job_id = consumers.app.good().id
    consumers.beats(5)
    assert consumers.huey.reads.job(job_id).state is State.WAITING
    consumers.huey.commands.wake(worker.id)
    wait_until(lambda: consumers.huey.reads.job(job_id).state is State.COMPLETED, "woken")


def test_an_operators_cancel_reaches_a_running_job(consumers: Consumers) -> None:
    consumers.start("-w", "1")
    job_id = consumers.app.parts(100_000).id
    consumers.reach({State.ACTIVE: 1})
    consumers.huey.commands.cancel([job_id], by="ada")
    consumers.reach({State.CANCELLED: 1})
    assert consumers.huey.reads.jobs(JobFilter(state=State.CANCELLED)).items[0].id == job_id


def test_connections_that_are_cut_lose_no_job_and_burn_no_attempt(
    consumers: Consumers, redis_url: str
) -> None:
    calls = [consumers.app.good.s() for _ in range(400)]
    consumers.huey.enqueue_many(calls)
    consumers.start()
    client, cuts = redis.Redis.from_url(redis_url), 0

    def all_done() -> bool:
        nonlocal cuts
        cuts += client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with contextlib.suppress(Unreachable):
            return consumers.counts() == {State.COMPLETED: len(calls)}
        return False

    wait_until(all_done, "all are done")
    client.close()
    assert cuts
    assert {consumers.huey.reads.job(call.id).attempts_made for call in calls} == {1}


@pytest.mark.slow(reason="enough jobs that commits and beats meet")
def test_a_busy_consumer_takes_no_job_of_its_own_for_lost(consumers: Consumers) -> None:
    consumers.huey.enqueue_many([consumers.app.good.s() for _ in range(2000)])
    consumers.start()
    consumers.reach({State.COMPLETED: 2000})
    assert "no longer ours" not in consumers.log()


@pytest.mark.slow(reason="the outage is longer than a socket's timeout")
def test_an_outage_is_waited_for(consumers: Consumers, redis_url: str) -> None:
    ids = [consumers.app.parts(30).id for _ in range(4)]
    process = consumers.start()
    consumers.reach({State.ACTIVE: 4})
    with redis.Redis.from_url(redis_url, socket_timeout=PATIENCE_S) as client:
        client.client_pause(4000)
        client.ping()  # answered when it is over
    consumers.reach({State.COMPLETED: 4})
    assert process.poll() is None
    assert {consumers.huey.reads.job(job_id).attempts_made for job_id in ids} == {1}
    assert consumers.log().count("waits and goes on when it is back") <= 1


def test_an_operation_is_stepped_by_a_consumer(consumers: Consumers) -> None:
    calls = [consumers.app.good.s(delay=3600) for _ in range(450)]
    consumers.huey.enqueue_many(calls)
    operation = consumers.huey.commands.start_operation(
        "cancel", filter=JobFilter(state=State.SCHEDULED), by="ada"
    )
    consumers.start()
    consumers.reach({State.CANCELLED: 450})
    ended = wait_until(
        lambda: (o := consumers.huey.reads.operation(operation.id)).finished_at and o, "done"
    )
    assert (ended.state, ended.done) == ("done", 450)


def test_an_older_worker_ends_what_runs_and_stops_when_a_newer_version_takes_over(
    consumers: Consumers,
) -> None:
    process = consumers.start("-w", "1")
    running = consumers.app.held("gate").id
    consumers.hold(1)
    meta = consumers.huey.storage.keys.one("meta")
    consumers.huey.storage.call("HSET", meta, "schema", SCHEMA + 1)  # as its consumer's start does
    consumers.hear(f"schema {SCHEMA + 1}")
    waiting = consumers.app.good().id
    consumers.app.open_gate("gate")
    assert consumers.gone(process) == 0
    assert consumers.huey.reads.job(running).state is State.COMPLETED
    assert consumers.huey.reads.job(waiting).state is State.WAITING
    assert consumers.gone(consumers.start("-w", "1")) == 2
    assert f"this version knows {SCHEMA}: start the newer version." in consumers.log()
    assert int(consumers.huey.storage.call("HGET", meta, "schema")) == SCHEMA + 1
