"""What several files of the engine's tests share."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from consumers import PATH, Consumers
from forking import Nursery
from searched import Shop
from slots import register

from tasks.engine import JobHuey, new_id
from tasks.engine.running import dispatch


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Return the process that consumers are forked from."""
    found = Nursery({**os.environ, "PYTHONPATH": PATH})
    yield found
    found.end()


@pytest.fixture
def consumers(
    redis_url: str, nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Consumers]:
    monkeypatch.setenv("APP_NAME", f"app-{new_id()}")
    monkeypatch.setenv("APP_REDIS", redis_url)
    sys.modules.pop("apps.crashing", None)  # a Huey of its own for each test
    found = Consumers(importlib.import_module("apps.crashing"), tmp_path, nursery)
    yield found
    found.end()
    found.huey.lease.close()
    found.huey.storage.flush_all()
    found.huey.storage.close()


@pytest.fixture
def slot(huey: JobHuey) -> Iterator[JobHuey]:
    """Make this thread a slot of a process that knows its tasks to be quick."""
    register(huey)
    huey.join_loop()
    for task in (huey.quick, huey.mail):
        huey.dispatch.pace.note(huey._registry.task_to_string(task.task_class), 0.00002)
    yield huey
    huey.leave_loop()


@pytest.fixture
def held_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let held jobs wait for a slot as long as the test takes."""
    monkeypatch.setattr(dispatch, "HELD_MOST_S", 3600)


@pytest.fixture
def no_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is finished wait for a slot to take it along, as long as the test takes."""
    monkeypatch.setattr(dispatch, "_run", lambda ref: None)


@pytest.fixture
def tens(huey: JobHuey, monkeypatch: pytest.MonkeyPatch) -> JobHuey:
    """Return a Huey whose operations go in chunks of ten."""
    monkeypatch.setattr(huey.commands.stepper, "size", 10)
    monkeypatch.setattr(huey.commands.stepper, "_fit", lambda many, took_s: None)
    return huey


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[[JobHuey], str]:
    """Let a consumer refuse to start, with exit 2. Returns: the one sentence that it says."""

    def start(huey: JobHuey) -> str:
        with pytest.raises(SystemExit) as stopped:
            huey.create_consumer(workers=1).start()
        assert stopped.value.code == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    return start


@pytest.fixture
def shop(huey: JobHuey) -> Shop:
    return Shop(huey)
