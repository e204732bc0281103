"""What a worker writes of jobs that simply completed is what lib/commit would have written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import keyspace
import pytest
from driving import state_of
from machine import plan

from tasks.engine import JobHuey, State
from tasks.engine.figures.metrics import bucket
from tasks.engine.running import completing
from tasks.engine.running.completing import report
from tasks.engine.running.outcome import Outcome
from tasks.engine.storage import Answer, Handed

NOW_MS = 1_900_000_000_000
SPEC = {"q": "default", "t": "shop.send", "p": 0, "m": 1, "rq": "r"}
RAN_S = 0.25


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[JobHuey, int], None]:
    """Let the engine's scripts run at a given time."""

    def go(huey: JobHuey, ms: int) -> None:
        scripts = huey.storage.scripts
        real = getattr(scripts, "real", scripts.begin)
        monkeypatch.setattr(scripts, "real", real, raising=False)

        def begin(name: str, first: Any, *args: Any) -> Any:
            return real(name, first if name == "job" else ms, *args)

        monkeypatch.setattr(scripts, "begin", begin)

    return go


def add(huey: JobHuey, many: int, **more: Any) -> list[str]:
    ids = [f"job{n}" for n in range(many)]
    specs = json.dumps([SPEC | {"id": job_id} | more for job_id in ids])
    answers = huey.storage.scripts.run("add", 0, specs, *[b'{"n": 1}'] * many)
    assert [status for status, _ in answers] == [b"new"] * many
    return ids


def take(huey: JobHuey, want: int, held: int = 0) -> list[Handed]:
    found = huey.storage.finish_and_fetch([], [], plan(want) | {
        "most": want + held, "left": 10**6, "each": 0, "pace": {"shop.send": 1}
    })  # fmt: skip
    return list(found.jobs)


def completed(job: Handed, result: bytes | None = b'"sent"', ran_s: float = 0.0) -> Outcome:
    return Outcome(job, job.task, job.at + 2 * ran_s, ran_s, to="completed", kind="completed",
                   retries_left=job.allowed - 2, result=result, unrevoke=True)  # fmt: skip


def commit(huey: JobHuey, outcomes: list[Outcome]) -> tuple[Answer, bool]:
    """Send outcomes. Returns: the answer, and whether the worker wrote any of them."""
    said = report(outcomes, huey.storage.proc())
    words = huey.storage.words(said.done, None, (), said.plain)
    return huey.storage.answer(huey.storage.ask(words, said.blobs)), bool(said.plain)


@pytest.mark.parametrize("held", [0, 2])
@pytest.mark.parametrize("result", [None, b'"250 ok"'], ids=["no result", "a result"])
@pytest.mark.parametrize(
    "more",
    [{}, {"p": 7, "m": 5}, {"by": "parent"}, {"ix": "aaaa bbbb"}, {"ix": "aaaa", "by": "x", "tg": "a b"}],
    ids=str,
)  # fmt: skip
def test_both_ways_leave_the_same_keys(
    make_huey: Callable[..., JobHuey], at: Callable[..., None], monkeypatch: pytest.MonkeyPatch,
    more: dict[str, Any], result: bytes | None, held: int,
) -> None:  # fmt: skip
    left, plain = [], []
    for _ in range(2):
        huey = make_huey()
        huey.storage.proc = lambda: "worker:1:abcdefgh"
        at(huey, NOW_MS)
        add(huey, 3, **more)
        at(huey, NOW_MS + 1234)
        jobs = take(huey, 3 - held, held)
        assert [job.starts for job in jobs] == [True] * (3 - held) + [False] * held
        at(huey, NOW_MS + 1234 + 250 + 500 * (held > 0))
        answer, was_plain = commit(huey, [completed(job, result, RAN_S) for job in jobs])
        assert set(answer.statuses) <= {"ok"}
        left.append(keyspace.read(huey))
        plain.append(was_plain)
        monkeypatch.setattr(completing, "MOST", 0)
    assert plain == [True, False]
    # the last run of those that started at once ended half a second before the call
    skip = ("runs", "minute") if held else ()
    assert {k: v for k, v in left[0].kinds.items() if k not in skip} == {
        k: v for k, v in left[1].kinds.items() if k not in skip
    }
    assert keyspace.faults(left[0]) == []


