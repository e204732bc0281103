"""Health: a queue that nobody serves, workers of two versions, a database that does not answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from browsing import Browser
from flask import Flask
from servers import OwnServer, own_server
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from waiting import PATIENCE_S, wait_until

from dashboard import health
from dashboard.kept import Kept
from tasks import database as db
from tasks.engine import JobHuey, Unreachable
from tasks.engine.ids import new_id
from tasks.engine.running.leases import Lease
from tasks.maintenance import clean_up


@pytest.fixture
def worker(huey: JobHuey) -> Iterator[Lease]:
    """Return the lease of a live worker that serves every queue."""
    huey.lease.info["version"] = "1.1"
    huey.lease.beat()
    yield huey.lease
    huey.lease.close()
    huey._dispatch = None


def serve_only(lease: Lease, *queues: str) -> None:
    """Let a worker say that it serves these, as one started with WORKER_QUEUES does."""
    lease.info["queues"] = ",".join(queues)
    lease.beat()


def beside(huey: JobHuey, version: str) -> Lease:
    """Let a worker of another version live beside."""
    other = Lease(huey.storage, lease_s=10, beat_s=2)
    other.info["version"] = version
    other.beat()
    return other


def told(huey: JobHuey, name: str) -> list[health.Check]:
    """Return what a fresh view says is not well under a name."""
    return [check for check in health.Watch(huey).view().troubles if check.name == name]


def test_jobs_in_a_queue_that_no_live_worker_takes_are_said(
    app: Flask, huey: JobHuey, worker: Lease
) -> None:
    with app.app_context():
        clean_up()
        assert told(huey, "unserved") == []
        serve_only(worker, "email", "payments")
        (check,) = told(huey, "unserved")
        assert (check.status, check.value, check.grave) == ("degraded", 1, True)
        assert check.sentence == "Nobody serves maintenance, 1 job waits"
        assert check.address == "/jobs?status=waiting&q=queue:maintenance"
        add(huey, "sync")
        assert told(huey, "unserved")[0].sentence == "Nobody serves sync and maintenance, 2 jobs wait"  # fmt: skip


def add(huey: JobHuey, queue: str) -> None:
    huey.storage.add([({"id": new_id(), "q": queue, "t": "gone", "p": 0, "m": 1}, b"{}")])


def test_a_quiet_worker_serves_nothing_and_a_paused_queue_is_said_as_paused(
    app: Flask, huey: JobHuey, worker: Lease
) -> None:
    with app.app_context():
        clean_up()
        huey.commands.quiet(worker.proc)
        assert told(huey, "unserved")[0].value == 1
        huey.commands.pause("maintenance")
        assert told(huey, "unserved") == []


def test_without_a_worker_that_alone_is_said(app: Flask, huey: JobHuey, admin: Browser) -> None:
    with app.app_context():
        (idle,) = told(huey, "workers")
        assert (idle.sentence, idle.grave) == ("No worker is alive, nothing runs", True)
        clean_up()
        assert told(huey, "unserved") == []
        (waits,) = told(huey, "workers")
        assert waits.sentence == "No worker is alive, 1 job waits"
    page = admin.get("/").text
    assert "<strong>No worker is alive, 1 job waits</strong>" in page
    assert '<a class="button" href="/workers">Show workers</a>' in page


def test_the_overview_says_it_first_with_the_queues_and_both_ways_on(
    admin: Browser, app: Flask, huey: JobHuey, worker: Lease
) -> None:
    clean_up()
    serve_only(worker, "email")
    app.extensions["watch"].forget()
    page = admin.get("/").text
    assert '<div class="status" data-kind="bad"' in page
    assert "<strong>Nobody serves maintenance, 1 job waits</strong>" in page
    assert '<a class="button primary" href="/workers">Show workers</a>' in page
    assert "/jobs?status=waiting&amp;q=queue:maintenance" in page
    assert "Nobody serves it" in admin.get("/queues").text
    assert "<strong>Nobody serves maintenance, 1 job waits</strong>" in admin.get("/workers").text
    checks = {c["name"]: c for c in admin.get("/api/admin/queues/health").json["checks"]}
    assert checks["unserved"]["detail"].startswith("No live worker takes jobs of maintenance")


def test_workers_of_two_versions_are_told_apart(app: Flask, huey: JobHuey, worker: Lease) -> None:
    with app.app_context():
        assert told(huey, "versions") == []
        other = beside(huey, "1.2")
        try:
            (check,) = told(huey, "versions")
            assert check.sentence == "1 of 2 workers runs another version than 1.2, which started last"  # fmt: skip
            assert check.detail == "Live workers by version: 1.2 (1) and 1.1 (1)"
            assert (check.status, check.address) == ("degraded", "/workers")
        finally:
            other.close()


def test_only_a_database_that_does_not_answer_is_forgiven() -> None:
    def away() -> int:
        raise OperationalError("SELECT 1", {}, Exception("no such host"))

    def wrong() -> int:
        raise TypeError("a fault of ours")

    assert db.unless_away(lambda: 7, 0) == 7
    assert db.unless_away(away, 0) == 0
    with pytest.raises(TypeError):
        db.unless_away(wrong, 0)


class Maker:
    """Makes 1, 2, 3 and so on, and each but the first only when it is let."""

    def __init__(self) -> None:
        self.many = 0
        self.let = threading.Event()

    def __call__(self) -> int:
        self.many += 1
        made = self.many
        assert made == 1 or self.let.wait(PATIENCE_S)
        return made


def test_who_asks_while_a_figure_is_made_anew_gets_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dashboard.kept.STALE_MOST", 10**9)
    kept, make = Kept[int](age_s=1e-6), Maker()
    assert kept.get(make) == 1
    wait_until(lambda: kept.get(make) == 1 and make.many == 2, what="the second is under way")
    assert kept.get(make) == 1
    assert make.many == 2, "only one at a time"
    make.let.set()
    wait_until(lambda: kept.get(make) > 1, what="the second is shown")


def test_a_figure_is_made_anew_after_the_page_that_found_it_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dashboard.kept.STALE_MOST", 10**9)
    monkeypatch.setattr("dashboard.kept.AFTER_S", 3600)
    kept, make = Kept[int](age_s=1e-6), Maker()
    assert kept.get(make) == 1
    wait_until(lambda: kept.get(make) == 1 and kept._making, what="it is old")
    assert make.many == 1
    assert kept._making
    kept._making.cancel()


def test_one_session_of_the_database_tells_a_look_all_it_needs(
    huey: JobHuey, database: str
) -> None:
    begun: list[object] = []
    event.listen(db.engine(), "begin", begun.append)
    assert health._from_sql().check.status == "healthy"
    assert len(begun) == 1


def test_a_figure_that_was_forgotten_or_is_far_too_old_is_waited_for() -> None:
    kept, make = Kept[int](age_s=3600), Maker()
    make.let.set()
    assert kept.get(make) == kept.get(make) == 1
    kept.forget()
    assert kept.get(make) == 2
    kept.age_s = 0.0
    assert kept.get(make) == 3


def test_a_figure_that_cannot_be_made_anew_stays_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dashboard.kept.STALE_MOST", 10**9)
    kept = Kept[int](age_s=1e-6)
    assert kept.get(lambda: 1) == 1
    wait_until(
        lambda: kept.get(lambda: 1 // 0) == 1 and "could not be made anew" in caplog.text,
        what="it is logged",
    )
    wait_until(lambda: kept.get(lambda: 2) == 2, what="the next one is made")


def test_what_was_begun_before_a_figure_was_forgotten_is_not_kept() -> None:
    kept, make = Kept[int](age_s=3600), Maker()
    kept.get(make)
    last = kept._kept
    assert last is not None
    make.let.set()
    kept.forget()
    kept._renew(make, last)
    assert kept.get(lambda: 99) == 99


def test_what_a_second_has_read_is_read_once_and_no_page_waits_for_another() -> None:
    shared, began, let = health.Shared(), threading.Event(), threading.Event()

    def slow() -> int:
        began.set()
        assert let.wait(PATIENCE_S)
        return 7

    found: list[int] = []
    tabs = [
        threading.Thread(target=lambda: found.append(shared.get("jobs", slow))) for _ in range(3)
    ]
    for tab in tabs:
        tab.start()
    assert began.wait(PATIENCE_S)
    assert shared.get("queues", lambda: 1) == 1, "another page does not wait"
    began.clear()
    let.set()
    for tab in tabs:
        tab.join(PATIENCE_S)
    assert found == [7, 7, 7]
    assert not began.is_set(), "the others of this page did not read"


@pytest.fixture
def disk() -> Iterator[OwnServer]:
    with own_server("--appendonly", "yes") as server:
        yield server


def test_a_server_that_cannot_write_is_the_first_thing_said(
    disk: OwnServer, app: Flask, make_huey: Callable[..., JobHuey]
) -> None:
    huey = make_huey(url=disk.url)
    disk.fill_disk()
    with pytest.raises(Unreachable):
        while True:  # Redis writes up to two seconds later
            huey.storage.call("SET", "filler", "x" * 1000)
    with app.app_context():
        first = health.Watch(huey).view().troubles[0]
    disk.free_disk()
    wait_until(huey.reads.is_reachable, what="the server writes again")
    assert (first.name, first.status) == ("redis settings", "unhealthy")
    assert first.sentence.startswith("Redis cannot write to its disk")
    assert "AOF" in first.detail
