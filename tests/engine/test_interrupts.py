"""A call that is interrupted between its request and its reply spoils no later one."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from tasks.engine import JobHuey
from tasks.engine.ids import new_id
from tasks.engine.scripts import Beside


class Interrupted(BaseException):
    """What the signal's handler raises, as KeyboardInterrupt or a greenlet's kill would be."""


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise Interrupted


@pytest.fixture
def interrupt(huey: JobHuey) -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Return a function that runs a call and sends this process a signal when its request is out."""
    pool = huey.storage.client.connection_pool
    before, armed = signal.signal(signal.SIGUSR1, _interrupt), []

    class Connection(pool.connection_class):
        def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
            super().send_packed_command(*args, **kwargs)
            if armed:
                armed.clear()
                signal.raise_signal(signal.SIGUSR1)

    def run(call: Callable[[], Any]) -> None:
        pool.disconnect()
        pool.reset()
        pool.connection_class = Connection
        huey.storage.call("PING")  # connected: the next request is the call's own
        armed.append(True)
        with pytest.raises(Interrupted):
            call()

    yield run
    signal.signal(signal.SIGUSR1, before)


def add(huey: JobHuey, many: int) -> None:
    spec = {"q": "email", "t": "other", "p": 0, "m": 1}
    huey.storage.add([({"id": new_id(), **spec}, b"{}") for _ in range(many)])


CALLS: dict[str, Callable[[JobHuey], Any]] = {
    "a script": lambda huey: huey.storage.scripts.run("sizes", '{"keys":[],"oldest":"","newest":""}'),
    "a command that blocks": lambda huey: huey.storage.wait(0.05),
    "many jobs": lambda huey: add(huey, 3),
    "several at once": lambda huey: huey.storage.pipeline([("ECHO", "one"), ("ECHO", "two")]),
}  # fmt: skip


@pytest.mark.parametrize("first", CALLS)
def test_the_next_call_gets_its_own_reply(
    huey: JobHuey, interrupt: Callable[[Callable[[], Any]], None], first: str
) -> None:
    interrupt(lambda: CALLS[first](huey))
    assert huey.storage.call("ECHO", "mine") == b"mine"
    job_id = huey.task(name="after")(lambda: None)().id
    assert huey.dequeue().id == job_id


def test_what_fails_beside_a_script_leaves_no_reply_behind(huey: JobHuey) -> None:
    beside = Beside(huey.storage.scripts, "sizes", '{"keys":[],"oldest":"","newest":""}')
    with pytest.raises(ZeroDivisionError):
        beside.while_(lambda: 1 // 0)
    assert beside.reply is None
    assert huey.storage.call("ECHO", "mine") == b"mine"
    assert beside.while_(lambda: "done") == "done"
    assert beside.reply == []


def test_hiredis_writes_texts_alone(huey: JobHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a signal's handler raises while it writes a number it ends the process."""
    pack, given = pytest.importorskip("hiredis").pack_command, list[Any]()

    def packed(words: tuple[Any, ...]) -> bytes:
        given.extend(words)
        return bytes(pack(words))

    monkeypatch.setattr("hiredis.pack_command", packed)
    monkeypatch.setattr("tasks.engine.pool.pack_command", packed)
    for call in CALLS.values():
        call(huey)
    huey.storage.client.connection_pool.disconnect()
    assert huey.storage.call("ECHO", 1.5) == b"1.5"
    assert {type(word) for word in given} <= {str, bytes}
    assert "1.5" in given


@pytest.mark.parametrize("spare", [False, True])
def test_a_connection_that_an_interrupt_lost_takes_no_place(huey: JobHuey, spare: bool) -> None:
    pool = huey.storage.client.connection_pool
    pool.disconnect()
    pool.reset()
    pool.max_connections = 2
    for _ in range(5):
        if spare:
            huey.storage.call("PING")
        pool.get_connection()  # and before anybody has it comes the interrupt
    assert huey.storage.call("ECHO", "mine") == b"mine"
    assert len(pool._in_use_connections) == 1


@pytest.fixture
def owed(huey: JobHuey) -> Callable[[], list[int]]:
    """Return a function that tells how many replies are still to come on each connection kept ready."""
    pool = huey.storage.client.connection_pool

    class Counted(pool.connection_class):
        owed = 0

        def send_packed_command(self, command: Any, **kwargs: Any) -> None:
            self.owed += len(command)
            super().send_packed_command(command, **kwargs)

        def read_response(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().read_response(*args, **kwargs)
            finally:
                self.owed -= 1

        def disconnect(self, *args: Any) -> None:
            self.owed = 0
            super().disconnect(*args)

    pool.disconnect()
    pool.reset()
    pool.connection_class = Counted
    return lambda: [connection.owed for connection in pool._spare]


def _interrupted_at(line: int, call: Callable[[], Any]) -> bool:
    """Interrupt a call before that line of those that Line's methods run. Returns: whether it has so many."""
    passed = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal passed
        if not frame.f_code.co_qualname.startswith("Line."):
            return None
        passed += event == "line"
        if event == "line" and passed == line:
            raise Interrupted
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Interrupted:
        return True
    finally:
        sys.settrace(before)
    return False


def test_chunks_that_are_interrupted_anywhere_leave_no_reply_behind(
    huey: JobHuey, owed: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.engine.adding.CHUNK", 2)
    line, left = 1, list[int]()
    while _interrupted_at(line, lambda: add(huey, 7)):
        left += owed()
        line += 1
    assert line > 30
    assert set(left) == {0}


def test_a_refusal_is_a_reply_and_costs_no_connection(huey: JobHuey) -> None:
    number = huey.storage.call("CLIENT", "ID")
    with pytest.raises(Exception, match="refuses"):
        huey.storage.call("HGET", "too few")
    assert huey.storage.call("CLIENT", "ID") == number


def test_a_call_made_while_an_exception_is_handled_costs_no_connection(huey: JobHuey) -> None:
    number = huey.storage.call("CLIENT", "ID")
    try:
        raise ValueError("somebody else's")
    except ValueError:
        assert huey.storage.call("CLIENT", "ID") == number
        assert huey.storage.call("CLIENT", "ID") == number
