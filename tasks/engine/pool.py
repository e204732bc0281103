"""The connections to Redis that a process keeps, none of them with a reply that is still to come."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakSet

import redis
from redis.connection import HiredisRespSerializer

try:
    from hiredis import pack_command
except ImportError:  # redis-py does without as well, more slowly
    pack_command = None  # type: ignore[assignment]

SPARE_MOST = 8
NUMBERS = frozenset({int, float})


def texts(words: Iterable[Any]) -> tuple[Any, ...]:
    """Return the words of a command, its numbers as texts.

    hiredis 3.5 ends the process (SIGSEGV) where a signal's handler raises while it writes a number:
    a task's timeout, a second signal to stop.
    """
    return tuple([str(word) if type(word) in NUMBERS else word for word in words])


class Packer(HiredisRespSerializer):
    """Writes the client's own commands by hiredis, which gets texts alone."""

    def pack(self, *words: Any) -> Any:
        """Return the parts of a command."""
        return super().pack(*texts(words))


def packer() -> Packer | None:
    """Return what a client writes commands by; None leaves it to redis-py."""
    return None if pack_command is None else Packer()


class Pool(redis.ConnectionPool):
    """Takes back no connection whose reply may still come: the next call would read it as its own.

    An exception that came since the connection was lent, and is no reply of the server, interrupted
    its call: a signal's handler that raises, a greenlet that is killed, a timeout of the task.
    """

    def reset(self) -> None:
        """Begin anew, as in a forked process."""
        super().reset()
        # One that was lost between two lines, by an interrupt, is forgotten: nobody would return it.
        self._in_use_connections = WeakSet()  # type: ignore[assignment]
        self._spare: deque[Any] = (
            deque()
        )  # of those lent: redis-py's own lending takes 30 µs a call

    def make_connection(self) -> Any:
        """Make a connection. Raises MaxConnectionsError; those that were lost do not count."""
        kept = len(self._available_connections) + len(self._in_use_connections)
        self._created_connections = kept
        return super().make_connection()

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Lend a connection that is connected."""
        self._checkpid()
        try:
            connection = self._spare.pop()
        except IndexError:
            connection = super().get_connection(*args, **kwargs)
        else:
            if not _is_ready(connection):
                super().release(connection)
                connection = super().get_connection(*args, **kwargs)
        self.resume(connection)
        return connection

    def resume(self, connection: Any) -> None:
        """Go on with a connection in another place than the one it was lent to."""
        connection.lent_within = sys.exception()

    def send(self, connection: Any, commands: Sequence[Sequence[Any]]) -> None:
        """Send commands in one go."""
        if pack_command is None:
            packed = connection.pack_commands(commands)
        else:  # what redis-py does around it takes as long again
            packed = [pack_command(texts(words)) for words in commands]
        connection.send_packed_command(packed)

    def release(self, connection: Any) -> None:
        """Take a connection back, closed where its call was interrupted."""
        fault, before = sys.exception(), getattr(connection, "lent_within", None)
        connection.lent_within = None
        if fault is not before and not isinstance(fault, redis.ResponseError):
            connection.disconnect()
        elif self.owns_connection(connection) and len(self._spare) < SPARE_MOST:
            self._spare.append(connection)
            return
        super().release(connection)


def _is_ready(connection: Any) -> bool:
    """Tell whether a connection is open and nothing lies in it unread."""
    try:
        return connection.is_connected and not connection.can_read()
    except (redis.RedisError, OSError):
        return False
