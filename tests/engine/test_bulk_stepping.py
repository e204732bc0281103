"""Whoever steps an operation and whoever dies, each job is done once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bulking import add, cancelled, operate

from tasks.engine import JobFilter, JobHuey, State

S = State


def test_one_process_at_a_time_steps_and_none_for_long(tens: JobHuey) -> None:
    now = tens.reads.now_ms()

    def hears(proc: str, ms: int) -> list[str]:
        reply = tens.storage.scripts.run("house", now + ms, 10, proc)
        return [op_id.decode() for op_id in reply[3]]

    assert hears("first", 0) == []
    started = tens.commands.start_operation("cancel", ids=add(tens, 25), by="ada", reason="a test")
    assert hears("first", 0) == [started.id]
    assert hears("second", 1000) == []
    assert hears("first", 1400) == [started.id]
    assert hears("second", 1499) == []
    assert hears("second", 1501) == [started.id], "also where the first asks but cannot go on"
    assert hears("first", 1502) == []
    assert hears("third", 3001) == [started.id]
    assert hears("first", -3_600_000) == [started.id], "the server's clock stepped back"


def test_two_workers_that_step_at_once_do_each_job_once(
    huey: JobHuey, make_huey: Callable[..., JobHuey]
) -> None:
    ids = cancelled(huey, 400)
    operation = huey.commands.start_operation("retry", filter=JobFilter(state=S.CANCELLED))
    threads = [threading.Thread(target=operate, args=(h,)) for h in (huey, make_huey(huey.name))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    operate(huey)
    ended = huey.reads.operation(operation.id)
    assert (ended.state, ended.done, ended.skipped) == ("done", 400, 0)
    assert sorted(o.id for o in huey.reads.operation_outcomes(operation.id, 500)) == sorted(ids)


STEPPER = """
import os, signal, sys
sys.path[:0] = sys.argv[1:]
from tasks.engine import JobHuey, Queue
huey = JobHuey(os.environ["APP_NAME"], url=os.environ["APP_REDIS"], queues=(Queue("default"), Queue("email")))
huey.commands.stepper.size = 10
huey.commands.stepper._fit = lambda many, took_s: None
run, acts = huey.storage.scripts.run, []

def dies_after_the_fourth(name, *args):
    answer = run(name, *args)
    acts.append(name)
    if acts.count("bulk_step") == 4:
        os.kill(os.getpid(), signal.SIGKILL)  # it has acted, and heard nothing of it
    return answer

huey.storage.scripts.run = dies_after_the_fourth
while huey.commands.step_operations():
    pass
"""


def test_an_operation_goes_on_after_its_stepper_was_killed(
    huey: JobHuey, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = cancelled(huey, 600)
    operation = huey.commands.start_operation("retry", filter=JobFilter(state=S.CANCELLED))
    root = str(Path(__file__).parents[2])
    stepper = subprocess.run(
        [sys.executable, "-c", STEPPER, root], check=False,
        env={**os.environ, "APP_NAME": huey.name, "APP_REDIS": redis_url},
    )  # fmt: skip
    assert stepper.returncode == -signal.SIGKILL
    half = huey.reads.operation(operation.id)
    assert (half.state, half.done) == ("running", 40)
    assert half.done == len(huey.reads.operation_outcomes(operation.id, 1000))
    operate(huey)
    ended = huey.reads.operation(operation.id)
    assert (ended.state, ended.done, ended.skipped) == ("done", 600, 0)
    assert {huey.reads.job(job_id).run for job_id in ids[::50]} == {2}
    outcomes = [o.id for o in huey.reads.operation_outcomes(operation.id, 1000)]
    assert sorted(outcomes) == sorted(ids)


def test_a_step_made_from_an_old_cursor_changes_nothing(tens: JobHuey) -> None:
    add(tens, 25)
    operation = tens.commands.start_operation("cancel", filter=JobFilter(state=S.WAITING))
    stepper = tens.commands.stepper
    record = stepper.bulk.record(operation.id)
    stale = stepper._chunk(operation.id, record, 10)
    tens.commands.step_operations()
    stepper._act(operation.id, record, stale, 0)
    ended = tens.reads.operation(operation.id)
    assert (ended.done, ended.seen) == (10, 10)


def test_a_fault_of_the_applications_part_leaves_the_chunk_for_later(
    tens: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tens, 5)
    operation = tens.commands.start_operation("cancel", filter=JobFilter(state=S.WAITING))

    def broken(kind: str, ids: Any) -> dict[str, str]:
        raise RuntimeError("no database")

    monkeypatch.setattr(tens.commands.stepper, "before", broken)
    assert tens.commands.step_operations() == 0
    assert tens.reads.operation(operation.id).done == 0
    told: list[Any] = []
    monkeypatch.setattr(tens.commands.stepper, "before", lambda kind, ids: {ids[0]: "not this one"})
    monkeypatch.setattr(tens.commands.stepper, "after", lambda *args: told.append(args))
    operate(tens)
    ended = tens.reads.operation(operation.id)
    assert (ended.done, ended.skipped) == (4, 1)
    assert [(kind, len(ids)) for kind, ids, _ in told] == [("cancel", 4)]
    (skipped,) = tens.reads.operation_outcomes(operation.id, which="skipped")
    assert (skipped.detail, skipped.state) == ("not this one", S.WAITING)
