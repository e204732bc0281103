"""What a Redis address may be: of a lone server, or of several among which the jobs move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from redis.connection import parse_url

from tasks.engine.errors import EngineError

LONE = ("redis://", "rediss://", "unix://")
MOVING = ("redis+sentinel://", "rediss+sentinel://", "redis+cluster://", "rediss+cluster://")
SENTINEL, CLUSTER = "redis+sentinel://host:26379,host:26379/service/0", "redis+cluster://host:6379,host:6379"  # fmt: skip
FORMS = (
    f"redis://host:port/0, rediss://host:port/0, unix:///path/redis.sock, {SENTINEL} or {CLUSTER}"
)
Address = tuple[str, int]


def parted(url: str) -> tuple[dict[str, Any], Sequence[Address], str]:
    """Part a URL into redis-py's options, the addresses, and Sentinel's service. Raises EngineError."""
    rest, _, query = url.partition("://")[2].partition("?")
    place, _, path = rest.partition("/")
    credentials, at, hosts = place.rpartition("@")
    service, _, db = path.partition("/")
    by_sentinel = "+sentinel:" in url
    try:
        given = parse_url(f"redis://{credentials}{at}host/{db}?{query}")
        parts = [urlsplit(f"//{host}") for host in hosts.split(",") if host]
        port = 26379 if by_sentinel else 6379
        nodes = [(part.hostname or "", part.port or port) for part in parts]
    except ValueError as exc:
        raise EngineError(f"the Redis address is not understood: {exc}") from exc
    if not nodes or by_sentinel != bool(service):
        form = SENTINEL if by_sentinel else CLUSTER
        raise EngineError(f"the Redis address is not understood; {form} is expected")
    given.pop("host")
    return given, nodes, service
