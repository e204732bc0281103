"""What a worker calls for each job is a function of Redis where it has those, and a script where not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keyspace
import pytest
import redis
from driving import run_all, run_one

from tasks.engine import JobHuey, RetryAfter
from tasks.engine.scripts import LIBRARIES_MOST, library_of
from tasks.engine.sources import FUNCTIONS, LIBRARIES, REMEMBERED, WRITE, library, source

LITERAL = re.compile(r"(?:-?[\d.]+(?:, [\d.]+)*|\{[\w' ,={}]*\})(?: --.*)?$")


@pytest.fixture
def work(huey: JobHuey) -> Any:
    @huey.task(name="work", retries=1)
    def work(number: int) -> int:
        if number == 3 and huey.retried.add(number) is None and len(huey.retried) == 1:
            raise RetryAfter(0)
        return number

    huey.retried = set()
    return work


def calls(huey: JobHuey) -> dict[str, int]:
    """Return how often functions and scripts were called."""
    stats = huey.storage.client.info("commandstats")
    names = ("fcall", "evalsha", "eval", "function|load")
    return {name: int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in names}


def ran(huey: JobHuey, work: Any) -> dict[str, int]:
    """Run five jobs. Returns: what was called meanwhile more than before."""
    ids = [work(number).id for number in range(5)]
    before = calls(huey)
    assert set(run_all(huey)) == set(ids)
    assert keyspace.faults(keyspace.read(huey)) == []
    return {name: n - before[name] for name, n in calls(huey).items()}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_all_that_a_function_remembers_is_made_anew_before_each_call(name: str) -> None:
    parts = source(name).split("local function script()")[0]
    kept = [
        found
        for found in re.findall(r"^local ([A-Za-z]\w*.*)$", parts, re.MULTILINE)
        if not found.startswith("function ")
    ]
    remembered = {found[1] for found in REMEMBERED.finditer(parts)}
    others = [line for line in kept if line.split(" = ")[0].split(" --")[0] not in remembered]
    odd = [
        line for line in others if " = " not in line or not LITERAL.match(line.split(" = ", 1)[1])
    ]
    assert [line for line in odd if not line.startswith(("P=", "add_callback"))] == []
    assert remembered >= {
        "SETS, CHANGED",
        "NEXT_DUE",
        "AT_END",
        "ENDED",
        "COUNTED, STANDING, RAN",
        "PAUSED, parked",
    }
    assert library(name)[1].count(WRITE) == 1


def test_a_worker_calls_functions(huey: JobHuey, work: Any) -> None:
    ran(huey, work)
    done = ran(huey, work)
    assert done["fcall"] >= 5
    assert done["function|load"] == 0


def test_a_function_that_is_gone_is_given_anew(huey: JobHuey, work: Any) -> None:
    ran(huey, work)
    huey.storage.client.function_flush()
    done = ran(huey, work)
    assert 1 <= done["function|load"] <= len(FUNCTIONS)
    assert done["fcall"] >= 5 + done["function|load"]


@pytest.fixture
def without(huey: JobHuey, redis_url: str, make_huey: Callable[..., JobHuey]) -> Any:
    """Return a Huey as a user of Redis who may not use functions."""
    admin = huey.storage.client
    admin.acl_setuser("scripts-only", enabled=True, nopass=True, categories=["+@all"], keys=["*"],
                      channels=["*"], commands=["-fcall", "-function"], reset=True)  # fmt: skip
    pool = huey.storage.client.connection_pool
    options = {**pool.connection_kwargs, "username": "scripts-only", "password": "x"}
    limited = redis.Redis.from_pool(type(pool)(connection_class=pool.connection_class, **options))
    huey.storage.client = huey.storage.scripts.client = limited
    yield huey
    huey.storage.client = huey.storage.scripts.client = admin
    limited.close()
    admin.acl_deluser("scripts-only")


def test_who_may_not_call_functions_runs_scripts(without: JobHuey, work: Any) -> None:
    done = ran(without, work)
    assert done["evalsha"] + done["eval"] >= 5
    assert done["function|load"] == 0
    assert ran(without, work)["fcall"] == 0


@pytest.mark.parametrize("said", ["ERR unknown command 'FCALL'", "Function not found"])
def test_a_server_that_takes_no_function_runs_scripts(
    huey: JobHuey, work: Any, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """As a Redis before 7 says, and a full one that has forgotten them."""
    real = huey.storage.scripts._heard
    sent: list[Any] = []
    real_sent = huey.storage.scripts._sent

    def send(*words: Any, **more: Any) -> Any:
        sent.append(words[0])
        if words[0] in ("FCALL", "FUNCTION"):
            words = ("NOSUCH", *words[1:])
        return real_sent(*words, **more)

    def heard(connection: Any) -> Any:
        try:
            return real(connection)
        except redis.ResponseError as exc:
            if "NOSUCH" in str(exc):
                raise redis.ResponseError(said) from exc
            raise

    monkeypatch.setattr(huey.storage.scripts, "_sent", send)
    monkeypatch.setattr(huey.storage.scripts, "_heard", heard)
    ran(huey, work)
    assert sent.count("FCALL") == 1
    assert sent.count("EVALSHA") >= 4


def test_a_call_that_fails_half_way_leaves_nothing_for_the_next(huey: JobHuey, work: Any) -> None:
    ids = [work(1).id, work(2).id]
    run_one(huey)
    held = huey.storage.keys.of("held", huey.lease.proc)
    huey.storage.call("SET", held, "what no job is written to")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        huey.dequeue()
    huey.storage.call("DEL", held)
    huey.commands.fsck()
    assert run_all(huey) == ids[1:]
    assert keyspace.faults(keyspace.read(huey)) == []


def test_functions_of_versions_long_gone_are_taken_away(huey: JobHuey, work: Any) -> None:
    client = huey.storage.client
    client.function_flush()
    for n in range(LIBRARIES_MOST + 1):
        name = f"{LIBRARIES}{n:016x}"
        client.function_load(
            f"#!lua name={name}\nredis.register_function('{name}', function() return 1 end)"
        )
    client.function_load(
        "#!lua name=theirs\nredis.register_function('theirs', function() return 1 end)"
    )
    ran(huey, work)
    names = {library_of(entry) for entry in client.execute_command("FUNCTION", "LIST")}
    assert "theirs" in names
    assert len(names) <= 1 + len(FUNCTIONS)
    client.function_delete("theirs")
