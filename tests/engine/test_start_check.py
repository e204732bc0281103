"""What a consumer says of its server before it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis

from tasks.engine import JobHuey, Queue
from tasks.engine.reads import _faults


def test_an_unreachable_server_is_one_sentence_and_exit_2(
    refusal: Callable[[JobHuey], str],
) -> None:
    huey = JobHuey("away", url="redis://127.0.0.1:1/0", queues=[Queue("default")])
    assert "Redis cannot be reached" in refusal(huey)


def test_a_deployed_consumer_refuses_a_server_without_an_append_only_file(
    redis_url: str, refusal: Callable[[JobHuey], str]
) -> None:
    huey = JobHuey("strict", url=redis_url, queues=[Queue("default")], strict=True)
    assert "append-only file is off" in refusal(huey)


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
