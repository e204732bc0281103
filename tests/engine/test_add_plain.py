"""Jobs of the usual kind are stored by the short way; it must leave what the long one leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keyspace
import pytest
from driving import counts, run_all, state_of

from tasks.engine import JobHuey, NotSerializable, State
from tasks.engine.adding import CHUNK, PLAIN
from tasks.engine.errors import Unreachable
from tasks.engine.ids import new_id

NOW_MS = 1_900_000_000_000
SPEC = {"id": "one", "q": "email", "t": "shop.send", "p": 0, "m": 1, "rq": "r"}


def stored(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch, calls: list[list[dict[str, Any]]]
) -> Any:
    """Add jobs at a fixed time, those of a call together. Returns: the whole keyspace."""
    real = huey.storage.scripts.begin
    monkeypatch.setattr(
        huey.storage.scripts, "begin", lambda name, _, *args: real(name, NOW_MS, *args)
    )
    for specs in calls:
        rows = [(dict(spec), b"{}") for spec in specs]
        assert huey.storage.add(rows) == [("new", spec["id"]) for spec in specs]
    return keyspace.read(huey)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    "more", [{}, {"p": 7}, {"p": -100, "m": 5}, {"m": 3, "by": "parent"}], ids=str
)
def test_both_ways_leave_the_same_keys(
    make_huey: Callable[..., JobHuey], monkeypatch: pytest.MonkeyPatch, more: dict[str, Any],
    together: bool,
) -> None:  # fmt: skip
    ids = [f"job {n}" for n in range(150 if together else 3)]
    specs = [SPEC | more | {"id": job_id} for job_id in ids]
    calls = [specs] if together else [[spec] for spec in specs]
    ways: list[str] = []
    short = stored(_noting(make_huey(), ways), monkeypatch, calls)
    monkeypatch.setattr("tasks.engine.adding.PLAIN", frozenset())
    long = stored(_noting(make_huey(), ways), monkeypatch, calls)
    assert ways == ["add_plain" if together else "add_one"] * len(calls) + ["add"] * len(calls)
    assert short.kinds == long.kinds
    assert {key for key, ttl in short.ttl.items() if ttl > 0} == {
        key for key, ttl in long.ttl.items() if ttl > 0
    }
    assert set(short.all("job")) == set(ids)


def _noting(huey: JobHuey, ways: list[str]) -> JobHuey:
    """Let a Huey note which scripts it begins."""
    real = huey.storage.scripts.begin

    def begin(name: str, *args: Any) -> Any:
        ways.append(name)
        return real(name, *args)

    huey.storage.scripts.begin = begin  # type: ignore[method-assign]
    return huey


UNLIKE: dict[str, list[dict[str, Any]]] = {
    "tasks": [{"t": "shop.other"}, {}],
    "queues": [{}, {"q": "default"}],
    "parents": [{"by": "parent"}, {}],
    "an id twice": [{"id": "one"}, {"id": "one"}],
    "one unusual": [{}, {"tg": "late"}],
}


@pytest.mark.parametrize("why", UNLIKE)
def test_jobs_that_are_not_alike_go_the_long_way_together(huey: JobHuey, why: str) -> None:
    ways: list[str] = []
    rows = [(SPEC | {"id": new_id()} | more, b"{}") for more in UNLIKE[why]]
    answers = _noting(huey, ways).storage.add(rows)
    assert ways == ["add"]
    assert [status for status, _ in answers] == ["new", "same" if why == "an id twice" else "new"]


@pytest.mark.parametrize("field", ["due", "u", "ix", "tg", "mk", "bt", "hold", "delay"])
def test_what_is_unusual_takes_the_long_way(huey: JobHuey, field: str) -> None:
    assert field not in PLAIN
    value = {"due": NOW_MS * 2, "mk": 1, "hold": 1, "delay": 5}.get(field, "x")
    ways: list[str] = []
    rows = [(SPEC | {"id": new_id(), field: value}, b"{}")]
    assert _noting(huey, ways).storage.add(rows)[0][0] == "new"
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


def test_a_chunk_is_made_while_redis_stores_the_one_before_and_sent_when_that_is_stored(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that are under way Redis may read the smaller one first."""
    events: list[str] = []
    scripts = huey.storage.scripts
    begin, end = scripts.begin, scripts.end
    monkeypatch.setattr(scripts, "begin", lambda *args: (events.append("sent"), begin(*args))[1])
    monkeypatch.setattr(scripts, "end", lambda begun: (events.append("stored"), end(begun))[1])

    def rows() -> Any:
        for _ in range(3):
            events.append("made")
            yield from [(SPEC | {"id": new_id()}, b"{}") for _ in range(CHUNK)]

    huey.storage.add(rows())
    again = ["made", "stored", "sent"]
    assert events == ["made", "sent", *again, *again, "stored"]


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


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_chunk_whose_answer_is_lost_is_asked_for_again(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    task = huey.task(name="plain")(lambda n: None)
    end, ended = huey.storage.scripts.end, list[str]()

    def heard(begun: Any) -> Any:
        answer = end(begun)
        ended.append(begun.name)
        if len(ended) == lost + 1:
            raise Unreachable("the answer is lost")
        return answer

    monkeypatch.setattr(huey.storage.scripts, "end", heard)
    huey.enqueue_many([task.s(n) for n in range(500)])
    assert counts(huey) == {State.WAITING: 500}
    assert len(run_all(huey)) == 500


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
