"""A Redis whose address changes is followed: by Sentinel's word, or by that of a Cluster's nodes."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from driving import run_all
from ports import free_ports
from redis.crc import key_slot
from servers import OwnServer, binary, own_server
from waiting import PATIENCE_S, wait_until

from tasks.engine import EngineError, JobHuey, Queue, Unreachable
from tasks.engine.addresses import parted
from tasks.engine.keys import Keys
from tasks.engine.moving import MovingPool, _Moving

SLOTS = 16384
MakeHuey = Callable[..., JobHuey]


@contextlib.contextmanager
def two_servers(*options: str) -> Iterator[list[OwnServer]]:
    first, second = free_ports(2)
    with own_server(*options, port=first) as one, own_server(*options, port=second) as other:
        yield [one, other]


def port_of(server: OwnServer) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])


def has(server: OwnServer, huey: JobHuey, job_id: str) -> bool:
    with redis.Redis.from_url(server.url) as client:
        return bool(client.exists(huey.storage.keys.of("job", job_id)))


class Sentinel:
    """A real Sentinel, told which server is the master."""

    def __init__(self, folder: Path, port: int) -> None:
        (conf := folder / "sentinel.conf").write_text(f"port {port}\ndir {folder}\n")
        command = [binary(), str(conf), "--sentinel"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/jobs/0"  # nobody is at the first
        self.client = redis.Redis(port=port)

    def answers(self) -> bool:
        with contextlib.suppress(redis.ConnectionError):
            return bool(self.client.ping())
        return False

    def name(self, master: OwnServer) -> None:
        """Let it name the master, as after an election."""
        with contextlib.suppress(redis.ResponseError):
            self.client.execute_command("SENTINEL", "REMOVE", "jobs")
        self.client.execute_command("SENTINEL", "MONITOR", "jobs", "127.0.0.1", port_of(master), 1)

    def stop(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait(timeout=PATIENCE_S)


@pytest.fixture
def pair() -> Iterator[list[OwnServer]]:
    with two_servers() as found:
        yield found


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[Sentinel]:
    found = Sentinel(tmp_path, free_ports(1)[0])
    wait_until(found.answers, "Sentinel answers")
    yield found
    found.stop()


def test_the_master_that_sentinel_names_is_followed(
    pair: list[OwnServer], sentinel: Sentinel, make_huey: MakeHuey
) -> None:
    first, second = pair
    sentinel.name(first)
    huey = make_huey(url=sentinel.url)
    task = huey.task(name="add")(lambda: None)
    assert has(first, huey, task().id)
    sentinel.name(second)
    with redis.Redis.from_url(first.url) as client:
        client.replicaof("127.0.0.1", port_of(second))  # it says READONLY from now on
    job_id = task().id
    assert has(second, huey, job_id)
    assert run_all(huey) == [job_id]


def test_without_a_master_it_cannot_be_reached(sentinel: Sentinel) -> None:
    huey = JobHuey("jobs", url=sentinel.url, queues=[Queue("default")])
    with pytest.raises(
        Unreachable, match="a master of 'jobs' that is up is not known: 127.0.0.1:1: "
    ) as told:
        huey.reads.ping()
    assert len(str(told.value)) < 250


def test_no_connection_to_the_server_before_is_lent_again(pair: list[OwnServer]) -> None:
    now = [port_of(pair[0])]
    pool = MovingPool(lambda: ("127.0.0.1", now[0]), connection_class=_Moving)
    spare, lent = pool.get_connection(), pool.get_connection()
    pool.release(spare)
    now[0] = port_of(pair[1])
    lent.disconnect()
    lent.connect()
    pool.release(lent)
    again = [pool.get_connection() for _ in range(3)]
    assert [connection.port for connection in again] == [now[0]] * 3
    pool.disconnect()


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[OwnServer]]:
    """Return two nodes of a Cluster; the first has the lower half of the slots."""
    with two_servers("--cluster-enabled", "yes") as nodes:
        clients = [redis.Redis.from_url(node.url) for node in nodes]
        for client, half in zip(
            clients, ((0, SLOTS // 2 - 1), (SLOTS // 2, SLOTS - 1)), strict=True
        ):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", *half)
        clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port_of(nodes[1]))
        wait_until(lambda: all(joined(client) for client in clients), "the nodes know each other")
        for client in clients:
            client.close()
        yield nodes


def joined(client: redis.Redis) -> bool:
    state = client.execute_command("CLUSTER INFO")
    return state["cluster_state"] == "ok" and state["cluster_known_nodes"] == "2"


def holder(nodes: list[OwnServer], name: str) -> tuple[OwnServer, OwnServer]:
    """Return the node that has a Huey's jobs, and the other."""
    place = key_slot(Keys(name).prefix.encode()) * 2 // SLOTS
    return nodes[place], nodes[1 - place]


