"""Huey's own tests pass on JobHuey over a real Redis."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huey_suite
import pytest
from waiting import PATIENCE_S, wait_until

from demo.redis_server import bundled_binary

# With `hop_delayed` off a delayed job goes straight to the schedule; these expect it to be
# waiting first, as in Huey.
GO_STRAIGHT_TO_THE_SCHEDULE = {
    "test_read_schedule",
    "test_schedule_s",
    "test_scheduling",
    "test_scheduling_expires",
    "test_task_id",
    "test_chord_scheduling",
    "test_storage_wrappers",
    "test_consumer_schedule_task",
    "test_schedule_priority",
    "test_signals_simple",
    "test_pending_scheduled_unregistered",
    "test_reschedule",
}


@pytest.fixture(scope="module")
def valkey_url(redis_process: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of the bundled Valkey; of the other server where that is all there is."""
    binary = bundled_binary()
    if binary is None or str(binary) == redis_process.command[0]:
        yield os.environ["REDIS_URL"]
        return
    with tempfile.TemporaryDirectory(prefix="jd-") as home:
        socket = f"{home}/v.sock"
        options = f"--port 0 --unixsocket {socket} --dir {home} --appendonly no --save".split()
        server = subprocess.Popen([str(binary), *options, ""], stdout=subprocess.DEVNULL)
        wait_until(Path(socket).exists, what="Valkey listens")
        yield f"unix://{socket}?db=0"
        server.kill()
        server.wait(timeout=PATIENCE_S)


# Each way on another server keeps this short; HUEY_SUITE=all runs both ways on both.
BOTH = os.environ.get("HUEY_SUITE") == "all"


@pytest.mark.slow(reason="182 tests, some of which sleep")
@pytest.mark.parametrize("server", ["redis_url", "valkey_url"] if BOTH else ["redis_url"])
def test_every_test_of_huey_passes_when_delayed_jobs_hop_through_the_queue(
    server: str, request: pytest.FixtureRequest
) -> None:
    ran, bad = huey_suite.run(request.getfixturevalue(server), hop_delayed=True)
    assert bad == {}
    assert ran == 182


@pytest.mark.slow(reason="182 tests, some of which sleep")
@pytest.mark.parametrize("server", ["redis_url", "valkey_url"] if BOTH else ["valkey_url"])
def test_only_the_delayed_jobs_of_hueys_tests_differ_without_the_hop(
    server: str, request: pytest.FixtureRequest
) -> None:
    ran, bad = huey_suite.run(request.getfixturevalue(server))
    assert set(bad) == GO_STRAIGHT_TO_THE_SCHEDULE, bad
    assert ran == 182
