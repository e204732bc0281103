"""The outbox: a job goes to Redis if, and only if, the business change it belongs to commits."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session
from waiting import PATIENCE_S, wait_until

from tasks import database as db
from tasks import outbox
from tasks.database import utcnow
from tasks.engine import JobHuey, State, UnknownJob, Unreachable


@dataclass
class Shop:
    """A Huey joined to the outbox, with one task."""

    huey: JobHuey
    greet: Any

    def put(self, session: Session, due: datetime | None = None, job_id: str = "") -> str:
        task = self.greet.s("ada", **({"id": job_id} if job_id else {}))
        outbox.add(session, task.id, self.huey.envelope(task), due)
        return task.id

    def in_redis(self, job_id: str) -> bool:
        try:
            return self.huey.reads.job(job_id).id == job_id
        except UnknownJob:
            return False


@pytest.fixture
def shop(database: str, huey: JobHuey) -> Iterator[Shop]:
    greet = huey.task(name="greet")(lambda name: name)
    outbox.join(huey)
    yield Shop(huey, greet)
    outbox.stop()
    outbox._joined.clear()


def test_a_committed_row_is_pushed_at_once_and_deleted(shop: Shop) -> None:
    with db.session() as session:
        job_id = shop.put(session)
        assert not shop.in_redis(job_id)
    assert outbox.settle(PATIENCE_S)
    assert shop.huey.reads.job(job_id).state == State.WAITING
    wait_until(lambda: outbox.row(job_id) is None)


def test_a_due_time_travels_along(shop: Shop) -> None:
    due = utcnow() + timedelta(hours=3)
    with db.session() as session:
        job_id = shop.put(session, due)
    assert outbox.settle(PATIENCE_S)
    job = shop.huey.reads.job(job_id)
    assert job.state == State.SCHEDULED
    assert abs((job.scheduled_for - due).total_seconds()) < 0.01


def test_a_rolled_back_row_is_never_pushed(shop: Shop) -> None:
    with pytest.raises(RuntimeError), db.session() as session:
        job_id = shop.put(session)
        raise RuntimeError
    assert outbox._joined[0]._asked == 0
    with db.session() as session:
        other = shop.put(session)
    assert outbox.settle(PATIENCE_S)
    assert shop.in_redis(other)
    assert not shop.in_redis(job_id)


def test_a_released_savepoint_pushes_nothing_before_the_outer_commit(shop: Shop) -> None:
    with db.session() as session:
        with session.begin_nested():
            job_id = shop.put(session)
        assert outbox.COMMITTED not in session.info
        assert outbox._joined[0]._asked == 0
    assert outbox.settle(PATIENCE_S)
    assert shop.in_redis(job_id)


def test_a_rolled_back_savepoint_takes_only_its_own_rows_along(shop: Shop) -> None:
    with db.session() as session:
        before = shop.put(session)
        with pytest.raises(RuntimeError), session.begin_nested():
            inside = shop.put(session)
            raise RuntimeError
        after = shop.put(session)
    assert outbox.settle(PATIENCE_S)
    assert [shop.in_redis(job_id) for job_id in (before, inside, after)] == [True, False, True]


def test_rows_go_in_the_order_they_were_added(shop: Shop) -> None:
    with db.session() as session:
        ids = [shop.put(session) for _ in range(450)]
    wait_until(lambda: outbox.waiting()[0] == 0)
    assert [shop.huey.dequeue().id for _ in range(450)] == ids


def test_pushed_twice_is_one_job_even_when_the_job_is_gone(shop: Shop) -> None:
    with db.session() as session:
        job_id = shop.put(session)
    assert outbox.settle(PATIENCE_S)
    wait_until(lambda: outbox.row(job_id) is None)
    shop.huey.execute(shop.huey.dequeue())
    shop.huey.commands.delete([job_id])
    with db.session() as session:
        shop.put(session, job_id=job_id)
    assert outbox.settle(PATIENCE_S)
    wait_until(lambda: outbox.row(job_id) is None)
    assert not shop.in_redis(job_id)


def test_with_redis_away_no_commit_waits_and_its_rows_go_once_when_it_is_back(
    shop: Shop, redis_server: Any
) -> None:
    redis_server.stop()
    with db.session() as session:
        first = shop.put(session)
    wait_until(lambda: not outbox._joined[0].reachable)
    for _ in range(20):
        with db.session() as session:
            shop.put(session)
        assert not outbox.settle(60)  # at once: twenty minutes would be noticed
    count, oldest_at = outbox.waiting()
    assert count == 21
    assert oldest_at == outbox.row(first).created_at
    assert outbox.row(first).pushed_at is None  # never left: it may wait as long as it takes
    redis_server.start()
    wait_until(lambda: outbox.waiting()[0] == 0)
    assert shop.huey.reads.snapshot().queues  # answers again
    assert len(shop.huey.pending()) == 21


def test_a_redis_that_answers_nothing_does_not_hold_up_a_commit(
    shop: Shop, redis_server: Any
) -> None:
    pool = shop.huey.storage.client.connection_pool
    pool.connection_kwargs["socket_timeout"] = PATIENCE_S  # who waited for an answer would be seen
    pool.disconnect()
    redis_server.process.send_signal(signal.SIGSTOP)
    try:
        with db.session() as session:
            shop.put(session)
        outbox.settle(0.05)
        assert outbox._joined[0].reachable  # its own call still hangs: nobody waited for its end
    finally:
        redis_server.process.send_signal(signal.SIGCONT)


def test_a_direct_call_spills_into_the_outbox_while_redis_is_away(
    shop: Shop, redis_server: Any
) -> None:
    redis_server.stop()
    result = shop.greet("ada")
    assert outbox.row(result.id) is not None
    redis_server.start()
    wait_until(lambda: shop.in_redis(result.id))


def test_a_row_pushed_a_day_ago_is_shown_and_not_pushed_until_an_operator_says_so(
    shop: Shop,
) -> None:
    outbox.stop()
    with db.session() as session:
        job_id = shop.put(session, job_id="old-one")
        other = shop.put(session)
        session.execute(
            update(outbox.OutboxRow)
            .where(outbox.OutboxRow.job_id == job_id)
            .values(
                pushed_at=utcnow() - timedelta(hours=25), created_at=utcnow() - timedelta(hours=25)
            )
        )
    assert outbox.settle(PATIENCE_S)
    assert shop.in_redis(other)
    assert not shop.in_redis(job_id)
    assert outbox.row(job_id).stuck
    assert outbox.stuck() == 1
    with db.session() as session:
        assert outbox.release(session, job_id)
    assert outbox.settle(PATIENCE_S)
    assert shop.in_redis(job_id)
    assert outbox.stuck() == 0


def test_a_row_never_pushed_goes_whatever_its_age(shop: Shop) -> None:
    with db.session() as session:
        job_id = shop.put(session)
        session.execute(update(outbox.OutboxRow).values(created_at=utcnow() - timedelta(days=9)))
    assert outbox.settle(PATIENCE_S)
    assert shop.in_redis(job_id)


def test_a_withdrawn_row_is_not_pushed(shop: Shop, redis_server: Any) -> None:
    redis_server.stop()
    with db.session() as session:
        job_id = shop.put(session)
    with db.session() as session:
        assert outbox.withdraw(session, job_id)
        assert not outbox.withdraw(session, job_id)
    redis_server.start()
    outbox.push()
    assert not shop.in_redis(job_id)


def test_a_row_of_an_unknown_task_is_named_and_holds_up_no_other(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    strange = shop.huey.envelope(shop.greet.s("x")).replace(b"greet", b"gone1")
    with db.session() as session:
        outbox.add(session, "strange", strange, None)
        job_id = shop.put(session)
    wait_until(lambda: shop.in_redis(job_id))
    wait_until(lambda: outbox.row("strange").error)
    assert "gone1" in outbox.row("strange").error
    assert sum("strange" in line for line in caplog.messages) == 1
    outbox.push()
    assert sum("strange" in line for line in caplog.messages) == 1  # not again within the minute


def test_a_full_outbox_says_so_and_rolls_the_change_back(
    shop: Shop, redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.stop()
    monkeypatch.setattr(outbox, "MOST_ROWS", 3)
    with db.session() as session:
        for _ in range(3):
            shop.put(session)
    with (
        pytest.raises(outbox.OutboxFull, match="3 jobs wait in the outbox"),
        db.session() as session,
    ):
        shop.put(session)
    assert outbox.waiting()[0] == 3
    assert not outbox.spill("one-more", b"{}", None)


def test_eight_threads_commit_and_each_row_becomes_one_job(shop: Shop) -> None:
    def work() -> None:
        for _ in range(10):
            with db.session() as session:
                shop.put(session)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: outbox.waiting()[0] == 0)
    assert len(shop.huey.pending()) == 80


def test_two_relays_at_once_make_no_second_job(shop: Shop, make_huey: Any) -> None:
    other = make_huey(shop.huey.name)
    other._registry = shop.huey._registry
    relay = outbox.Relay(other)
    with db.session() as session:
        for _ in range(300):
            shop.put(session)
    relay.push()
    wait_until(lambda: outbox.waiting()[0] == 0)
    assert len(shop.huey.pending()) == 300


def test_push_says_when_redis_is_away(shop: Shop, redis_server: Any) -> None:
    redis_server.stop()
    with db.session() as session:
        shop.put(session)
    with pytest.raises(Unreachable):
        outbox.push()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_there_is_one_thread_per_process_also_after_a_fork(shop: Shop) -> None:
    for _ in range(3):
        with db.session() as session:
            shop.put(session)
    assert sum(thread.name == "outbox" for thread in threading.enumerate()) == 1
    pid = os.fork()
    if pid == 0:
        relay = outbox._joined[0]
        os._exit(0 if relay._thread is None and relay._asked == 0 else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_the_thread_sweeps_what_another_process_left_behind(shop: Shop) -> None:
    outbox._joined[0].start()  # as a worker does
    with db.session() as session:
        job_id = shop.put(session)
        session.info.clear()  # the other process died between commit and push
    wait_until(lambda: shop.in_redis(job_id))
