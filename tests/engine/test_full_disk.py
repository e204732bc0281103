"""A Redis whose disk is full takes no change, says so, loses nothing, and goes on when there is room."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator

import pytest
from driving import run_all, state_of
from servers import OwnServer, own_server
from waiting import wait_until

from tasks.engine import JobHuey, State, Unreachable

pytestmark = pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="no other process's limits can be set here"
)
FULL = "cannot write to its disk and takes no change until it can: .*AOF"


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    with own_server("--appendonly", "yes") as found:
        yield found


@pytest.fixture
def huey(server: OwnServer, make_huey: Callable[..., JobHuey]) -> JobHuey:
    return make_huey(url=server.url)


@pytest.fixture
def task(huey: JobHuey) -> Callable[..., object]:
    return huey.task(name="add")(lambda number: number)


@pytest.fixture
def accepted(huey: JobHuey, server: OwnServer, task: Callable[..., object]) -> Iterator[list[str]]:
    """Fill the disk by adding jobs. Returns: the ids that were accepted, of which one is active."""
    ids = [task(0).id]
    assert huey.dequeue().id == ids[0]
    server.fill_disk()
    while True:
        try:
            ids.append(task(len(ids)).id)
        except Unreachable:
            break
    yield ids
    server.free_disk()
    wait_until(huey.reads.is_reachable, "the server writes again")


def test_it_takes_no_change_answers_reads_and_goes_on_by_itself(
    huey: JobHuey, server: OwnServer, task: Callable[..., object], accepted: list[str]
) -> None:
    for change in (lambda: task(1), huey.dequeue, huey.lease.beat, lambda: huey.storage.wait(None),
                   lambda: huey.enqueue_many([task.s(1)]), lambda: huey.commands.pause("default")):  # fmt: skip
        with pytest.raises(Unreachable, match=FULL):
            change()
    assert huey.reads.queue("default").counts[State.WAITING] == len(accepted) - 1
    assert state_of(huey, accepted[0]) is State.ACTIVE
    server.free_disk()
    wait_until(huey.reads.is_reachable, "the server writes again")
    assert run_all(huey) == accepted[1:]


def test_what_it_refuses_goes_to_the_spill(
    huey: JobHuey, task: Callable[..., object], accepted: list[str]
) -> None:
    kept: list[str] = []
    huey.spill = lambda job_id, envelope, due: kept.append(job_id) or True
    job_id = task(1).id
    assert kept == [job_id]


def test_its_state_says_so_until_it_writes_again(
    huey: JobHuey, server: OwnServer, accepted: list[str]
) -> None:
    found = huey.reads.server()
    assert "Errors writing to the AOF file" in found.refuses
    assert found.faults == ("the last write to the append-only file failed: make room on its disk",)
    server.free_disk()
    wait_until(huey.reads.is_reachable, "the server writes again")
    assert (huey.reads.server().refuses, huey.reads.server().faults) == ("", ())


def test_no_worker_starts_and_one_sentence_says_why(
    huey: JobHuey, accepted: list[str], refusal: Callable[[JobHuey], str]
) -> None:
    assert "cannot write to its disk" in refusal(huey)
