"""What the dashboard may read, and what an operator may do to many jobs, queues and workers."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import FunctionType, ModuleType

import pytest
from driving import Span, States, run_all, run_one
from waiting import wait_until

from tasks.engine import (
    JobFilter,
    JobHuey,
    Page,
    State,
    UnknownJob,
    UnknownQueue,
    Unreachable,
    crontab,
    current_job,
)
from tasks.engine.wording import consumer_of

S = State


def add(huey: JobHuey, how_many: int, name: str = "note", queue: str = "default") -> list[str]:
    """Add waiting jobs. Returns: their ids, oldest first."""
    task = huey._registry._registry.get(f"test_operator_api.{name}")
    if task is None:
        huey.task(name=name, queue=queue)(lambda text: text)
        task = huey._registry._registry[f"test_operator_api.{name}"]
    calls = [task((f"{name} {n}",)) for n in range(how_many)]
    huey.enqueue_many(calls)
    return [call.id for call in calls]


def pages(
    huey: JobHuey, wanted: JobFilter, limit: int, cursor: str | None = None
) -> Iterator[Page]:
    """Walk from newest to oldest."""
    while True:
        page = huey.reads.jobs(wanted, cursor, limit)
        yield page
        if page.next is None:
            return
        cursor = page.next


def ids(page: Page) -> list[str]:
    return [job.id for job in page.items]


# Lists


@pytest.mark.parametrize("limit", [7, 50, 123, 200])
def test_pages_meet_every_job_once_and_back_again(huey: JobHuey, limit: int) -> None:
    expected = add(huey, 123)[::-1]
    walked = list(pages(huey, JobFilter(), limit))
    assert [job_id for page in walked for job_id in ids(page)] == expected
    assert {page.total for page in walked} == {123}
    assert walked[0].previous is None
    back, cursor = ids(walked[-1]), walked[-1].previous
    while cursor is not None:
        page = huey.reads.jobs(JobFilter(), cursor, limit)
        back, cursor = ids(page) + back, page.previous
    assert back == expected


@pytest.mark.parametrize("wanted", [JobFilter(task="note"), JobFilter(state=S.WAITING)])
def test_pages_over_two_queues_have_no_gap_while_jobs_come_in(
    huey: JobHuey, wanted: JobFilter
) -> None:
    expected = []
    for _ in range(13):
        expected += add(huey, 10)
        add(huey, 3, "mail", queue="email")
    seen: list[str] = []
    for page in pages(huey, wanted, 20):
        seen += [job.id for job in page.items if job.task.endswith("note")]
        add(huey, 2)
    assert seen == expected[::-1]


def test_the_page_before_the_first_one_shows_what_came_since(huey: JobHuey) -> None:
    add(huey, 30)
    second = huey.reads.jobs(JobFilter(), huey.reads.jobs(JobFilter(), limit=10).next, 10)
    newest = add(huey, 4)
    back = huey.reads.jobs(JobFilter(), second.previous, 10)
    again = huey.reads.jobs(JobFilter(), back.previous, 10)
    assert ids(again) == newest[::-1]
    assert again.previous is None


def test_a_page_may_be_turned_around(huey: JobHuey) -> None:
    added = add(huey, 12)
    assert ids(huey.reads.jobs(JobFilter(), limit=5, newest_first=False)) == added[-5:]


def test_a_search_that_runs_out_of_its_budget_can_be_gone_on_with(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = add(huey, 3, "rare")
    add(huey, 650)
    monkeypatch.setattr("tasks.engine.reading.finding.SEARCH_ROWS", 200)
    walked = list(pages(huey, JobFilter(task="rare"), 2))
    assert [job_id for page in walked for job_id in ids(page)] == wanted[::-1]
    assert walked[0].items == []
    assert (walked[0].searched, walked[0].of) == (200, 653)
    assert all(page.total is None for page in walked)


def test_each_field_of_a_filter_narrows(huey: JobHuey) -> None:
    states = States(huey)
    made = {state: states.make(state) for state in State}
    mail = add(huey, 1, "mail", queue="email")
    last = huey.reads.job(mail[0]).changed_at
    for state, job_id in made.items():
        expected = {job_id, *(mail if state is S.WAITING else ())}
        assert set(ids(huey.reads.jobs(JobFilter(state=state)))) == expected
    for wanted, expected in (
        (JobFilter(queue="email"), mail),
        (JobFilter(queue="email", state=S.FAILED), []),
        (JobFilter(task="test_operator_api.mail"), mail),
        (JobFilter(task="mail"), mail),
        (JobFilter(task="ail"), []),
        (JobFilter(text="MAIL 0"), mail),
        (JobFilter(text=made[S.ACTIVE]), [made[S.ACTIVE]]),
        (JobFilter(error="permanent"), [made[S.FAILED]]),
        (JobFilter(since=last), mail),
        (JobFilter(until=last - timedelta(days=1)), []),
        (JobFilter(since=last, until=last + timedelta(hours=1), task="mail"), mail),
    ):
        assert ids(huey.reads.jobs(wanted)) == expected, wanted
        assert huey.reads.count(wanted) == (len(expected), True), wanted


def test_an_unknown_queue_is_named_with_those_there_are(huey: JobHuey) -> None:
    for ask in (lambda: huey.reads.jobs(JobFilter(queue="emial")),
                lambda: huey.reads.queue("emial"), lambda: huey.commands.pause("emial")):  # fmt: skip
        with pytest.raises(UnknownQueue, match=r"'emial'.*default, email"):
            ask()


def test_a_count_past_its_budget_says_that_it_is_not_exact(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(huey, 510)
    assert huey.reads.count(JobFilter()) == (510, True)
    assert huey.reads.count(JobFilter(task="note")) == (510, True)
    monkeypatch.setattr("tasks.engine.reading.finding.SEARCH_ROWS", 100)
    assert huey.reads.count(JobFilter(task="note")) == (100, False)


# The whole


def test_a_snapshot_counts_every_state_of_every_queue(huey: JobHuey) -> None:
    states = States(huey)
    for state in State:
        states.make(state)
    add(huey, 3, "mail", queue="email")
    snapshot = huey.reads.snapshot()
    default, email = snapshot.queues
    assert dict(default.counts) == dict.fromkeys(State, 1)
    assert {s: n for s, n in email.counts.items() if n} == {S.WAITING: 3}
    assert dict(snapshot.totals) == {**dict.fromkeys(State, 1), S.WAITING: 4}
    assert (snapshot.workers_live, snapshot.slots) == (1, 1)
    assert 0 <= email.oldest_waiting_s < 60
    assert (default.oldest_waiting_s is None, email.concurrency) == (False, 2)
    assert abs(snapshot.at - snapshot.last_finished_at) < timedelta(minutes=1)


def test_the_minutes_and_percentiles_count_what_was_done(huey: JobHuey) -> None:
    states = States(huey)
    for state in (S.COMPLETED, S.COMPLETED, S.FAILED, S.RETRYING, S.CANCELLED, S.WAITING):
        states.make(state)
    minutes = huey.reads.minutes(minutes=3)
    assert len(minutes) == 3
    for name, many in {"enqueued": 6, "completed": 2, "failed": 1, "retried": 1,
                       "cancelled": 1}.items():  # fmt: skip
        assert sum(getattr(minute, name) for minute in minutes) == many, name
    assert sum(m.enqueued for m in huey.reads.minutes("email", 3)) == 0
    assert huey.reads.run_percentiles("default", 3).samples == 5
    assert huey.reads.wait_percentiles(["default"], 3).samples == 5
    assert huey.reads.processing_percentiles(minutes=3).samples == 3
    assert huey.reads.wait_percentiles(["email"], 3).p50_ms is None


def test_every_minute_that_is_counted_has_an_end(huey: JobHuey) -> None:
    add(huey, 1)
    keys = list(huey.storage.client.scan_iter(huey.storage.keys.of("minute", "*")))
    huey.storage.client.delete(*keys)  # a job that is taken in another minute than it was added
    assert huey.dequeue() is not None
    keys = list(huey.storage.client.scan_iter(huey.storage.keys.of("minute", "*")))
    assert [huey.storage.client.ttl(key) > 0 for key in keys] == [True]


def test_figures_of_the_web_process_are_kept(huey: JobHuey) -> None:
    huey.observe("api", 10)
    huey.observe("api", 30)
    wait_until(lambda: huey.reads.observed("api") == (2, 20.0), what="both figures were written")
    assert huey.reads.observed("other") is None


def test_a_worker_shows_what_it_runs(huey: JobHuey) -> None:
    seen = []

    @huey.task()
    def looks() -> None:
        current_job().progress(30, "on the way")
        seen.extend(huey.reads.workers())

    job_id = looks().id
    run_all(huey)
    (worker,) = seen
    assert (worker.state, worker.busy, worker.queues) == ("live", 1, ("default", "email"))
    (job,) = worker.jobs
    assert (job.id, job.task, job.progress.percent) == (job_id, "test_operator_api.looks", 30)
    assert [worker.busy for worker in huey.reads.workers()] == [0]


def test_a_quiet_worker_is_shown_quiet_until_woken(huey: JobHuey) -> None:
    huey.lease.start()
    worker = huey.reads.workers()[0]
    assert huey.commands.quiet(worker.id).state == "quiet"
    wait_until(lambda: huey.lease.wish == "quiet", what="the worker heard it")
    job_id = add(huey, 1)[0]
    assert huey.reads.job(job_id).why_waiting == "no live worker serves queue default"
    assert huey.commands.wake(worker.id).state == "live"
    wait_until(lambda: huey.lease.wish == "", what="the worker heard it")
    with pytest.raises(UnknownJob):
        huey.commands.quiet("nobody")


def test_the_jobs_of_a_list_say_what_they_wait_for_and_until_when_they_are_kept(
    huey: JobHuey,
) -> None:
    def said() -> dict[str, str | None]:
        found = huey.reads.explained(huey.reads.jobs(JobFilter()).items)
        assert [job.kept_until for job in found] == [huey.reads.job(job.id).kept_until for job in found]  # fmt: skip
        return {job.state.value: job.why_waiting for job in found}

    (done,) = add(huey, 1)
    run_all(huey)
    huey.lease.close()
    add(huey, 1)
    assert said()["waiting"] == "no worker is alive: start one with huey_consumer"
    assert said()["completed"] is None
    assert huey.reads.job(done).kept_until is not None
    huey.lease.beat()
    assert said()["waiting"] == "in line"
    huey.commands.pause("default", by="ada")
    assert said()["waiting"] == "queue default is paused by ada"
    huey.commands.resume("default")
    held = huey.dequeue().id
    assert said()["active"] is None
    huey.storage.call("ZADD", huey.storage.keys.one("procs"), 1, huey.lease.proc)
    told = said()["active"]
    assert told == huey.reads.job(held).why_waiting
    assert (
        told
        == "its worker is silent: one that lives takes the job over; none is alive, start one with huey_consumer"
    )
    assert huey.reads.explained([]) == []


def test_the_command_that_starts_a_worker_names_the_module_of_the_tasks(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert consumer_of(huey) == "huey_consumer"
    for name in ("site", "shopjobs.queues", "shopjobs"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.setattr(sys.modules[name], "huey", huey, raising=False)
    tidy = FunctionType((lambda: None).__code__, {"__name__": "shopjobs"})
    tidy.__module__ = "shopjobs"
    huey.task(name="tidy")(tidy)
    assert consumer_of(huey) == "huey_consumer shopjobs.huey"


def test_a_waiting_job_says_where_it_stands(huey: JobHuey) -> None:
    first, second = add(huey, 2)
    assert huey.reads.job(first).why_waiting.startswith("no worker is alive")
    huey.lease.start()
    assert huey.reads.job(second).why_waiting == "number 2 in line"


def test_a_waiting_job_says_when_the_rate_of_its_queue_lets_it_start(huey: JobHuey) -> None:
    huey.commands.set_limits("default", rate="2/1h")
    added = add(huey, 4)
    huey.lease.start()
    run_one(huey)  # one of the two starts of the hour
    assert huey.reads.job(added[1]).why_waiting == "number 1 in line"
    with Span() as span:
        said = huey.reads.job(added[3]).why_waiting or ""
    assert said.startswith("number 3 in line: by the rate of queue default it starts at ")
    told = re.search(r"at (\S+) UTC at the earliest", said)
    assert told
    assert told[1] in {
        f"{span.begun + timedelta(hours=1, seconds=n):%H:%M:%S}" for n in range(-60, 9)
    }


def test_a_job_whose_worker_died_says_that_it_waits_for_its_turn_among_such(huey: JobHuey) -> None:
    (job_id,) = add(huey, 1)
    huey.storage.client.hset(huey.storage.keys.of("job", job_id), "k", 1)
    huey.lease.start()
    assert (huey.reads.job(job_id).why_waiting or "").startswith(
        "number 1 in line: a worker died while it ran"
    )


def test_periodic_tasks_say_when_they_ran_and_run(huey: JobHuey) -> None:
    @huey.periodic_task(crontab(minute="0", hour="3"), name="nightly")
    def nightly() -> None:
        """Nothing."""

    @huey.periodic_task(crontab(), name="each_minute")
    def each_minute() -> None:
        """Nothing."""

    with Span() as span:
        soon, late = huey.reads.periodic()
    assert [soon.task, late.task] == ["test_operator_api.each_minute", "test_operator_api.nightly"]
    assert span.ahead(soon.next_at, 0, 60)
    assert (late.next_at.hour, late.next_at.minute, late.last_at) == (3, 0, None)
    assert [soon.expression, late.expression] == ["* * * * *", "0 3 * * *"]


def test_reads_say_unreachable_when_redis_is_away(make_huey: Callable[..., JobHuey]) -> None:
    away = JobHuey("away", url="unix:///nowhere/redis.sock")
    assert not away.reads.is_reachable()
    for ask in (away.reads.ping, away.reads.snapshot, away.reads.workers, away.reads.server,
                lambda: away.reads.jobs(JobFilter()), lambda: away.reads.job("x")):  # fmt: skip
        with pytest.raises(Unreachable, match="cannot be reached"):
            ask()


def test_the_server_says_what_is_wrong_for_jobs(huey: JobHuey) -> None:
    server = huey.reads.server()
    assert server.kind in ("redis", "valkey")
    assert any("append-only file is off" in fault for fault in server.faults)
    assert server.used_memory > 0


# Retention


def test_retention_forgets_the_oldest_final_jobs_and_their_traces(huey: JobHuey) -> None:
    huey.commands.set_limits("default", retention="7d/5")
    finished = []
    add(huey, 20)
    while (task := run_one(huey)) is not None:
        finished.append(task.id)
    assert ids(huey.reads.jobs(JobFilter())) == finished[:-6:-1]
    kept = huey.storage.client.keys(huey.storage.keys.of("final", "*"))
    assert len(kept) == 5
    for kind in ("job", "envelope", "attempts", "result", "held"):
        assert huey.storage.client.keys(huey.storage.keys.of(kind, "*")) == [], kind
