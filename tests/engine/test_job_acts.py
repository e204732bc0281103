"""What an operator may do to one job: it answers for itself, and doing it twice changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from driving import States, run_all, run_one, state_of

from tasks.engine import MASK, EngineError, JobFilter, JobHuey, State, UnknownJob, UnknownQueue
from tasks.engine.operating.acts import APPLIES

S = State
TOMORROW = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
DO: dict[str, Callable[[JobHuey, str], Any]] = {
    "retry": lambda huey, i: huey.commands.retry([i]),
    "run_now": lambda huey, i: huey.commands.run_now([i]),
    "cancel": lambda huey, i: huey.commands.cancel([i], by="ada"),
    "delete": lambda huey, i: huey.commands.delete([i]),
    "discard": lambda huey, i: huey.commands.act("discard", [i], {"why": "emptied"}),
    "reschedule": lambda huey, i: huey.commands.reschedule([i], at=TOMORROW),
    "move": lambda huey, i: huey.commands.move([i], "email"),
    "priority": lambda huey, i: huey.commands.set_priority([i], 7),
    "tag": lambda huey, i: huey.commands.tag([i], "outage"),
    "untag": lambda huey, i: huey.commands.untag([i], "none"),
    "patch": lambda huey, i: huey.commands.patch([i], "how", "other"),
}


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("verb", sorted(DO))
def test_each_act_applies_to_the_states_that_its_table_names(
    huey: JobHuey, verb: str, state: State
) -> None:
    job_id = States(huey).make(state)
    (outcome,) = DO[verb](huey, job_id)
    if verb == "untag":
        assert (outcome.done, outcome.state, outcome.detail) == (False, state, "it has no such tag")
        return
    assert outcome.done == (state in APPLIES[verb]), outcome
    if not outcome.done:
        assert outcome.detail == f"the job is {state.value}"
        assert state_of(huey, job_id) is state


@pytest.mark.parametrize("verb", [v for v in sorted(DO) if v not in ("untag", "retry")])
def test_done_twice_is_done_once(huey: JobHuey, verb: str) -> None:
    states = States(huey)
    job_id = states.make(S.SCHEDULED if S.SCHEDULED in APPLIES[verb] else APPLIES[verb][0])
    assert DO[verb](huey, job_id)[0].done
    again = DO[verb](huey, job_id)[0]
    assert not again.done
    assert again.detail


def test_every_act_says_when_there_is_no_such_job(huey: JobHuey) -> None:
    for verb, do in DO.items():
        if verb == "patch":
            with pytest.raises(UnknownJob):
                do(huey, "nothing")
        else:
            assert do(huey, "nothing")[0].detail == "there is no such job", verb


def test_a_job_is_put_off_and_brought_forward_in_place(huey: JobHuey) -> None:
    job_id = States(huey).make(S.WAITING)
    assert huey.commands.reschedule([job_id], at=TOMORROW)[0].state is S.SCHEDULED
    job = huey.reads.job(job_id)
    assert (job.state, job.scheduled_for) == (S.SCHEDULED, TOMORROW)
    later = huey.commands.reschedule([job_id], delay_s=2 * 86400)[0]
    assert later.done
    assert huey.reads.job(job_id).scheduled_for > TOMORROW
    assert huey.commands.reschedule([job_id], delay_s=0)[0].state is S.WAITING
    assert run_all(huey) == [job_id]


def test_a_retrying_job_that_is_put_off_stays_retrying(huey: JobHuey) -> None:
    job_id = States(huey).make(S.RETRYING)
    huey.commands.run_now([job_id])
    assert huey.commands.reschedule([job_id], at=TOMORROW)[0].state is S.RETRYING


def test_a_new_priority_changes_the_order_and_equals_keep_theirs(huey: JobHuey) -> None:
    task = States(huey).task
    first, second, third, fourth = (task("completed").id for _ in range(4))
    huey.commands.set_priority([fourth, third], 5)
    huey.commands.set_priority([first], -100)
    assert huey.reads.job(third).priority == 5
    assert run_all(huey) == [third, fourth, second, first]


def test_a_moved_job_waits_in_the_other_queue_and_runs_there(huey: JobHuey) -> None:
    states = States(huey)
    waiting, later = states.make(S.WAITING), states.make(S.SCHEDULED)
    due = huey.reads.job(later).scheduled_for
    huey.commands.move([waiting, later], "email")
    assert [huey.reads.job(i).queue for i in (waiting, later)] == ["email", "email"]
    assert huey.reads.job(later).scheduled_for == due
    default, email = huey.reads.snapshot().queues
    assert not any(default.counts.values())
    assert {s: n for s, n in email.counts.items() if n} == {S.WAITING: 1, S.SCHEDULED: 1}
    huey.commands.run_now([later])
    assert run_all(huey) == [waiting, later]
    assert huey.reads.queue("email").counts[S.COMPLETED] == 2


def test_a_job_moves_to_a_declared_queue_only(huey: JobHuey) -> None:
    with pytest.raises(UnknownQueue, match="'elsewhere'.*default, email"):
        huey.commands.move(["x"], "elsewhere")


def test_tags_come_and_go_also_on_jobs_that_ended(huey: JobHuey) -> None:
    failed = States(huey).make(S.FAILED)
    before = huey.reads.job(failed)
    huey.commands.tag([failed], "outage", "smtp")
    huey.commands.tag([failed], "smtp", "monday")
    job = huey.reads.job(failed)
    assert job.tags == ("outage", "smtp", "monday")
    assert (job.changed_at, job.error) == (before.changed_at, before.error)
    assert [j.id for j in huey.reads.jobs(JobFilter(tag="smtp")).items] == [failed]
    huey.commands.untag([failed], "smtp")
    assert huey.reads.job(failed).tags == ("outage", "monday")
    huey.commands.retry([failed])
    assert huey.reads.job(failed).tags == ("outage", "monday")


@pytest.mark.parametrize("tags", [["two words"], ["a,b"], [""], ["x" * 41], [], [str(n) for n in range(11)]])  # fmt: skip
def test_what_is_no_tag_is_refused(huey: JobHuey, tags: list[str]) -> None:
    with pytest.raises(EngineError, match="tag"):
        huey.commands.tag(["x"], *tags)


def test_a_job_has_at_most_twenty_tags(huey: JobHuey) -> None:
    job_id = States(huey).make(S.WAITING)
    huey.commands.tag([job_id], *(f"a{n}" for n in range(10)))
    huey.commands.tag([job_id], *(f"b{n}" for n in range(10)))
    assert "at most 20" in huey.commands.tag([job_id], "one-more")[0].detail
    assert len(huey.reads.job(job_id).tags) == 20


def mailer(huey: JobHuey) -> Any:
    seen: list[Any] = []

    @huey.task(queue="email", name="post", secret=("code",), index=("to",), unique="{to}")
    def post(to: str, code: str | None, data: dict[str, Any], *, copies: int = 1) -> None:
        seen.append((to, code, data, copies))

    post.seen = seen
    return post


def test_one_argument_is_changed_and_a_secret_stays_closed(huey: JobHuey) -> None:
    post = mailer(huey)
    job_id = post("ada@old.example", "1234", {"course": "Logic", "n": 1}).id
    huey.commands.patch([job_id], "to", "ada@new.example")
    huey.commands.patch([job_id], "data.course", "Sets")
    huey.commands.patch([job_id], "copies", 2)
    job = huey.reads.job(job_id)
    assert job.args == ["ada@new.example", MASK, {"course": "Sets", "n": 1}]
    huey.commands.patch([job_id], "code", "9876")
    assert b"9876" not in huey.commands.envelopes([job_id])[0]
    run_one(huey)
    assert post.seen == [("ada@new.example", "9876", {"course": "Sets", "n": 1}, 2)]


def test_a_changed_argument_changes_its_index_and_its_unique_key(huey: JobHuey) -> None:
    post = mailer(huey)
    job_id = post("ada@old.example", None, {}).id
    huey.commands.patch([job_id], "to", "ada@new.example")
    assert post("ada@new.example", None, {}).id == job_id
    other = post("ada@old.example", None, {}).id
    assert other != job_id
    refused = huey.commands.patch([other], "to", "ada@new.example")[0]
    assert (refused.done, refused.detail) == (False, f"job {job_id} holds the same unique key")
    keys = huey.storage.client.keys(huey.storage.keys.of("index", "*"))
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [("nobody", 1, "do not fit"), ("to", 5, "to of .* is str; int was given"),
     ("to.x", 5, "nothing to set inside a str"), ("copies", True, "copies"), ("two words", 1, "no argument")],
)  # fmt: skip
def test_what_does_not_fit_the_task_is_refused(
    huey: JobHuey, name: str, value: Any, says: str
) -> None:
    job_id = mailer(huey)("ada@example.org", None, {}).id
    before = huey.reads.job(job_id)
    with pytest.raises(EngineError, match=says):
        huey.commands.patch([job_id], name, value)
    assert huey.reads.job(job_id) == before


def test_a_type_is_named_as_it_was_written_where_annotations_are_objects(huey: JobHuey) -> None:
    def charge(amount: float) -> None: ...

    charge.__annotations__["amount"] = float  # as in a module without `from __future__`
    job_id = huey.task(name="charge")(charge)(1.5).id
    with pytest.raises(EngineError, match=r"amount of \S*charge is float; str was given"):
        huey.commands.patch([job_id], "amount", "lots")


def test_a_failed_job_is_changed_and_runs_again_with_it(huey: JobHuey) -> None:
    job_id = States(huey).make(S.FAILED)
    error = huey.reads.job(job_id).error
    huey.commands.patch([job_id], "how", "completed")
    assert huey.reads.job(job_id).error == error
    huey.commands.retry([job_id])
    run_one(huey)
    assert state_of(huey, job_id) is S.COMPLETED


def test_a_change_made_from_old_arguments_is_refused(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = mailer(huey)("ada@example.org", None, {}).id
    stale = huey.commands.envelopes([job_id])
    huey.commands.patch([job_id], "copies", 2)
    monkeypatch.setattr(huey.commands, "envelopes", lambda ids: stale)
    assert huey.commands.patch([job_id], "copies", 3)[0].detail == "its arguments changed meanwhile"
    assert huey.reads.job(job_id).kwargs == {"copies": 2}


def test_a_retry_with_other_arguments_moves_its_index(huey: JobHuey) -> None:
    post = mailer(huey)
    job_id = post("ada@old.example", "1", {}).id
    huey.commands.cancel([job_id])
    huey.commands.retry([job_id], args=["ada@new.example", MASK, {}])
    assert post("ada@new.example", None, {}).id == job_id
    run_one(huey)
    assert post.seen == [("ada@new.example", "1", {}, 1)]


def test_a_discarded_job_leaves_nothing(huey: JobHuey) -> None:
    job_id = States(huey).make(S.WAITING)
    DO["discard"](huey, job_id)
    left = [key for key in huey.storage.client.keys("*") if job_id.encode() in key]
    assert left == []
    assert not any(huey.reads.queue("default").counts.values())
