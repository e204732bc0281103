"""What a job queued is found by it."""

from __future__ import annotations

from dataclasses import replace

import keyspace
from driving import run_all
from searched import ids

from tasks.engine import JobFilter, JobHuey, State, Term


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
