"""An operation pauses, keeps its pace, and tries a few first."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from bulking import add, canary, operate
from driving import States, run_all, run_one, state_of

from tasks.engine import EngineError, JobFilter, JobHuey, State
from tasks.engine.operating.bulk import Plan

S = State


def test_an_operation_pauses_goes_on_and_stops(tens: JobHuey) -> None:
    add(tens, 35)
    op_id = tens.commands.start_operation("cancel", filter=JobFilter(state=S.WAITING), by="a").id
    tens.commands.step_operations()
    assert tens.commands.pause_operation(op_id, by="ada").state == "paused"
    assert tens.commands.step_operations() == 0
    assert tens.commands.resume_operation(op_id).state == "running"
    tens.commands.step_operations()
    assert tens.commands.stop_operation(op_id).state == "stopped"
    assert tens.commands.step_operations() == 0
    assert tens.commands.resume_operation(op_id).state == "stopped"
    assert tens.reads.operation(op_id).done == 20
    assert tens.reads.queue("default").counts[S.WAITING] == 15
    said = [event.text for event in tens.reads.operation_events(op_id)]
    assert said == ["started by a", "paused by ada", "resumed", "stopped"]


def test_a_pace_is_kept_by_the_servers_clock(
    tens: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tens, 25)
    op_id = tens.commands.start_operation(
        "cancel", filter=JobFilter(state=S.WAITING), plan=Plan(pace=4)
    ).id
    now = int(tens.commands.stepper.bulk.record(op_id)["created"])
    done = []
    for second in range(6):
        monkeypatch.setattr(tens.reads, "now_ms", lambda at=now + 1000 * second: at)
        tens.commands.step_operations()
        key = tens.storage.keys.of("op", op_id)
        tens.storage.call("HSET", key, "stepped", now + 1000 * second)
        done.append(tens.reads.operation(op_id).done)
    assert done[0] == 1
    steps = [b - a for a, b in zip(done, done[1:], strict=False)]
    assert all(step in (4, 5) for step in steps), done
    monkeypatch.setattr(tens.reads, "now_ms", lambda: now + 3_600_000)
    tens.commands.step_operations()
    assert tens.reads.operation(op_id).done - done[-1] <= 10  # an hour's rest saves up little


def test_a_canary_that_fares_well_lets_the_others_go(tens: JobHuey) -> None:
    states = States(tens)
    op_id = canary(tens, states, share=75)
    operate(tens)
    assert tens.reads.operation(op_id).trying
    assert tens.reads.operation(op_id).done == 4
    states.ends["failed"] = _in_turn(True, False, True, True)
    run_all(tens)
    assert tens.commands.step_operations() == 1
    operate(tens)
    ended = tens.reads.operation(op_id)
    assert (ended.state, ended.done, ended.trying) == ("done", 30, False)
    assert ended.ends == {"completed": 3, "failed": 1}
    said = [event.text for event in tens.reads.operation_events(op_id)]
    assert said == ["started", "canary: 3 of 4 completed, going on", "done"]
    (again,) = tens.reads.operation_outcomes(op_id, which="failed")
    assert state_of(tens, again.id) is S.FAILED


def test_a_canary_that_fares_badly_pauses_the_operation_and_says_why(tens: JobHuey) -> None:
    states = States(tens)
    op_id = canary(tens, states, share=90)
    operate(tens)
    run_all(tens)
    assert tens.commands.step_operations() == 1
    paused = tens.reads.operation(op_id)
    assert (paused.state, paused.done) == ("paused", 4)
    assert paused.why == "canary: 0 of 4 completed, 90 % was asked for"
    assert tens.commands.step_operations() == 0
    assert tens.reads.queue("default").counts[S.FAILED] == 30
    resumed = tens.commands.resume_operation(op_id)
    assert (resumed.trying, resumed.why) == (False, "")
    operate(tens)
    assert tens.reads.operation(op_id).done == 30


def test_an_operation_waits_until_its_canary_has_ended(tens: JobHuey) -> None:
    states = States(tens)
    op_id = canary(tens, states, share=50)
    operate(tens)
    states.ends["failed"] = _in_turn(True, True, True)
    for _ in range(3):
        run_one(tens)
        assert tens.commands.step_operations() == 0
    assert tens.reads.operation(op_id).done == 4
    assert tens.reads.operation(op_id).left_s() is None


def _in_turn(*well: bool) -> Callable[[], str]:
    left = list(well)

    def end() -> str:
        from tasks.engine import Permanent

        if not left.pop(0):
            raise Permanent("again")
        return "well"

    return end


@pytest.mark.parametrize(
    ("kind", "plan", "says"),
    [("cancel", Plan(canary=5), "try some jobs first"), ("retry", Plan(pace=0), "no pace"),
     ("retry", Plan(pace=-1), "no pace"), ("retry", Plan(canary=5, share=0), "per cent")],
)  # fmt: skip
def test_a_plan_that_cannot_be_kept_is_refused(
    huey: JobHuey, kind: str, plan: Plan, says: str
) -> None:
    with pytest.raises(EngineError, match=says):
        huey.commands.start_operation(kind, filter=JobFilter(), plan=plan)
