"""Run the scripts of sources.py on a Redis: by their SHA, or as functions where it has those.

What Redis does not know goes to it whole, and is known from then on.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import redis

from tasks.engine import errors
from tasks.engine.sources import FUNCTIONS, LIBRARIES, library, sha, source

NO_FUNCTION = "Function not found"
REST_OF_FUNCTIONS_S = 60.0  # until they are tried again where Redis took none
LIBRARIES_MOST = 24  # of eight versions side by side; one that is missing is given anew
FAULTS = (redis.ResponseError, redis.ConnectionError, redis.TimeoutError, OSError)
REFUSED = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.MasterDownError,
    redis.exceptions.ClusterDownError,
)
ELSEWHERE = (redis.exceptions.MovedError, redis.exceptions.AskError)
CLUSTER = "give its address as redis+cluster://host:port"
REFUSALS = ("MISCONF", "BUSY", "NOREPLICAS", "READONLY", "MASTERDOWN", "CLUSTERDOWN")
# how Redis 6.2 tells a command's own refusal
WITHIN = re.compile(r": \d+: -([A-Z]+ .*)", re.DOTALL)
# where in which script; Redis 7 adds it
PLACE = re.compile(r" script: [0-9a-f]{40}, on @user_script:\d+\.\Z")

T = TypeVar("T")


class Begun(NamedTuple):
    """A script that was sent and whose reply is to be read from its connection."""

    name: str
    args: tuple[Any, ...]
    connection: Any
    function: str = ""


class Scripts:
    """Run scripts on one client; replies that name an engine error are raised as that error."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self.client, self.prefix = client, prefix
        self.rest_s = 0.0
        self._away_until = 0.0
        self._no_functions_until = 0.0
        self._asked = threading.local()

    @property
    def asked(self) -> int:
        """Count the round trips that this thread has begun."""
        times: int = getattr(self._asked, "times", 0)
        return times

    def refuse_while_away(self) -> None:
        """Fail at once for `rest_s` seconds after a call that did not get through.

        A web process sets it, so that a Redis that hangs costs one request its timeout and not all.
        Raises: Unreachable.
        """
        try:
            self._asked.times += 1
        except AttributeError:  # the first of this thread
            self._asked.times = 1
        if self._away_until and time.monotonic() < self._away_until:
            raise errors.Unreachable("Redis cannot be reached: it did not answer a moment ago")

    def note_away(self) -> None:
        """Remember that a call did not get through."""
        self._away_until = time.monotonic() + self.rest_s

    def run(self, name: str, *args: Any) -> Any:
        """Run script `name`; loads it where the server does not know it.

        Raises: Unreachable when the server cannot be reached or refuses to write. A call whose
        reply was lost may have run: every script is safe to repeat.
        """
        return self.end(self.begin(name, *args))

    def begin(self, name: str, *args: Any, before: Sequence[Any] = ()) -> Begun:
        """Send script `name` and do not wait; `end` reads its reply. Raises: Unreachable.

        before: a command that is sent before it in one go, whose reply `skip` reads.
        """
        self.refuse_while_away()
        try:
            function = self._function(name)
            how = ("FCALL", function) if function else ("EVALSHA", sha(name))
            sent = self._sent(*how, 1, self.prefix, *args, before=before)
            return Begun(name, args, sent, function)
        except FAULTS as exc:
            raise self._fault(exc) from exc

    def end(self, begun: Begun) -> Any:
        """Return the reply to what was begun, once. Raises as `run`."""
        try:
            try:
                return self._heard(begun.connection)
            except redis.exceptions.NoScriptError:
                return self._whole(begun)
            except redis.ResponseError as exc:
                if not begun.function or not _takes_no_function(exc):
                    raise
                return self._again(begun, exc)
        except FAULTS as exc:
            raise self._fault(exc) from exc

    def _whole(self, begun: Begun) -> Any:
        return self._heard(self._sent("EVAL", source(begun.name), 1, self.prefix, *begun.args))

    def _again(self, begun: Begun, exc: redis.ResponseError) -> Any:
        """Call a function that Redis did not have, or the script where it takes none."""
        if NO_FUNCTION in str(exc) and self._loaded(begun.name):
            with contextlib.suppress(UnknownScript):
                return self._called(begun)
        self._no_functions_until = time.monotonic() + REST_OF_FUNCTIONS_S
        return self._whole(begun)

    def _called(self, begun: Begun) -> Any:
        try:
            return self._heard(self._sent("FCALL", begun.function, 1, self.prefix, *begun.args))
        except redis.ResponseError as exc:  # somebody took it away again
            if NO_FUNCTION in str(exc):
                raise UnknownScript from exc
            raise

    def _function(self, name: str) -> str:
        """Return the function that does what a script does; "" for none, and where Redis takes none."""
        if name not in FUNCTIONS or time.monotonic() < self._no_functions_until:
            return ""
        return library(name)[0]

    def _loaded(self, name: str) -> bool:
        """Give Redis the function of a script, and take away those of versions long gone."""
        try:
            self._heard(self._sent("FUNCTION", "LOAD", "REPLACE", library(name)[1]))
        except redis.ResponseError:  # Redis is full, or we may not
            return False
        with contextlib.suppress(redis.ResponseError):
            self._forget_old()
        return True

    def _forget_old(self) -> None:
        found = self._heard(self._sent("FUNCTION", "LIST", "LIBRARYNAME", f"{LIBRARIES}*"))
        if len(found) <= LIBRARIES_MOST:
            return
        ours = {library(name)[0] for name in FUNCTIONS}
        for name in map(library_of, found):
            if name not in ours:
                self._heard(self._sent("FUNCTION", "DELETE", name))

    def line(self) -> Line:
        """Return what sends scripts one behind another, on a connection of its own."""
        return Line(self)

    def skip(self, begun: Begun, timeout_s: float) -> None:
        """Wait for the reply to what was sent before a script. Raises Unreachable; `end` is not due then."""
        pool: Any = self.client.connection_pool
        pool.resume(begun.connection)
        try:
            begun.connection.read_response(timeout=timeout_s)
        except redis.ResponseError:
            pass  # the reply of the script tells
        except FAULTS as exc:
            pool.release(begun.connection)
            raise self._fault(exc) from exc
        except BaseException:
            pool.release(begun.connection)
            raise

    def drop(self, begun: Begun) -> None:
        """Give up the reply to what was begun: whatever it changed is changed."""
        begun.connection.disconnect()
        self.client.connection_pool.release(begun.connection)

    def _fault(self, exc: Exception) -> Exception:
        if isinstance(exc, redis.ResponseError):
            return _engine_error(exc)
        self.note_away()
        return errors.Unreachable(_unreachable(exc))

    def _sent(self, *command: Any, before: Sequence[Any] = ()) -> Any:
        """Send one command on a connection of the pool; what the client wraps around it costs 25 µs.

        Returns: the connection, which `_heard` gives back.
        """
        pool: Any = self.client.connection_pool
        connection = pool.get_connection()
        try:
            pool.send(connection, [before, command] if before else [command])
        except BaseException:
            pool.release(connection)
            raise
        return connection

    def _heard(self, connection: Any) -> Any:
        pool: Any = self.client.connection_pool
        pool.resume(connection)
        try:
            return connection.read_response()
        finally:
            pool.release(connection)