begins_slowly = pytest.mark.slow(reason="a Cluster takes no writes in its first two seconds")
NAMES = ("first", "second")  # their slots lie in different halves


@begins_slowly
def test_a_cluster_has_all_jobs_of_a_name_on_one_node_which_is_found(
    cluster: list[OwnServer], make_huey: MakeHuey
) -> None:
    for name in NAMES:
        huey = make_huey(name, url=f"redis+cluster://127.0.0.1:{port_of(cluster[0])}")
        ids = [task.id for task in huey.enqueue_many([huey.task(name="t")(lambda: None).s()] * 1)]
        assert has(holder(cluster, name)[0], huey, ids[0])
        assert run_all(huey) == ids
        assert "Cluster" not in "".join(huey.reads.server().faults)


@begins_slowly
def test_a_slot_that_moved_is_followed(cluster: list[OwnServer], make_huey: MakeHuey) -> None:
    huey = make_huey("moved", url=f"redis+cluster://127.0.0.1:{port_of(cluster[0])}")
    task = huey.task(name="t")(lambda: None)
    huey.storage.flush_all()
    here, there = holder(cluster, "moved")
    with redis.Redis.from_url(there.url) as target, redis.Redis.from_url(here.url) as source:
        new = target.execute_command("CLUSTER", "MYID")
        for client in (target, source):
            slot = key_slot(huey.storage.keys.prefix.encode())
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", new)
    job_id = task().id
    assert has(there, huey, job_id)
    assert run_all(huey) == [job_id]


@begins_slowly
def test_a_node_named_as_a_lone_server_is_refused_with_the_address_to_give(
    cluster: list[OwnServer], refusal: Callable[[JobHuey], str]
) -> None:
    here, other = holder(cluster, NAMES[1])
    right, wrong = (
        JobHuey(NAMES[1], url=server.url, queues=[Queue("default")]) for server in (here, other)
    )
    with pytest.raises(
        Unreachable, match=f"keeps these jobs at 127.0.0.1:{port_of(here)}: give its"
    ):
        wrong.reads.snapshot()
    assert "give its address as redis+cluster://host:port" in refusal(wrong)
    assert any("node of a Cluster" in fault for fault in right.reads.server().faults)


@pytest.mark.parametrize(
    ("url", "nodes", "service", "options"),
    [
        ("redis+sentinel://a,b:1/jobs/2", [("a", 26379), ("b", 1)], "jobs", {"db": 2}),
        ("rediss+sentinel://u:p%40w@[::1]:5/jobs?sentinel_password=s", [("::1", 5)], "jobs",
         {"username": "u", "password": "p@w", "sentinel_password": "s"}),
        ("redis+cluster://:pw@a,b:7000", [("a", 6379), ("b", 7000)], "", {"password": "pw"}),
    ],
)  # fmt: skip
def test_an_address_is_parted(
    url: str, nodes: list[tuple[str, int]], service: str, options: dict[str, object]
) -> None:
    assert parted(url) == (options, nodes, service)


@pytest.mark.parametrize("url", ["redis+sentinel://a:1", "redis+cluster://", "redis+cluster://a/x", "redis+cluster://a:b"])  # fmt: skip
def test_an_address_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(EngineError, match="the Redis address is not understood"):
        JobHuey("jobs", url=url)
