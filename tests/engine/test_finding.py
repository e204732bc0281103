"""Jobs are found by index where there is one, within a budget where there is none, and never missed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest
from driving import run_all
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from searched import Shop, ids, walk

from tasks.engine import EngineError, JobFilter, JobHuey, State, Term, UnknownQueue, rows
from tasks.engine.operating.freezing import frozen, thaw
from tasks.engine.reading import finding
from tasks.engine.records import Job
from tasks.engine.rows import score
from tasks.keyring import Keyring, new_key

S = State


# Each condition, and what it means said plainly


FIELDS: tuple[tuple[Term, Callable[[Job], bool]], ...] = (
    (Term("task", ("send",)), lambda j: j.task.endswith(".send")),
    (Term("queue", ("email",)), lambda j: j.queue == "email"),
    (Term("state", ("failed", "retrying")), lambda j: j.state in ("failed", "retrying")),
    (Term("state", ("cancelled",)), lambda j: j.state == "cancelled"),
    (Term("tag", ("vip",)), lambda j: "vip" in j.tags),
    (Term("by", ("nobody",)), lambda j: j.enqueued_by == "nobody"),
    (Term("to", ("p3@example.org",)), lambda j: j.task.endswith("send") and j.args[0] == "p3@example.org"),
    (Term("to", ("p1@*",)), lambda j: j.task.endswith("send") and j.args[0].startswith("p1@")),
    (Term("args.user", ("3", "4")), lambda j: j.task.endswith("count") and j.args[0] in (3, 4)),
    (Term("args.text", ("hello*",)), lambda j: j.task.endswith("send") and j.args[1].startswith("hello")),
    (Term("error", ("5.1.1",)), lambda j: bool(j.error) and "5.1.1" in j.error.message),
    (Term("error", ("keyerror",)), lambda j: bool(j.error) and j.error.type == "KeyError"),
    (Term("text", ("p5@",)), lambda j: "p5@" in str(j.args) or (bool(j.error) and "p5@" in j.error.message)),
    (Term("attempt", (">0",)), lambda j: j.attempts_made > 0),
    (Term("attempt", ("1",)), lambda j: j.attempts_made == 1),
    (Term("recovered", ("yes",)), lambda j: False),
)  # fmt: skip


def test_any_two_conditions_find_exactly_what_matches(shop: Shop) -> None:
    jobs = shop.fill()
    group = next(job.group or "" for job in jobs if job.error and job.error.type == "KeyError")
    fields = (*FIELDS, (Term("group", (group,)), lambda j: j.group == group))

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.sampled_from(fields), st.booleans()), min_size=1, max_size=3),
           st.integers(3, 60))  # fmt: skip
    def check(chosen: list[tuple[tuple[Term, Callable[[Job], bool]], bool]], limit: int) -> None:
        terms = tuple(Term(term.field, term.values, no) for (term, _), no in chosen)
        expected = [j.id for j in jobs if all(means(j) != no for (_, means), no in chosen)]
        wanted = JobFilter(terms=terms)
        assert list(walk(shop.huey, wanted, limit)) == expected
        assert shop.huey.reads.count(wanted) == (len(expected), True)
        assert thaw(frozen(wanted)) == wanted

    check()


def test_one_field_is_answered_by_its_index_alone(shop: Shop) -> None:
    shop.fill()
    group = shop.huey.reads.jobs(JobFilter(error="KeyError")).items[0].group
    for wanted in (
        JobFilter(task="send", state=S.FAILED),
        JobFilter(task="count", state=S.SCHEDULED),
        JobFilter(state=S.CANCELLED, tag="vip"),
        JobFilter(terms=(Term("group", (group or "",)),)),
        JobFilter(terms=(Term("to", ("p3@example.org",)),)),
        JobFilter(terms=(Term("state", ("failed", "cancelled")), Term("task", ("send",)))),
    ):
        page = shop.huey.reads.jobs(wanted, limit=500)
        assert page.total == page.of == page.searched == len(page.items) > 0, wanted


def test_the_smallest_index_is_walked_and_the_rest_is_tested(shop: Shop) -> None:
    shop.fill()
    page = shop.huey.reads.jobs(
        JobFilter(queue="email", state=S.COMPLETED, terms=(Term("to", ("p3@example.org",)),))
    )
    of_address = shop.huey.reads.jobs(JobFilter(terms=(Term("to", ("p3@example.org",)),))).of
    assert page.items
    assert (page.searched, page.of, page.total) == (of_address, of_address, None)


def test_an_error_is_looked_for_only_where_there_can_be_one(shop: Shop) -> None:
    jobs = shop.fill()
    page = shop.huey.reads.jobs(JobFilter(error="KeyError"))
    completed = sum(job.state is S.COMPLETED for job in jobs)
    assert completed > 0
    assert page.of == len(jobs) - completed
    assert {job.error.type for job in page.items if job.error} == {"KeyError"}
    assert shop.huey.reads.count(JobFilter(error="KeyError", state=S.COMPLETED)) == (0, True)


def crossing(shop: Shop) -> list[tuple[JobFilter, Callable[[Job], bool]]]:
    """Return searches by several indexes, and what each means."""
    group = shop.huey.reads.jobs(JobFilter(error="KeyError")).items[0].group or ""
    named, of_task, vip = Term("group", (group,)), Term("task", ("count",)), Term("tag", ("vip",))
    return [
        (JobFilter(terms=(named, of_task)), lambda j: j.group == group),
        (JobFilter(queue="default", terms=(named,)), lambda j: j.group == group),
        (JobFilter(queue="email", terms=(named,)), lambda j: False),
        (JobFilter(state=S.CANCELLED, terms=(vip, Term("task", ("send",)))), lambda j: j.state == "cancelled" and "vip" in j.tags),
        (JobFilter(queue="email", state=S.CANCELLED, tag="vip"), lambda j: j.state == "cancelled" and "vip" in j.tags),
    ]  # fmt: skip


def test_several_indexes_are_crossed_so_that_no_job_is_tested(shop: Shop) -> None:
    jobs = shop.fill()
    for wanted, means in crossing(shop):
        expected = [job.id for job in jobs if means(job)]
        assert list(walk(shop.huey, wanted, 3)) == expected
        page = shop.huey.reads.jobs(wanted, limit=500)
        assert page.total == page.of == len(expected), wanted
        survey = shop.huey.reads.survey(wanted, bars=24)
        assert (survey.count, survey.exact) == (len(expected), True)
        assert sum(survey.bars) == len(expected)
        assert sum(survey.failed) == sum(
            job.state == "failed" for job in jobs if job.id in expected
        )
        for job in (job for job in jobs if job.id in expected[:2]):
            assert (
                shop.huey.reads.place(wanted, job.changed_at).number == expected.index(job.id) + 1
            )


def test_crossed_indexes_keep_to_the_times_of_a_search(shop: Shop) -> None:
    jobs = shop.fill()
    wanted, means = crossing(shop)[0]
    inside = [job for job in jobs if means(job)][2:6]
    timed = replace(wanted, since=inside[-1].changed_at, until=inside[0].changed_at)
    assert list(walk(shop.huey, timed, 3)) == [job.id for job in inside]
    assert shop.huey.reads.count(timed) == (4, True)
    up = shop.huey.reads.jobs(timed, f"n{score(inside[2].changed_at)}", 1)
    assert ids(up) == [inside[1].id]


def test_indexes_that_are_too_large_to_be_crossed_are_walked(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill()
    found = [
        (list(walk(shop.huey, wanted)), shop.huey.reads.survey(wanted, 24).failed)
        for wanted, _ in crossing(shop)
    ]
    monkeypatch.setattr(finding, "CROSSED", 1)
    walked = [
        (list(walk(shop.huey, wanted)), shop.huey.reads.survey(wanted, 24).failed)
        for wanted, _ in crossing(shop)
    ]
    assert [ids for ids, _ in walked] == [ids for ids, _ in found]
    assert [sum(failed) for _, failed in walked] == [sum(failed) for _, failed in found]
    assert shop.huey.reads.jobs(crossing(shop)[0][0]).total is None


def test_an_argument_that_not_every_task_declares_is_searched_for(shop: Shop) -> None:
    @shop.huey.task(name="other")
    def other(to: str) -> None:
        pass

    job_id = other("p3@example.org").id
    assert job_id in walk(shop.huey, JobFilter(terms=(Term("to", ("p3@example.org",)),)))


def test_an_argument_is_found_within_lists(shop: Shop) -> None:
    @shop.huey.task(name="pack")
    def pack(lines: list[dict[str, object]]) -> None:
        pass

    job_id = pack([{"sku": "A1"}, {"sku": "B2", "sizes": [3, 4]}]).id
    found = {
        (field, value): [*walk(shop.huey, JobFilter(terms=(Term(field, (value,)),)))]
        for field, value in (("args.lines.1.sku", "b2"), ("args.lines.sku", "A1"), ("args.lines.sizes", "4"),
                             ("args.lines.0.sku", "b2"), ("args.lines.7.sku", "b2"))
    }  # fmt: skip
    assert [*found.values()] == [[job_id], [job_id], [job_id], [], []]


def test_a_task_is_found_by_its_last_part_also_where_this_process_does_not_know_it(
    shop: Shop, make_huey: Callable[..., JobHuey]
) -> None:
    other = make_huey(shop.huey.name)  # of another version of the program
    here = shop.send.schedule(args=("ada@example.org", ""), delay=60)
    there = {
        name: other.task(name=name, queue="email")(lambda to: None).schedule(args=("x",), delay=60)
        for name in ("old.send", "mail.old.send", "resend")
    }

    def found(word: str, state: State | None = None) -> set[str]:
        return set(walk(shop.huey, JobFilter(task=word, state=state)))

    both = {here.id, there["old.send"].id, there["mail.old.send"].id}
    assert found("send") == found("send", S.SCHEDULED) == both
    assert found("old.send", S.SCHEDULED) == both - {here.id}
    assert found("resend") == {there["resend"].id}
    assert found("end") == set()


def test_a_word_is_looked_for_by_redis_itself_also_in_failed_or_delayed_jobs_and_beside_secrets(
    make_huey: Callable[..., JobHuey], monkeypatch: pytest.MonkeyPatch
) -> None:
    huey = make_huey(cipher=Keyring([new_key()]))

    @huey.task(name="pay", secret=("card",))
    def pay(card: str, note: object = None) -> None:
        raise KeyError(note)

    for n in range(20):
        pay(f"visa number {n}", f"course {n}")
    run_all(huey)
    for n in range(20, 40):
        pay.schedule(args=(f"visa number {n}", f"course {n}"), delay=60)
    typed = pay.schedule(args=("visa number", date(2026, 11, 24)), delay=60)
    read: list[str] = []
    job_of = rows.job_of
    monkeypatch.setattr(rows, "job_of", lambda row: read.append(row.id) or job_of(row))

    def found(word: str) -> tuple[int, int]:
        read.clear()
        return len(list(walk(huey, JobFilter(text=word)))), len(read)

    assert found("course 7") == found("course 37") == (1, 2)  # a typed value is read in any case
    assert found("2026-11-24") == (1, 1)
    assert found("visa number") == (0, 1)
    assert read == [typed.id]


def test_times_bound_every_way(shop: Shop) -> None:
    jobs = shop.fill()
    since, until = jobs[60].changed_at, jobs[20].changed_at
    inside = [j.id for j in jobs if since <= j.changed_at <= until]
    assert list(walk(shop.huey, JobFilter(since=since, until=until))) == inside
    assert shop.huey.reads.count(JobFilter(since=since, until=until)) == (len(inside), True)
    task = JobFilter(since=since, until=until, task="send")
    assert list(walk(shop.huey, task)) == [j.id for j in jobs if j.id in inside and j.task.endswith("send")]  # fmt: skip


def test_a_value_that_no_field_takes_is_refused(shop: Shop) -> None:
    for term, error in (
        (Term("queue", ("nowhere",)), UnknownQueue),
        (Term("state", ("dead",)), EngineError),
        (Term("attempt", ("many",)), EngineError),
        (Term("recovered", ("maybe",)), EngineError),
    ):
        with pytest.raises(error):
            shop.huey.reads.jobs(JobFilter(terms=(term,)))


def test_a_page_of_many_queues_costs_a_bounded_number_of_reads(
    make_huey: Callable[..., JobHuey],
) -> None:
    from tasks.engine import Queue

    huey = make_huey(queues=tuple(Queue(f"q{n}") for n in range(60)))
    tasks = [huey.task(name=f"t{n}", queue=f"q{n}")(lambda n: n) for n in range(60)]
    calls = [tasks[n % 60].s(n) for n in range(600)]
    huey.enqueue_many(calls)
    expected = [call.id for call in calls][::-1]
    assert list(walk(huey, JobFilter(), 50)) == expected
    assert huey.reads.count(JobFilter(terms=(Term("queue", ("q1", "q7")),))) == (20, True)
