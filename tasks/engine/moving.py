"""Connections to a Redis whose address changes: a master that Sentinel elects, a node of a Cluster.

Each connection asks for the address when it is opened, and one to an address that is no longer the
right one is not lent again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.crc import key_slot
from redis.retry import Retry

from tasks.engine.addresses import Address, parted
from tasks.engine.pool import Pool

ASKED_S = 1.0  # of one that knows the address, before the next is asked
MOVED = (redis.exceptions.MovedError, redis.exceptions.AskError, redis.exceptions.ReadOnlyError)
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
    """Return a pool for one of addresses.MOVING.

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


def _asking(known: list[Address], ask: Callable[[redis.Redis], Address | None], options: Mapping[str, Any],
            wanted: str) -> Find:  # fmt: skip
    """Return what asks those that are known in turn, first the one that answered last.

    The find raises ConnectionError, which says of each why it did not tell.
    """

    def find() -> Address:
        said = []
        for host, port in known.copy():
            try:
                with redis.Redis(host, port, **options) as client:
                    found = ask(client)
            except (redis.RedisError, OSError) as exc:
                said.append(f"{host}:{port}: {exc}")
                continue
            if found is not None:
                known[:] = dict.fromkeys([(host, port), *known])
                return found[0] or host, found[1]
            said.append(f"{host}:{port} names none")
        raise redis.ConnectionError(f"{wanted} is not known: {'; '.join(said)}")

    return find


def _master(nodes: Sequence[Address], service: str, options: Mapping[str, Any]) -> Find:
    """Return what asks the Sentinels who the master is."""

    def ask(client: redis.Redis) -> Address | None:
        masters: Any = client.sentinel_masters()
        state = masters.get(service, {})
        down = state.get("is_sdown") or state.get("is_odown")
        return (state["ip"], int(state["port"])) if state.get("is_master") and not down else None

    return _asking(list(nodes), ask, options, f"a master of {service!r} that is up")


def _owner(nodes: Sequence[Address], slot: int, options: Mapping[str, Any]) -> Find:
    """Return what asks a Cluster which node has a slot; nodes that it names are asked later too."""
    known = list(nodes)

    def ask(client: redis.Redis) -> Address | None:
        for first, last, (host, port, *_), *_ in client.execute_command("CLUSTER", "SLOTS"):
            if first <= slot <= last:  # one that does not know its own name is the one asked
                found = (host or b"").decode(), int(port)
                known[:] = dict.fromkeys([*known, found] if found[0] else known)
                return found
        return None

    return _asking(known, ask, options, f"the node with the jobs' slot {slot}")
