"""Logs: one event a line, with the job it happened in."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from tasks import logs
from tasks.engine.consumer import share_log
from tasks.engine.current import RUNNING, CurrentJob
from tasks.settings import load


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], _ = handlers, root.setLevel(level)


@pytest.fixture
def job() -> Iterator[CurrentJob]:
    job = CurrentJob(id="01J", task="deliver_email", queue="email", attempt=1, max_attempts=5)
    token = RUNNING.set(job)
    yield job
    RUNNING.reset(token)


def test_a_line_for_people_names_the_job(
    job: CurrentJob, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.start(load({}))
    logging.getLogger("tasks.emails").warning("mail refused\nforged line")
    (line,) = capsys.readouterr().err.splitlines()
    assert "WARNING tasks.emails: mail refused\\nforged line" in line
    assert line.endswith("job=01J queue=email task=deliver_email")


def test_json_is_one_object_a_line_also_with_a_traceback(
    job: CurrentJob, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.start(load({"LOG_FORMAT": "json"}))
    try:
        raise ValueError("odd")
    except ValueError:
        logging.getLogger("tasks").exception("it broke", extra={"request_id": "r1"})
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"]) == ("it broke", "error")
    assert (event["job"], event["queue"], event["request_id"]) == ("01J", "email", "r1")
    assert "ValueError: odd" in event["traceback"]


def test_the_level_is_kept_and_starting_twice_says_nothing_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(2):
        logs.start(load({"LOG_LEVEL": "warning"}))
    logging.getLogger("tasks").info("quiet")
    logging.getLogger("tasks").warning("loud")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_hueys_own_handler_gives_way(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("huey")
    logger.addHandler(logging.StreamHandler())
    logs.start(load({}))
    logs.take_over()
    logging.getLogger("huey.consumer").warning("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_engines_lines_go_where_hueys_go_and_only_where_nobody_else_writes_them() -> None:
    ours, hueys = logging.Logger("engine"), logging.Logger("huey", logging.WARNING)
    stock, own = logging.StreamHandler(), logging.StreamHandler()
    hueys.addHandler(stock)
    share_log(ours, hueys)
    share_log(ours, hueys)
    assert (ours.handlers, ours.level) == ([stock], logging.WARNING)
    ours.handlers[:] = [own]
    share_log(ours, hueys)
    assert ours.handlers == [own]


def test_what_the_engine_shared_gives_way_too(capsys: pytest.CaptureFixture[str]) -> None:
    engine = logging.getLogger("tasks.engine")
    engine.addHandler(logging.StreamHandler())
    logs.start(load({}))
    logs.take_over()
    engine.warning("said once")
    assert capsys.readouterr().err.count("said once") == 1
