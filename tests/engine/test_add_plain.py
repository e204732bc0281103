"""Jobs of the usual kind are stored by the short way; it must leave what the long one leaves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import keyspace
import pytest
import redis
from driving import counts, run_all, state_of
from waiting import wait_until

from tasks.engine import JobHuey, NotSerializable, State
from tasks.engine.adding import CHUNK, PLAIN
from tasks.engine.errors import Unreachable
from tasks.engine.ids import new_id
from tasks.engine.scripts import Line
from tasks.engine.sources import source

NOW_MS = 1_900_000_000_000
SPEC = {"id": "one", "q": "email", "t": "shop.send", "p": 0, "m": 1, "rq": "r"}


def stored(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch, calls: list[list[dict[str, Any]]]
) -> Any:
    """Add jobs at a fixed time, those of a call together. Returns: the whole keyspace."""
    for script in ("add", "add_one", "add_plain"):  # one that is not known is run by the clock
        huey.storage.call("SCRIPT", "LOAD", source(script))
    real = Line.send
    with monkeypatch.context() as patch:
        patch.setattr(Line, "send", lambda line, name, _, *args: real(line, name, NOW_MS, *args))
        for specs in calls:
            rows = [(dict(spec), b"{}") for spec in specs]
            assert huey.storage.add(rows) == [("new", spec["id"]) for spec in specs]
    return keyspace.read(huey)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the scripts by which jobs are stored from now on."""
    real, noted = Line.send, list[str]()

    def send(line: Line, name: str, *args: Any) -> bool:
        noted.append(name)
        return real(line, name, *args)

    monkeypatch.setattr(Line, "send", send)
    return noted


MORE: list[dict[str, Any]] = [
    {},
    {"p": 7},
    {"p": -100, "m": 5},
    {"m": 3, "by": "parent"},
    {"ix": "0123456789abcdef {}"},
    {"ix": "{}", "tg": "late new", "by": "parent", "p": 3},
    {"ix": "", "tg": ""},
]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("more", MORE, ids=str)
def test_both_ways_leave_the_same_keys(
    make_huey: Callable[..., JobHuey], monkeypatch: pytest.MonkeyPatch, more: dict[str, Any],
    together: bool, ways: list[str],
) -> None:  # fmt: skip
    ids = [f"job {n}" for n in range(150 if together else 3)]
    specs = [SPEC | more | {"id": job_id} for job_id in ids]
    for n, spec in enumerate(specs):
        if "ix" in spec:
            spec["ix"] = spec["ix"].format(f"{n % 4:016x}")
    calls = [specs] if together else [[spec] for spec in specs]
    short = stored(make_huey(), monkeypatch, calls)
    monkeypatch.setattr("tasks.engine.adding.PLAIN", frozenset())
    long = stored(make_huey(), monkeypatch, calls)
    assert ways == ["add_plain" if together else "add_one"] * len(calls) + ["add"] * len(calls)
    assert short.kinds == long.kinds
    assert {key for key, ttl in short.ttl.items() if ttl > 0} == {
        key for key, ttl in long.ttl.items() if ttl > 0
    }
    assert set(short.all("job")) == set(ids)


UNLIKE: dict[str, list[dict[str, Any]]] = {
    "tasks": [{"t": "shop.other"}, {}],
    "queues": [{}, {"q": "default"}],
    "parents": [{"by": "parent"}, {}],
    "one without an index": [{"ix": "0123456789abcdef"}, {"ix": ""}],
    "an id twice": [{"id": "one"}, {"id": "one"}],
    "one unusual": [{}, {"tg": "late"}],
}


@pytest.mark.parametrize("why", UNLIKE)
def test_jobs_that_are_not_alike_go_the_long_way_together(
    huey: JobHuey, ways: list[str], why: str
) -> None:
    rows = [(SPEC | {"id": new_id()} | more, b"{}") for more in UNLIKE[why]]
    answers = huey.storage.add(rows)
    assert ways == ["add"]
    assert [status for status, _ in answers] == ["new", "same" if why == "an id twice" else "new"]


@pytest.mark.parametrize("field", ["due", "u", "mk", "bt", "hold", "delay"])
def test_what_is_unusual_takes_the_long_way(huey: JobHuey, ways: list[str], field: str) -> None:
    assert field not in PLAIN
    value = {"due": NOW_MS * 2, "mk": 1, "hold": 1, "delay": 5}.get(field, "x")
    rows = [(SPEC | {"id": new_id(), field: value}, b"{}")]
    assert huey.storage.add(rows)[0][0] == "new"
    assert ways == ["add"]


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


