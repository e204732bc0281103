"""A single job of the usual kind is stored by the short way; it must leave what the long one leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keyspace
import pytest
from driving import run_all, state_of

from tasks.engine import JobHuey, State
from tasks.engine.ids import new_id
from tasks.engine.storage import PLAIN

NOW_MS = 1_900_000_000_000
SPEC = {"id": "one", "q": "email", "t": "shop.send", "p": 0, "m": 1, "rq": "r"}


def stored(huey: JobHuey, monkeypatch: pytest.MonkeyPatch, specs: list[dict[str, Any]]) -> Any:
    """Add jobs at a fixed time, one call each. Returns: the whole keyspace."""
    real = huey.storage.scripts.run
    monkeypatch.setattr(
        huey.storage.scripts, "run", lambda name, _, *args: real(name, NOW_MS, *args)
    )
    for spec in specs:
        assert huey.storage.add([(dict(spec), b"{}")]) == [("new", spec["id"])]
    return keyspace.read(huey)


@pytest.mark.parametrize(
    "more", [{}, {"p": 7}, {"p": -100, "m": 5}, {"m": 3, "by": "parent"}], ids=str
)
def test_both_ways_leave_the_same_keys(
    make_huey: Callable[..., JobHuey], monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    specs = [SPEC | more | {"id": job_id} for job_id in ("one", "two", "three")]
    short = stored(make_huey(), monkeypatch, specs)
    monkeypatch.setattr("tasks.engine.storage.PLAIN", frozenset())
    long = stored(make_huey(), monkeypatch, specs)
    assert short.kinds == long.kinds
    assert {key for key, ttl in short.ttl.items() if ttl > 0} == {
        key for key, ttl in long.ttl.items() if ttl > 0
    }
    assert set(short.all("job")) == {"one", "two", "three"}


@pytest.mark.parametrize("field", ["due", "u", "ix", "tg", "mk", "bt", "hold", "delay"])
def test_what_is_unusual_takes_the_long_way(huey: JobHuey, field: str) -> None:
    assert field not in PLAIN
    huey.storage.scripts.run = _refusing(huey, "add_plain")  # type: ignore[method-assign]
    value = {"due": NOW_MS * 2, "mk": 1, "hold": 1, "delay": 5}.get(field, "x")
    assert huey.storage.add([(SPEC | {"id": new_id(), field: value}, b"{}")])[0][0] == "new"


def _refusing(huey: JobHuey, script: str) -> Callable[..., Any]:
    real = huey.storage.scripts.run

    def run(name: str, *args: Any) -> Any:
        assert name != script
        return real(name, *args)

    return run


def test_an_id_that_is_known_takes_the_long_way(huey: JobHuey) -> None:
    task = huey.task(name="plain")(lambda: None)
    assert huey.storage.add([(dict(SPEC), b"{}")]) == [("new", "one")]
    assert huey.storage.add([(dict(SPEC), b"{}")]) == [("same", "one")]
    assert huey.storage.add([(SPEC | {"rq": "other"}, b"{}")]) == [("live", "one")]
    first = task.schedule(delay=0, id="again")
    huey.commands.move(["one"], queue="default")
    huey.commands.cancel(["one"])
    assert run_all(huey) == ["again"]
    task.schedule(delay=0, id="again")
    assert state_of(huey, first.id) is State.WAITING
    assert huey.reads.job("again").run == 2
    assert keyspace.faults(keyspace.read(huey)) == []
