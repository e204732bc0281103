"""What the indexes of a search hold, over a job's life."""

from __future__ import annotations

from collections.abc import Callable

from driving import run_all, run_one
from searched import Shop, found_keys, ids

from tasks.engine import JobFilter, JobHuey, Permanent, State, Term

S = State


def test_a_job_that_just_runs_enters_no_index(shop: Shop) -> None:
    shop.huey.enqueue_many([shop.count.s(1) for _ in range(5)])
    assert found_keys(shop.huey) == set()
    run_all(shop.huey)
    assert found_keys(shop.huey) == set()


def test_index_entries_come_and_go_with_the_jobs_state(shop: Shop) -> None:
    huey, name = shop.huey, "searched.send"
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
