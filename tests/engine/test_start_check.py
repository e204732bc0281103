"""What a consumer says of its server before it starts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tasks.engine import JobHuey, Queue
from tasks.engine.reads import _faults


def test_an_unreachable_server_is_one_sentence_and_exit_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    huey = JobHuey("away", url="redis://127.0.0.1:1/0", queues=[Queue("default")])
    with pytest.raises(SystemExit) as stopped:
        huey.create_consumer(workers=1).start()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "Redis cannot be reached" in said
    assert said.count("\n") == 1


def test_a_deployed_consumer_refuses_a_server_without_an_append_only_file(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    huey = JobHuey("strict", url=redis_url, queues=[Queue("default")], strict=True)
    with pytest.raises(SystemExit) as stopped:
        huey.create_consumer(workers=1).start()
    assert stopped.value.code == 2
    assert "append-only file is off" in capsys.readouterr().err


@pytest.fixture
def unfit(redis_url: str) -> Iterator[None]:
    """Make the server what no server of jobs may be, and then itself again."""
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.replicaof("127.0.0.1", 1)
        yield
        client.replicaof("NO", "ONE")
        client.config_set("maxmemory-policy", "noeviction")


def test_each_thing_that_is_wrong_with_a_server_is_said(huey: JobHuey, unfit: None) -> None:
    said = "; ".join(huey.reads.server().faults)
    for fault in ("maxmemory-policy is allkeys-lru", "append-only file is off", "is a replica"):
        assert fault in said
    assert list(_faults({"aof_enabled": 1}, "6.0.16")) == ["version 6.0.16 is older than 6.2"]
    assert list(_faults({"aof_enabled": 1}, "6.2.0")) == []
