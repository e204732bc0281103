"""An operation leaves Redis to those who work: most of it where they use most of it."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.engine import JobHuey
from tasks.engine.operating import yielding
from tasks.engine.operating.yielding import BUSY_REST, REST, Yielding


@pytest.fixture
def at(huey: JobHuey, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what tells the rest after a step, at a time and with so much CPU used since."""
    now = {"s": 1e9, "redis": 50.0, "own": 9.0}
    real, found = huey.storage.call, Yielding(huey.storage)
    assert found.rest_s(0.01) == 0.01 * REST  # it asks a real server first

    def call(command: str, *args: Any) -> Any:
        return {**real(command, *args), "used_cpu_user": now["redis"], "used_cpu_sys": 0.0}

    monkeypatch.setattr(huey.storage, "call", call)
    monkeypatch.setattr(yielding.time, "monotonic", lambda: now["s"])
    monkeypatch.setattr(yielding.time, "process_time", lambda: now["own"])

    def step(*, passed_s: float, redis_s: float = 0.0, own_s: float = 0.0) -> float:
        now["s"] += passed_s
        now["redis"] += redis_s
        now["own"] += own_s
        return found.rest_s(0.01) / 0.01

    step(passed_s=1000)
    return step


def test_beside_idle_workers_it_takes_a_third(at: Any) -> None:
    assert at(passed_s=1, redis_s=0.33, own_s=0.2) == REST


@pytest.mark.parametrize("who", ["redis_s", "own_s"])
def test_where_redis_or_this_process_is_busy_it_takes_a_twenty_fifth(at: Any, who: str) -> None:
    assert at(passed_s=1, **{who: 0.9}) == pytest.approx(BUSY_REST)
    assert at(passed_s=0.1) == pytest.approx(BUSY_REST), "it looks seldom"
    assert at(passed_s=1, redis_s=0.2) == REST


def test_what_was_used_since_an_operation_long_ago_says_nothing(at: Any) -> None:
    assert at(passed_s=3600, redis_s=3000) == REST
