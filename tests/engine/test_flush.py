"""A flush leaves nothing that belongs to the jobs it forgot."""

from __future__ import annotations

from typing import Any

import keyspace
import pytest
from driving import run_all

from tasks.engine import JobHuey, Permanent, RetryAfter, State, UnknownBatch, current_job

STAY = {"meta", "minute", "queue", "queues", "procs", "proc", "runs", "group", "groups", "spark", "ticks"}  # fmt: skip


class Shop:
    """A task whose jobs have all that a job may have, and one that is called back."""

    def __init__(self, huey: JobHuey) -> None:
        self.huey, self.called = huey, list[str]()

        @huey.task(name="sold", index=("n",), unique="{n}", tags=("shop-{n}",), retries=3)
        def sold(how: str, n: int) -> str:
            current_job().progress(40, "rendered")
            current_job().log("sold")
            if how == "retrying":
                raise RetryAfter(3600, "later")
            if how == "failed":
                raise Permanent("no")
            return how

        @huey.task(name="done")
        def done(batch_id: str) -> None:
            self.called.append(batch_id)

        self.sold, self.done = sold, done

    def batch(self, batch_id: str, *hows: str, first: int) -> list[Any]:
        """Return the calls that are added as a batch."""
        calls = [
            self.sold.s(how.removeprefix("+"), n, delay=3600 if how[0] == "+" else None)
            for n, how in enumerate(hows, first)
        ]
        self.huey.batch(calls, batch_id=batch_id, callback=self.done.s())
        return calls


@pytest.fixture
def shop(huey: JobHuey) -> Shop:
    return Shop(huey)


def test_every_trace_of_all_jobs_goes(huey: JobHuey, shop: Shop) -> None:
    *_, last = shop.batch("old", "retrying", "failed", "completed", "+well", "+well", first=0)
    run_all(huey)
    huey.commands.cancel([last.id])
    waiting = shop.batch("new", "well", "well", first=5)[1]
    active = huey.dequeue()
    huey.revoke_by_id(waiting.id)
    assert {s for s, n in huey.reads.snapshot().totals.items() if n} == set(State)
    assert keyspace.read(huey).all("found")
    huey.storage.flush_state(*State)
    assert not keyspace.read(huey).all("held")
    huey.execute(active)
    assert huey.dequeue() is None
    left = keyspace.read(huey)
    assert {kind for kind, names in left.kinds.items() if names} <= STAY
    assert huey.commands.fsck() == {}
    for batch_id in ("old", "new"):
        with pytest.raises(UnknownBatch):
            huey.reads.batch(batch_id)


def test_a_batch_ends_with_those_that_a_flush_left(huey: JobHuey, shop: Shop) -> None:
    shop.batch("import", "completed", "failed", "+well", first=0)
    run_all(huey)
    huey.storage.flush_schedule()
    found = huey.reads.batch("import")
    assert (found.total, found.progress, found.callback_job) == (2, 100, "batch:import")
    run_all(huey)
    assert shop.called == ["import"]


def test_a_callback_that_a_flush_brought_is_not_flushed_with_it(huey: JobHuey, shop: Shop) -> None:
    shop.batch("import", "completed", "well", first=0)
    huey.execute(huey.dequeue())
    huey.dispatch.flush()
    huey.storage.flush_queue()
    run_all(huey)
    assert shop.called == ["import"]


def test_a_batch_that_lost_all_while_it_was_made_calls_nothing_back(
    huey: JobHuey, shop: Shop
) -> None:
    huey.open_batch(batch_id="slow", callback=shop.done.s())
    huey.enqueue_many([shop.sold.s("well", 0)], batch="slow")
    huey.storage.flush_queue()
    huey.close_batch("slow")
    with pytest.raises(UnknownBatch):
        huey.reads.batch("slow")
    assert run_all(huey) == shop.called == []