@pytest.mark.parametrize("by_worker", [True, False])
def test_a_wait_is_counted_once_also_of_a_held_job_whose_start_a_beat_told(
    huey: JobHuey, at: Callable[..., None], monkeypatch: pytest.MonkeyPatch, by_worker: bool
) -> None:
    monkeypatch.setattr(completing, "MOST", 100 * by_worker)
    at(huey, NOW_MS)
    add(huey, 2)
    for want, held in ((0, 2), (1, 1)):  # at first both are held, and one goes back
        at(huey, NOW_MS + 1000 * (1 + want))
        job, *others = take(huey, want, held)
        huey.lease.swap(finished=(), taken=[job])
        huey.lease.begin(job)
        huey.lease.beat()
        at(huey, NOW_MS + 2000)
        commit(huey, [completed(job), *(Outcome(other, to="release") for other in others)])
    (fields,) = keyspace.read(huey).all("minute").values()
    assert {name: n for name, n in fields.items() if "|w" in name} == {
        f"default|shop.send|w{bucket(ms)}": "1" for ms in (0, 1000)
    }


def test_a_tag_that_came_while_a_job_ran_is_kept(huey: JobHuey) -> None:
    ids = add(huey, 2)
    jobs = take(huey, 2)
    assert huey.commands.tag([ids[1]], "urgent")[0].done
    answer, was_plain = commit(huey, [completed(job) for job in jobs])
    assert (answer.statuses, was_plain) == (["ok", "ok"], True)  # a word for each: one by one
    assert [list(huey.reads.job(job_id).tags) for job_id in ids] == [[], ["urgent"]]
    huey.storage.add([(SPEC | {"id": "later"}, b"{}")])
    assert commit(huey, [completed(job) for job in take(huey, 1)])[0].statuses == []
    assert state_of(huey, "later") is State.COMPLETED
    assert keyspace.faults(keyspace.read(huey)) == []


def test_one_that_is_no_longer_ours_leaves_the_others_as_they_are(
    huey: JobHuey, make_huey: Callable[..., JobHuey]
) -> None:
    ids = add(huey, 3)
    jobs = take(huey, 3)
    stale = jobs[1]._replace(token="1-abcdefgh")
    answer, was_plain = commit(huey, [completed(job) for job in (jobs[0], stale, jobs[2])])
    assert (answer.statuses, was_plain) == (["ok", "gone", "ok"], True)
    assert [state_of(huey, job_id) for job_id in ids] == [
        State.COMPLETED,
        State.ACTIVE,
        State.COMPLETED,
    ]
    assert keyspace.faults(keyspace.read(huey)) == []


def test_an_end_that_redis_has_not_reached_is_written_by_its_clock(
    huey: JobHuey, at: Callable[..., None]
) -> None:
    at(huey, NOW_MS)
    add(huey, 1)
    (job,) = take(huey, 1)
    at(huey, NOW_MS + 100)  # by its own count it ran for longer
    assert commit(huey, [completed(job, ran_s=RAN_S)])[0].statuses == ["ok"]
    found = huey.reads.job("job0")
    assert (found.run_ms, found.result) == (100, "sent")


@pytest.mark.parametrize("why", ["envelope", "many", "tagged before", "unique"])
def test_what_is_unusual_is_closed_by_the_scripts(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(completing, "MOST_BYTES", 2 if why == "envelope" else 2048)
    monkeypatch.setattr(completing, "MOST", 1 if why == "many" else 100)
    if why == "unique":
        add(huey, 1, u="aaaa")
    else:
        add(huey, 2)
    if why == "tagged before":
        huey.commands.tag(["job0", "job1"], "urgent")
    jobs = take(huey, 2)
    said = report([completed(job) for job in jobs], huey.storage.proc())
    assert len(said.outcomes) - len(said.done) == (why == "many")
    answer, _ = commit(huey, [completed(job) for job in jobs])
    assert set(answer.statuses) == {"ok"}
    assert {state_of(huey, job.id) for job in jobs} == {State.COMPLETED}
    assert keyspace.faults(keyspace.read(huey)) == []


def test_times_are_put_into_the_buckets_of_the_scripts(huey: JobHuey) -> None:
    text = "local b={} for n=0,3000 do b[n+1]=math.min(60,math.floor(math.log(n)*(2/math.log(2)))+1) end return b"
    by_lua = huey.storage.call("EVAL", text, 0)
    assert [bucket(ms) for ms in range(1, 3001)] == by_lua[1:]
    assert bucket(0) == 0