class Beside:
    """A script that Redis runs while something is done here; `reply` is None until then."""

    def __init__(self, scripts: Scripts, name: str, *args: Any) -> None:
        self._scripts, self._name, self._args = scripts, name, args
        self.reply: Any = None

    def while_(self, do: Callable[[], T]) -> T:
        """Send the script, do what is to be done, then hear the reply. Returns: what `do` returns.

        Raises: as `run`; what `do` raises, then there is no reply.
        """
        begun = self._scripts.begin(self._name, *self._args)
        try:
            done = do()
        except BaseException:
            self._scripts.drop(begun)
            raise
        self.reply = self._scripts.end(begun)
        return done


class UnknownScript(Exception):
    """The server does not know a script or function: nothing was done."""


class Line:
    """Scripts that are sent one behind another on one connection: Redis runs them in that order."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._pool: Any = scripts.client.connection_pool
        self._connection: Any = None
        self._awaited = 0

    def send(self, name: str, *args: Any) -> bool:
        """Send a script behind those whose replies are still to be heard; False where that fails.

        Then there will be no reply to any of them. Raises Unreachable where nothing is tried at all.
        """
        scripts = self._scripts
        scripts.refuse_while_away()
        try:
            if self._connection is None:
                self._connection = self._pool.get_connection()
            self._pool.resume(self._connection)
            command = ("EVALSHA", sha(name), 1, scripts.prefix, *args)
            self._awaited += 1  # first: an interrupt comes between any two lines
            self._pool.send(self._connection, [command])
        except FAULTS:
            scripts.note_away()
            self._drop()
            return False
        except BaseException:
            self._drop()
            raise
        return True

    def hear(self) -> Any:
        """Return the reply to the first of those sent.

        Raises: Unreachable where there is none; UnknownScript; else as `run`.
        """
        if not self._awaited:
            raise errors.Unreachable("Redis cannot be reached: the connection was lost")
        self._pool.resume(self._connection)
        try:
            return self._read()
        except redis.exceptions.NoScriptError as exc:
            raise UnknownScript(str(exc)) from exc
        except redis.ResponseError as exc:
            raise _engine_error(exc) from exc
        except FAULTS as exc:
            self._scripts.note_away()
            self._drop()
            raise errors.Unreachable(_unreachable(exc)) from exc
        except BaseException:
            self._drop()
            raise

    def _read(self) -> Any:
        try:
            return self._connection.read_response()
        finally:  # not before: what is interrupted until here is still to come
            self._awaited -= 1

    def close(self) -> None:
        """Give the connection back; closed where a reply to it is still to come."""
        if self._awaited:
            self._drop()
        elif self._connection is not None:
            self._pool.resume(self._connection)
            self._pool.release(self._connection)
            self._connection = None

    def _drop(self) -> None:
        connection, self._connection, self._awaited = self._connection, None, 0
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)


def library_of(entry: Any) -> str:
    """Return the name of an entry of FUNCTION LIST, which is a map in RESP3 and a list before."""
    fields = entry if isinstance(entry, dict) else dict(zip(entry[::2], entry[1::2], strict=True))
    name: bytes = fields[b"library_name"]
    return name.decode()


def _takes_no_function(exc: redis.ResponseError) -> bool:
    """Tell whether a server has no such function, knows none (before Redis 7), or takes none from us."""
    refused = isinstance(exc, redis.exceptions.NoPermissionError)
    return refused or NO_FUNCTION in str(exc) or "unknown command" in str(exc)


def _unreachable(exc: Exception) -> str:
    return f"Redis cannot be reached: {exc}"


def _engine_error(exc: redis.ResponseError) -> Exception:
    """Turn an error reply `CODE sentence` into the engine's exception."""
    within = WITHIN.search(str(exc))
    text = PLACE.sub("", within[1] if within else str(exc))
    code, _, sentence = text.partition(" ")
    known = {
        "WRONGSTATE": errors.WrongState,
        "UNKNOWNJOB": errors.UnknownJob,
        "UNKNOWNQUEUE": errors.UnknownQueue,
        "LEASELOST": errors.LeaseLost,
    }
    if code in known:
        return known[code](sentence)
    if isinstance(exc, redis.exceptions.OutOfMemoryError) or code == "OOM":
        return errors.Unreachable("Redis refuses the call: its memory is full")
    if (
        isinstance(exc, REFUSED + ELSEWHERE) or code in REFUSALS
    ):  # redis-py takes the code of some out of the text
        return errors.Unreachable(refusal("the call", exc, text))
    return exc


def refusal(what: str, exc: redis.ResponseError, text: str = "") -> str:
    """Say what Redis refuses; one that cannot write to its disk takes no change and no PING."""
    code, _, sentence = (text or str(exc)).partition(" ")
    if isinstance(exc, ELSEWHERE):
        return f"Redis is a node of a Cluster that keeps these jobs at {sentence.split()[-1]}: {CLUSTER}"
    if code == "MISCONF":
        return f"Redis cannot write to its disk and takes no change until it can: {sentence}"
    return f"Redis refuses {what}: {text or exc}"