def test_one_known_id_among_many_takes_them_all_the_long_way(huey: JobHuey) -> None:
    ids = ["one", new_id(), new_id()]
    assert huey.storage.add([(dict(SPEC), b"{}")]) == [("new", "one")]
    rows = [(SPEC | {"id": job_id}, b"{}") for job_id in ids]
    assert huey.storage.add(rows) == [("same", "one"), ("new", ids[1]), ("new", ids[2])]


@pytest.mark.parametrize("many", [1, 200, 201, 450])
def test_many_are_queued_in_the_order_given(huey: JobHuey, many: int) -> None:
    ran: list[int] = []
    task = huey.task(name="noted")(ran.append)
    results = huey.enqueue_many([task.s(n) for n in range(many)])
    assert run_all(huey) == [result.id for result in results]
    assert ran == list(range(many))


def rows_of(*before: Callable[[], Any]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Make whole chunks of rows, and call what belongs to each before it is made."""
    for act in before:
        act()
        yield from [(SPEC | {"id": new_id(), "q": "default"}, b"{}") for _ in range(CHUNK)]


def nothing() -> None:
    """Do nothing."""


def in_order(huey: JobHuey) -> list[str]:
    """Return the ids of the waiting jobs, the next to run first."""
    key = huey.storage.keys.of("waiting", "default")
    return [job_id.decode() for job_id in huey.storage.call("ZRANGE", key, 0, -1)]


def test_a_chunk_is_made_while_redis_stores_those_before(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    send, hear = Line.send, Line.hear
    monkeypatch.setattr(Line, "send", lambda *args: (events.append("sent"), send(*args))[1])
    monkeypatch.setattr(Line, "hear", lambda line: (events.append("heard"), hear(line))[1])
    made = [lambda: events.append("made")] * 4
    found = huey.storage.add(rows_of(*made))
    first = ["made", "sent"]
    assert events == first + first + ["made", "heard", "sent"] * 2 + ["heard"] * 2
    assert in_order(huey) == [job_id for _, job_id in found]


def test_many_jobs_go_by_one_connection_which_is_lent_again(huey: JobHuey) -> None:
    task = huey.task(name="plain")(lambda n: None)
    number = huey.storage.call("CLIENT", "ID")
    huey.enqueue_many([task.s(n) for n in range(700)])
    with pytest.raises(NotSerializable):
        huey.enqueue_many([*[task.s(n) for n in range(500)], task.s(object())])
    assert huey.storage.call("CLIENT", "ID") == number


def test_a_chunk_is_stored_only_where_the_one_before_is(huey: JobHuey) -> None:
    def add(job_id: str, after: str) -> Any:
        pairs = (job_id, "{}", f"{job_id} too", "{}")
        args = (0, "default", "shop.send", "r", after, 100 << 40, 9, 2, *pairs)
        return huey.storage.scripts.run("add_plain", *args)

    assert [add("one", "none"), in_order(huey)] == [2, []]
    ended = huey.task(name="plain")(lambda: None)().id
    run_all(huey)
    assert [add("one", ended), add("two", "one too"), add("two", "one too")] == [1, 1, 0]
    assert in_order(huey) == ["one", "one too", "two", "two too"]


@pytest.mark.parametrize("at", [1, 2, 3])
def test_the_order_holds_where_the_connection_breaks(huey: JobHuey, at: int) -> None:
    other = redis.Redis.from_pool(huey.storage.client.connection_pool)

    def cut() -> None:
        other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    found = huey.storage.add(rows_of(*(cut if n == at else nothing for n in range(4))))
    assert in_order(huey) == [job_id for _, job_id in found]
    assert len(found) == 4 * CHUNK


@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_order_holds_where_the_server_forgets_its_scripts(huey: JobHuey, at: int) -> None:
    flush = functools.partial(huey.storage.call, "SCRIPT", "FLUSH")
    found = huey.storage.add(rows_of(*(flush if n == at else nothing for n in range(4))))
    assert in_order(huey) == [job_id for _, job_id in found]
    assert len(found) == 4 * CHUNK


def test_the_order_holds_where_another_client_brings_the_script_back(huey: JobHuey) -> None:
    def bring_back() -> None:
        assert wait_until(lambda: _refused(huey) > before, "the first chunk was refused")
        huey.storage.call("SCRIPT", "LOAD", source("add_plain"))

    before = _refused(huey)
    huey.storage.call("SCRIPT", "FLUSH")
    found = huey.storage.add(rows_of(nothing, bring_back, nothing))
    assert in_order(huey) == [job_id for _, job_id in found]
    assert len(found) == 3 * CHUNK


def _refused(huey: JobHuey) -> int:
    """Count the scripts that the server did not know."""
    stats = huey.storage.client.info("errorstats")
    return int(stats.get("errorstat_NOSCRIPT", {"count": 0})["count"])


class Stopped(BaseException):
    """As KeyboardInterrupt."""


def test_those_under_way_are_heard_where_the_next_is_interrupted(huey: JobHuey) -> None:
    def stop() -> None:
        raise Stopped

    found: list[tuple[str, str]] = []
    with pytest.raises(Stopped):
        huey.storage.add(rows_of(nothing, nothing, nothing, stop), found)
    assert huey.storage.call("ECHO", "mine") == b"mine"
    assert in_order(huey) == [job_id for _, job_id in found]
    assert len(found) == 3 * CHUNK


def test_those_under_way_are_asked_for_where_sending_the_next_is_interrupted(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, sent = huey.storage.client.connection_pool, list[Any]()

    def send(connection: Any, commands: Any) -> None:
        sent.append(commands)
        if len(sent) == 2:
            packed = b"".join(connection.pack_commands(commands))
            connection.send_packed_command([packed[: len(packed) // 2]])
            raise Stopped
        type(pool).send(pool, connection, commands)

    monkeypatch.setattr(pool, "send", send)
    found: list[tuple[str, str]] = []
    with pytest.raises(Stopped):
        huey.storage.add(rows_of(nothing, nothing, nothing), found)
    assert huey.storage.call("ECHO", "mine") == b"mine"
    assert in_order(huey) == [job_id for _, job_id in found]
    assert len(found) == CHUNK


def test_a_call_that_could_not_be_sent_is_sent_again(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = huey.task(name="plain")(lambda: None)
    begin, tried = huey.storage.scripts.begin, list[str]()

    def sent(name: str, *args: Any) -> Any:
        tried.append(name)
        if len(tried) == 1:
            raise Unreachable("the connection was closed")
        return begin(name, *args)

    monkeypatch.setattr(huey.storage.scripts, "begin", sent)
    assert task().id in run_all(huey)


def test_a_single_call_whose_answer_is_lost_is_made_again(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = huey.task(name="plain")(lambda: None)
    end, ended = huey.storage.scripts.end, list[str]()

    def heard(begun: Any) -> Any:
        answer = end(begun)
        ended.append(begun.name)
        if len(ended) == 1:
            raise Unreachable("the answer is lost")
        return answer

    monkeypatch.setattr(huey.storage.scripts, "end", heard)
    result = task()
    assert ended == ["add_one", "add_one", "add"]
    assert run_all(huey) == [result.id]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_chunk_whose_answer_is_lost_is_asked_for_again(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    task = huey.task(name="plain")(lambda n: None)
    hear, heard = Line.hear, list[Any]()

    def lose(line: Line) -> Any:
        heard.append(hear(line))
        if len(heard) == lost + 1:
            raise Unreachable("the answer is lost")
        return heard[-1]

    monkeypatch.setattr(Line, "hear", lose)
    results = huey.enqueue_many([task.s(n) for n in range(500)])
    assert counts(huey) == {State.WAITING: 500}
    assert run_all(huey) == [result.id for result in results]


@pytest.mark.parametrize(("at", "queued"), [(0, 0), (199, 0), (200, 200), (450, 400)])
def test_a_task_that_cannot_be_written_stops_there_and_says_what_is_queued(
    huey: JobHuey, at: int, queued: int
) -> None:
    task = huey.task(name="plain")(lambda n: None)
    tasks = [task.s(n) for n in range(500)]
    tasks[at].args = (object(),)
    said = f"the {queued} tasks before it are queued" if queued else "has no JSON form$"
    with pytest.raises(NotSerializable, match=said):
        huey.enqueue_many(tasks)
    assert counts(huey) == ({State.WAITING: queued} if queued else {})
    ran = run_all(huey)
    tasks[at].args = (at,)
    huey.enqueue_many(tasks)
    assert counts(huey).get(State.WAITING) == 500 - queued
    assert [*ran, *run_all(huey)] == [task.id for task in tasks]


def test_tasks_that_were_queued_whole_are_queued_anew(huey: JobHuey) -> None:
    task = huey.task(name="plain")(lambda n: None)
    tasks = [task.s(n) for n in range(2)]
    tasks[1].args = (object(),)
    with pytest.raises(NotSerializable):
        huey.enqueue_many(tasks)
    tasks[1].args = (1,)
    for _ in range(2):
        huey.enqueue_many(tasks)
        assert run_all(huey) == [task.id for task in tasks]
