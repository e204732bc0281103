"""Adding jobs: once for an id, once for a unique key, and only what can be kept."""

from __future__ import annotations

import inspect

import pytest
from driving import States, command, counts, run_all, state_of
from waiting import wait_until

from tasks.engine import EngineError, JobHuey, NotSerializable, State, TooLarge, UnknownQueue

S = State


def test_an_id_added_twice_is_one_job(huey: JobHuey) -> None:
    task = States(huey).task
    for _ in range(3):
        task.schedule(("completed",), id="welcome:7", delay=0.001)
    assert wait_until(lambda: run_all(huey), "it is due") == ["welcome:7"]
    assert run_all(huey) == []


def test_a_repeat_of_an_add_whose_reply_was_lost_is_no_second_run(huey: JobHuey) -> None:
    call = States(huey).task.s("completed")
    spec, data = {**huey.spec_of(call), "rq": "the same request"}, huey.envelope(call)
    assert huey.storage.add([(spec, data)]) == [("new", call.id)]
    assert huey.storage.add([(spec, data)]) == [("same", call.id)]
    assert run_all(huey) == [call.id]
    assert huey.storage.add([(spec, data)]) == [("same", call.id)]
    assert run_all(huey) == []


def test_pushed_twice_is_one_job_also_after_it_ran_and_was_deleted(huey: JobHuey) -> None:
    call = States(huey).task.s("completed")
    row = (call.id, huey.envelope(call), None)
    assert [outcome.done for outcome in huey.push([row])] == [True]
    assert run_all(huey) == [call.id]
    huey.push([row])
    command(huey, "delete", call.id)
    huey.push([row])
    assert run_all(huey) == []


@pytest.mark.parametrize("bad", ["", "a b", "x" * 65, "tab\t"])
def test_an_id_that_could_break_a_key_is_refused(huey: JobHuey, bad: str) -> None:
    task = States(huey).task.s("completed")
    task.id = bad
    with pytest.raises(EngineError, match="is refused"):
        huey.enqueue(task)


def test_a_task_of_an_unknown_queue_is_refused_at_once(huey: JobHuey) -> None:
    with pytest.raises(UnknownQueue, match="there are default, email"):
        huey.task(queue="emial")(print)


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a\x7f"])
def test_a_name_that_would_part_a_jobs_line_is_refused(huey: JobHuey, name: str) -> None:
    with pytest.raises(EngineError, match="without tab, newline"):
        huey.task(name=name)(lambda: None)
    assert not huey._registry._registry


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (object(), "argument how of .*ends"),
        ("\ud800", "argument of .*ends.* surrogates not allowed"),
    ],
)
def test_an_argument_without_a_json_form_is_refused_by_name(
    huey: JobHuey, how: object, says: str
) -> None:
    with pytest.raises(NotSerializable, match=says):
        States(huey).task(how)
    assert counts(huey) == {}


def test_an_envelope_over_its_limit_is_refused(huey: JobHuey) -> None:
    with pytest.raises(TooLarge, match="pass an id"):
        States(huey).task("x" * 70_000)


def test_many_jobs_are_added_in_their_order_and_may_be_delayed(huey: JobHuey) -> None:
    task = States(huey).task
    calls = [task.s("completed") for _ in range(450)]
    later = task.s("completed", delay=3600)
    results = huey.enqueue_many([*calls, later])
    assert [result.id for result in results] == [call.id for call in [*calls, later]]
    assert counts(huey) == {S.WAITING: 450, S.SCHEDULED: 1}
    assert run_all(huey) == [call.id for call in calls]


def test_many_added_jobs_keep_unique_keys_and_expiry(huey: JobHuey) -> None:
    @huey.task(unique="code:{user}", expires=3600)
    def send(user: int) -> None:
        """Nothing."""

    first = send(1).id
    results = huey.enqueue_many([send.s(1), send.s(2)])
    assert results[0].id == first
    assert counts(huey) == {S.WAITING: 2}
    assert all(huey.dequeue().expires_resolved for _ in range(2))


def test_a_second_job_of_a_unique_key_is_the_first(huey: JobHuey) -> None:
    @huey.task(unique="code:{user}")
    def send(user: int, text: str = "") -> None:
        """Nothing."""

    first, second, other = send(1), send(1, "again"), send(2)
    assert (second.id, other.id == first.id) == (first.id, False)
    assert run_all(huey) == [first.id, other.id]
    assert send(1).id != first.id


def test_a_unique_key_is_free_after_every_end_and_held_while_retrying(huey: JobHuey) -> None:
    fails = [True]

    @huey.task(unique="one", retries=1, retry_delay=3600)
    def send() -> None:
        if fails[0]:
            raise ValueError("no")

    first = send().id
    run_all(huey)
    assert state_of(huey, first) is S.RETRYING
    assert send().id == first
    command(huey, "cancel", first)
    second = send().id
    assert second != first
    outcome = command(huey, "retry", first)
    assert not outcome.done
    assert second in outcome.detail
    fails[0] = False
    run_all(huey)
    assert command(huey, "retry", first).done
    run_all(huey)
    assert huey.storage.client.keys(huey.storage.keys.of("unique", "*")) == []


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1,), {}), ((1, 2), {"c": 3}), ((), {"b": 1, "a": 2}), ((1,), {"a": 2}),
     ((1, 2, 3, 4), {}), ((1,), {"other": 2})],
)  # fmt: skip
@pytest.mark.parametrize("more", [False, True])
def test_arguments_are_named_as_python_names_them(
    huey: JobHuey, args: tuple[int, ...], kwargs: dict[str, int], more: bool
) -> None:
    def plain(a: int, b: int = 7, c: int = 8) -> None:
        """Nothing."""

    def starred(a: int, b: int = 7, *c: int, **rest: int) -> None:
        """Nothing."""

    func = starred if more else plain
    call = huey.task()(func).s(*args, **kwargs)
    try:
        bound = inspect.signature(func).bind_partial(*args, **kwargs)
        bound.apply_defaults()
        expected = dict(bound.arguments)
    except TypeError:
        expected = kwargs
    assert huey._named(call) == expected
