"""Connections to a Redis whose address changes: a master that Sentinel elects, a node of a Cluster.

Each connection asks for the address when it is opened, and one to an address that is no longer the
right one is not lent again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, parse_url
from redis.crc import key_slot
from redis.retry import Retry
from redis.sentinel import Sentinel

from tasks.engine.errors import EngineError
from tasks.engine.pool import Pool

SCHEMES = ("redis+sentinel://", "rediss+sentinel://", "redis+cluster://", "rediss+cluster://")
SENTINEL, CLUSTER = "redis+sentinel://host:26379,host:26379/service/0", "redis+cluster://host:6379,host:6379"  # fmt: skip
ASKED_S = 1.0  # of one that knows the address, before the next is asked
MOVED = (redis.exceptions.MovedError, redis.exceptions.AskError, redis.exceptions.ReadOnlyError)
Address = tuple[str, int]
Find = Callable[[], Address]


class _Moving(Connection):
    """A connection that finds its server when it connects, and is over where that is the wrong one."""

    def __init__(self, *, find: Find, **options: Any) -> None:
        self.find = find
        super().__init__(**options)

    def connect(self) -> None:
        """Connect to where the server is now."""
        if not self.is_connected:
            self.host, self.port = self.find()
        super().connect()

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read a reply; raises ConnectionError where it says that the jobs are elsewhere now."""
        try:
            return super().read_response(*args, **options)
        except MOVED as exc:
            self.disconnect()
            raise redis.ConnectionError(f"the server is another one now ({exc})") from exc


class _MovingSSL(_Moving, SSLConnection):
    """The same by TLS."""


class MovingPool(Pool):
    """Lends connections to the server that `find` names; those to the one before are closed."""

    def __init__(self, find: Find, **options: Any) -> None:
        self._find = find
        self.address: Address = ("", 0)
        super().__init__(find=self._now, **options)

    def _now(self) -> Address:
        self.address = self._find()
        return self.address

    def owns_connection(self, connection: Any) -> bool:
        """Tell whether a connection is of this process, and to where the server is."""
        there = (connection.host, connection.port) == self.address
        return there and bool(super().owns_connection(connection))

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """Lend a connection to where the server is, as far as is known."""
        while not self.owns_connection(connection := super().get_connection(*args, **options)):
            self.release(connection)
        return connection


def moving_pool(url: str, prefix: str, **options: Any) -> MovingPool:
    """Return a pool for one of SCHEMES.

    Args:
        prefix: of all keys; of a Cluster the node is taken that has its slot.

    Raises: EngineError where the URL has not the form of its scheme.
    """
    given, nodes, service = parted(url)
    secure = url.startswith("rediss")
    asked = {"retry": Retry(NoBackoff(), 0), "socket_timeout": ASKED_S, "socket_connect_timeout": ASKED_S}  # fmt: skip
    if service:
        asked |= {name.removeprefix("sentinel_"): given.pop(name) for name in list(given) if name.startswith("sentinel_")}  # fmt: skip
        find = _master(nodes, service, asked | ({"ssl": True} if secure else {}))
    else:
        find = _owner(nodes, key_slot(prefix.encode()), {**given, **asked, "ssl": secure})
    made = _MovingSSL if secure else _Moving
    return MovingPool(find, connection_class=made, **{**options, **given})


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


def _master(nodes: Sequence[Address], service: str, asked: Mapping[str, Any]) -> Find:
    """Return what asks the Sentinels who the master is."""
    sentinel = Sentinel(nodes, sentinel_kwargs=asked)
    return lambda: sentinel.discover_master(service)


def _owner(nodes: Sequence[Address], slot: int, asked: Mapping[str, Any]) -> Find:
    """Return what asks a Cluster which node has a slot; nodes that it names are asked later too."""
    known = list(nodes)

    def find() -> Address:
        said = []
        for host, port in known.copy():
            try:
                with redis.Redis(host, port, **asked) as client:
                    found = _holder(client.execute_command("CLUSTER", "SLOTS"), slot, host)
            except (redis.RedisError, OSError) as exc:
                said.append(str(exc))
                continue
            if found is not None:
                known[:] = dict.fromkeys([found, *known])
                return found
        raise redis.ConnectionError(f"no node of the cluster has the jobs' slot {slot}: {said}")

    return find


def _holder(slots: Any, slot: int, asked: str) -> Address | None:
    """Return the master of a slot; a node that does not know its own name is the one asked."""
    for first, last, master, *_ in slots:
        if first <= slot <= last:
            return (master[0] or b"").decode() or asked, int(master[1])
    return None
