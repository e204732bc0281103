"""What Huey's words promise holds when a worker dies between, and its job is run again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from consumers import Consumers
from driving import run_all, state_of
from huey import chord, group
from waiting import wait_until

from tasks.engine import JobHuey, State


class Both:
    """Two processes' views of the same jobs, with the same tasks; `ran` lists what ran to its end."""

    def __init__(self, huey: JobHuey, victim: JobHuey) -> None:
        self.huey, self.victim = huey, victim
        self.ran: list[Any] = []
        self.add, self.total = self._tasks(huey)
        self._tasks(victim)

    def _tasks(self, one: JobHuey) -> tuple[Any, Any]:
        @one.task(name="add")
        def add(left: int, right: int = 0) -> int:
            self.ran.append(("add", left, right))
            return left + right

        @one.task(name="total")
        def total(values: list[int]) -> int:
            self.ran.append(("total", tuple(values)))
            return sum(values)

        return add, total

    def die_with_one(self) -> Any:
        """Let the victim take a job and die before its commit; return the job's late self."""
        held = self.victim.dequeue()
        self.huey.lease.sweep({self.victim.lease.proc: "killed"})
        return held

    def totals(self) -> list[Any]:
        return [entry[1] for entry in self.ran if entry[0] == "total"]


@pytest.fixture
def both(huey: JobHuey, make_huey: Callable[..., JobHuey]) -> Both:
    return Both(huey, make_huey(huey.name))


def test_a_chord_fires_once_when_a_member_is_redelivered(both: Both) -> None:
    result = both.huey.enqueue(chord([both.add.s(n, 1) for n in range(4)], both.total.s()))
    late = both.die_with_one()
    run_all(both.huey)
    assert both.totals() == [(1, 2, 3, 4)]
    both.victim.execute(late)  # its late commit is refused: no second member, no second callback
    run_all(both.huey)
    assert both.totals() == [(1, 2, 3, 4)]
    assert result.callback.get() == 10


def test_a_chord_fires_once_when_the_last_member_is_redelivered(both: Both) -> None:
    both.huey.enqueue(chord([both.add.s(n) for n in range(3)], both.total.s()))
    for _ in range(2):
        both.huey.execute(both.huey.dequeue())
    late = both.die_with_one()
    assert both.totals() == []
    run_all(both.huey)
    both.victim.execute(late)
    run_all(both.huey)
    assert both.totals() == [(0, 1, 2)]


def test_a_chords_callback_that_is_redelivered_gets_the_same_results(both: Both) -> None:
    both.huey.enqueue(chord([both.add.s(n) for n in range(3)], both.total.s()))
    for _ in range(3):
        both.huey.execute(both.huey.dequeue())
    both.die_with_one()
    run_all(both.huey)
    assert both.totals() == [(0, 1, 2)]


@pytest.mark.parametrize("size", [1, 3])
def test_a_member_run_again_by_hand_fires_no_second_callback(both: Both, size: int) -> None:
    members = [both.add.s(n) for n in range(size)]
    both.huey.enqueue(chord(members, both.total.s()))
    run_all(both.huey)
    for member in members:
        both.huey.commands.retry([member.id])
    run_all(both.huey)
    assert both.totals() == [tuple(range(size))]


def test_a_callback_that_failed_runs_again_by_hand_with_its_results(
    both: Both, huey: JobHuey
) -> None:
    fails = [True]

    @huey.task(name="sum")
    def sum_of(values: list[int]) -> int:
        if fails:
            raise ValueError("not today")
        return sum(values)

    result = huey.enqueue(chord([both.add.s(n) for n in range(3)], sum_of.s()))
    run_all(huey)
    callback = result.callback.id
    assert state_of(huey, callback) is State.FAILED
    fails.clear()
    huey.commands.retry([callback])
    run_all(huey)
    assert huey.reads.job(callback).result == 3


def test_a_group_member_that_is_redelivered_runs_alone(both: Both) -> None:
    results = both.huey.enqueue(group([both.add.s(n) for n in range(4)]))
    both.die_with_one()
    run_all(both.huey)
    assert sorted(entry[1] for entry in both.ran) == [0, 1, 2, 3]
    assert results.get() == [0, 1, 2, 3]


def test_a_pipelines_child_comes_once_when_its_parent_is_redelivered(both: Both) -> None:
    both.huey.enqueue(both.add.s(1, 1).then(both.add, 10))
    late = both.die_with_one()
    run_all(both.huey)
    both.victim.execute(late)
    run_all(both.huey)
    assert [entry for entry in both.ran if entry == ("add", 10, 2)] == [("add", 10, 2)]


def test_a_job_that_expired_while_its_worker_was_dead_does_not_run(both: Both) -> None:
    job_id = both.add(1, expires=600).id
    both.die_with_one()
    later = both.huey._get_timestamp() + timedelta(seconds=900)
    both.huey.execute(both.huey.dequeue(), later)
    job = both.huey.reads.job(job_id)
    assert (job.state, job.reason, both.ran) == (State.CANCELLED, "expired", [])


def test_a_revocation_that_comes_while_its_worker_is_dead_holds(both: Both) -> None:
    result = both.add(1)
    both.die_with_one()
    result.revoke()
    run_all(both.huey)
    job = both.huey.reads.job(result.id)
    assert (job.state, job.reason, both.ran) == (State.CANCELLED, "revoked", [])
    assert not both.huey.is_revoked(result.task)


def test_a_revocation_once_is_used_up_by_the_run_that_counts(both: Both) -> None:
    both.add.revoke(revoke_once=True)
    first = both.add(1).id
    both.die_with_one()
    second = both.add(2).id
    run_all(both.huey)
    assert state_of(both.huey, first) is State.CANCELLED
    assert state_of(both.huey, second) is State.COMPLETED


@pytest.mark.slow(reason="a process dies and its lease ends")
def test_a_worker_killed_between_members_fires_a_chord_once(consumers: Consumers) -> None:
    app, huey = consumers.app, consumers.huey
    members = [app.good.s() for _ in range(20)] + [app.held.s("gate") for _ in range(4)]
    result = huey.enqueue(chord(members, app.many.s()))
    victim = consumers.start()
    consumers.reach({State.COMPLETED: 20, State.ACTIVE: 4})
    victim.kill()
    consumers.start()
    held = [member.id for member in members[20:]]
    wait_until(lambda: all(huey.reads.job(i).recovered for i in held), "recovered")
    app.open_gate("gate")
    consumers.reach({State.COMPLETED: 25})
    callback = huey.reads.job(result.callback.id)
    assert callback.result == ["well"] * 20 + [1] * 4
    assert (callback.attempts_made, callback.recovered) == (1, 0)
