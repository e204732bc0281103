"""A real worker process beside a web process that died between its commit and its push."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE_S, wait_until

from tasks import database as db
from tasks import outbox, reminders
from tasks.engine import State, UnknownJob

CONSUMER = Path(sys.executable).parent / "huey_consumer"


@pytest.mark.slow  # a worker process starts
def test_a_worker_pushes_and_runs_what_a_dead_web_process_left_behind(platform: Any) -> None:
    outbox.stop()
    task = reminders.scan_soon.s()
    with db.session() as session:
        outbox.add(session, task.id, platform.huey.envelope(task), None)
        session.info.clear()  # dead before the push
    worker = subprocess.Popen(
        [CONSUMER, "tasks.huey", "-k", "thread", "-w", "2", "-g", "TERM", "-t", "5"],
        env={**os.environ, "PYTHONPATH": "."}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: state_of(platform, task.id) == State.COMPLETED)
        wait_until(lambda: outbox.row(task.id) is None)
    finally:
        worker.terminate()
        assert worker.wait(timeout=PATIENCE_S) == 0
    assert platform.huey.reads.job(task.id).result == "0 queued, 0 skipped"


def state_of(platform: Any, job_id: str) -> State | None:
    try:
        return State(platform.huey.reads.job(job_id).state)
    except UnknownJob:
        return None
