"""Jobs are found by index where there is one, within a budget where there is none, and never missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import keyspace
import pytest
from driving import run_all, run_one
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.engine import (
    EngineError,
    JobFilter,
    JobHuey,
    Page,
    Permanent,
    State,
    Term,
    UnknownQueue,
    current_job,
    rows,
)
from tasks.engine.operating.freezing import frozen, thaw
from tasks.engine.reading import finding
from tasks.engine.records import Job
from tasks.engine.rows import score
from tasks.keyring import Keyring, new_key

S = State


def ids(page: Page) -> list[str]:
    return [job.id for job in page.items]


def walk(huey: JobHuey, wanted: JobFilter, limit: int = 50) -> Iterator[str]:
    """Walk every page from newest to oldest."""
    cursor = None
    while True:
        page = huey.reads.jobs(wanted, cursor, limit)
        yield from ids(page)
        if page.next is None:
            return
        cursor = page.next


def found_keys(huey: JobHuey) -> set[str]:
    stem = huey.storage.keys.of("found", "")
    return {key.decode().removeprefix(stem) for key in huey.storage.client.keys(stem + "*")}


class Shop:
    """Jobs of several tasks, queues and states, and what each is."""

    def __init__(self, huey: JobHuey) -> None:
        self.huey = huey

        @huey.task(name="send", queue="email", index=("to",), retries=1, retry_delay=3600)
        def send(to: str, text: str) -> None:
            if text.startswith("refuse"):
                raise Permanent(f"550 5.1.1 {to} is unknown")
            if text.startswith("later"):
                raise ConnectionError("no answer in 10 s")

        @huey.task(name="count", index=("user",))
        def count(user: int, how: str = "") -> None:
            current_job().log("counted")
            if how == "break":
                raise KeyError("course")

        self.send, self.count = send, count

    def fill(self) -> list[Job]:
        """Return jobs of every state."""
        calls = [self.send.s(f"p{n % 7}@example.org", f"{text} {n}")
                 for n, text in enumerate(("hello", "refuse", "later", "hello") * 10)]  # fmt: skip
        calls += [self.count.s(n % 5, "break" if n % 3 == 0 else "") for n in range(40)]
        self.huey.enqueue_many(calls)
        run_all(self.huey)
        for n in range(20):
            self.count.schedule((n,), delay=3600)
        waiting = [self.send(f"p{n}@example.org", "hello") for n in range(9)]
        self.huey.commands.cancel([result.id for result in waiting[:4]])
        self.huey.commands.tag([result.id for result in waiting[2:6]], "vip")
        return [self.huey.reads.job(job_id) for job_id in walk(self.huey, JobFilter())]


@pytest.fixture
def shop(huey: JobHuey) -> Shop:
    return Shop(huey)


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


# What the indexes hold, over a job's life


def test_a_job_that_just_runs_enters_no_index(shop: Shop) -> None:
    shop.huey.enqueue_many([shop.count.s(1) for _ in range(5)])
    assert found_keys(shop.huey) == set()
    run_all(shop.huey)
    assert found_keys(shop.huey) == set()


def test_index_entries_come_and_go_with_the_jobs_state(shop: Shop) -> None:
    huey, name = shop.huey, "test_finding.send"
    job_id = shop.send("ada@example.org", "later").id
    run_one(huey)
    group = huey.reads.job(job_id).group
    assert found_keys(huey) == {f"retrying:task:{name}", f"retrying:group:{group}"}
    huey.commands.tag([job_id], "vip")
    assert "retrying:tag:vip" in found_keys(huey)
    huey.commands.run_now([job_id])
    assert found_keys(huey) == set()
    assert huey.reads.job(job_id).group is None
    run_one(huey)
    assert found_keys(huey) == {f"failed:task:{name}", f"failed:group:{group}", "failed:tag:vip"}
    huey.commands.untag([job_id], "vip")
    assert found_keys(huey) == {f"failed:task:{name}", f"failed:group:{group}"}
    huey.commands.retry([job_id])
    assert found_keys(huey) == set()
    huey.commands.cancel([job_id])
    assert found_keys(huey) == {f"cancelled:task:{name}"}
    huey.commands.delete([job_id])
    assert found_keys(huey) == set()
    assert huey.storage.client.keys(huey.storage.keys.of("index", "*")) == []


def test_a_job_that_is_added_again_leaves_its_old_places(shop: Shop) -> None:
    huey = shop.huey
    first = shop.send.s("ada@example.org", "refuse")
    huey.enqueue(first)
    run_one(huey)
    again = shop.send.s("bob@example.org", "hello")
    again.id = first.id
    huey.enqueue(again)
    assert found_keys(huey) == set()
    ada, bob = (JobFilter(terms=(Term("to", (f"{n}@example.org",)),)) for n in ("ada", "bob"))
    assert (ids(huey.reads.jobs(ada)), ids(huey.reads.jobs(bob))) == ([], [first.id])


def test_retention_takes_index_entries_along(make_huey: Callable[..., JobHuey]) -> None:
    from tasks.engine import Queue

    huey = make_huey(queues=(Queue("default", retention_failed="1d/3"),))

    @huey.task(name="bad", index=("user",))
    def bad(user: int) -> None:
        raise Permanent("no")

    huey.enqueue_many([bad.s(n) for n in range(8)])
    run_all(huey)
    kept = huey.reads.jobs(JobFilter(state=S.FAILED))
    assert kept.total == 3
    assert huey.reads.jobs(JobFilter(task="bad", state=S.FAILED)).total == 3
    assert len(huey.storage.client.keys(huey.storage.keys.of("index", "*"))) == 3


# Surveys


def test_a_survey_counts_and_draws_over_time(shop: Shop) -> None:
    jobs = shop.fill()
    for wanted in (JobFilter(), JobFilter(terms=(Term("task", ("send",)), Term("queue", ("email",))))):  # fmt: skip
        survey = shop.huey.reads.survey(wanted, bars=24)
        matching = list(walk(shop.huey, wanted))
        assert (survey.count, survey.exact) == (len(matching), True)
        assert len(survey.bars) == len(survey.failed) == 24
        assert sum(survey.bars) == survey.count
        assert sum(survey.failed) == sum(j.state == "failed" for j in jobs if j.id in matching)
        assert survey.start is not None
        assert survey.start + timedelta(seconds=24 * survey.step_s) <= datetime.now(UTC)
        for bars in (0, 24):
            page = shop.huey.reads.jobs(wanted, bars=bars)
            before = shop.huey.storage.scripts.asked
            again = shop.huey.reads.survey(wanted, 24, page)
            assert (again.count, sum(again.bars), again.of) == (
                survey.count,
                survey.count,
                survey.of,
            )
            assert again.failed == survey.failed
            more = shop.huey.storage.scripts.asked - before
            assert more == ((0 if bars else 1) if page.total is not None else 2)


def test_a_survey_of_more_ranges_than_a_script_counts_is_made_in_parts(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = shop.fill()
    whole = shop.huey.reads.survey(JobFilter(), 24)
    monkeypatch.setattr(finding, "RANGES_AT_ONCE", finding.LEAST_SPANS)
    page = shop.huey.reads.jobs(JobFilter(), bars=24)
    before = shop.huey.storage.scripts.asked
    parts = shop.huey.reads.survey(JobFilter(), 24, page)
    assert shop.huey.storage.scripts.asked - before > 1
    assert len(parts.bars) == finding.LEAST_SPANS
    assert sum(parts.bars) == sum(whole.bars) == len(jobs)
    assert sum(parts.failed) == sum(whole.failed)


def test_a_survey_begins_with_the_span_that_holds_the_oldest_job(shop: Shop) -> None:
    jobs = shop.fill()
    key, now = shop.huey.storage.keys, shop.huey.reads.now_ms() * 1000
    old = next(job for job in jobs if job.state == "failed")
    shop.huey.storage.call(
        "ZADD", key.of("state", f"{old.queue}:failed"), now - 3 * 86_400_000_000, old.id
    )
    survey = shop.huey.reads.survey(JobFilter(state=State.FAILED), 24)
    assert survey.step_s == pytest.approx(7 * 86_400 / 24)
    assert survey.bars[13] == survey.failed[13] == 1


def test_a_survey_past_its_budget_says_how_far_it_got(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = shop.fill()
    monkeypatch.setattr("tasks.engine.reading.finding.SEARCH_ROWS", 50)
    survey = shop.huey.reads.survey(JobFilter(terms=(Term("attempt", (">0",)),)))
    assert (survey.exact, survey.searched, survey.of) == (False, 50, len(jobs))
    assert survey.count == sum(j.attempts_made > 0 for j in jobs[:50])


def test_what_a_job_queued_is_named_by_it_in_every_state(huey: JobHuey) -> None:
    @huey.task(name="leaf")
    def leaf(n: int) -> None:
        """Nothing."""

    @huey.task(name="root")
    def root() -> None:
        leaf.schedule((1,), delay=3600)
        leaf(2)

    leaf(0)  # nobody's
    parent = root.s().then(leaf, 3).error(leaf, 4)
    huey.enqueue(parent)
    assert huey.reads.children(huey.reads.job(parent.id)).items == []
    run_all(huey)
    job = huey.reads.job(parent.id)
    found = huey.reads.children(job)
    assert (found.total, {child.args[0] for child in found.items}) == (3, {1, 2, 3})
    assert [child.created_at for child in found.items] == sorted(c.created_at for c in found.items)
    assert job.then_id in [child.id for child in found.items]
    assert {child.enqueued_by for child in found.items} == {parent.id}
    few = huey.reads.children(job, limit=1)
    assert (few.total, len(few.items)) == (3, 2)  # the one that follows it, and one more
    for child in found.items:
        huey.commands.cancel([child.id])
        huey.commands.delete([child.id])
        assert keyspace.faults(keyspace.read(huey)) == []
    assert huey.reads.children(job).total == 0


def test_a_search_for_what_a_job_queued_is_exact_and_meets_nothing_else(huey: JobHuey) -> None:
    task = huey.task(name="leaf")(lambda: None)
    mine = []
    for n in range(40):
        spec = huey.spec_of(task.s()) | ({"by": "parent"} if n % 4 == 0 else {})
        huey.storage.add([(spec, huey.serialize_task(task.s(id=spec["id"])))])
        mine += [spec["id"]] if "by" in spec else []
    run_all(huey)
    wanted = JobFilter(terms=(Term("by", ("parent",)),))
    page = huey.reads.jobs(wanted)
    assert (set(ids(page)), page.total, page.searched) == (set(mine), 10, 10)
    assert huey.reads.jobs(replace(wanted, state=State.WAITING)).items == []
    others = huey.reads.jobs(JobFilter(terms=(Term("by", ("parent",), negated=True),)))
    assert (len(others.items), others.total) == (30, None)
