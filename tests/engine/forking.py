"""Consumers forked from a process that has imported what they need: most of a start is imports.

Run as a program this is that process. It reads a request a line, as JSON, and answers each with one:
`start` a consumer and give its PID, or give the exit code of one that has ended, as Popen has it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from waiting import wait_until


class Nursery:
    """The process that consumers are forked from; `env` is its own and theirs, with what is added."""

    def __init__(self, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, **request: Any) -> Any:
        """Send a request and return its answer."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        """End it; what it started goes on."""
        self.process.communicate()


class Forked:
    """A consumer that was forked, with what tests use of Popen."""

    def __init__(self, nursery: Nursery, **started: Any) -> None:
        self.nursery = nursery
        self.pid: int = nursery.ask(start=started)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        if self.returncode is None:
            self.returncode = self.nursery.ask(ended=self.pid)
        return self.returncode

    def wait(self) -> int:
        """Wait until it has ended. Returns: its exit code."""
        wait_until(lambda: self.poll() is not None, f"process {self.pid} ends")
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _ended(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _become(argv: list[str], env: dict[str, str], log: str, cwd: str) -> None:
    """Be as a process that was started so, in a session of its own."""
    os.setsid()
    with Path(os.devnull).open("rb") as nothing, Path(log).open("wb") as out:
        for there, fd in ((nothing, 0), (out, 1), (out, 2)):
            os.dup2(there.fileno(), fd)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv[:] = argv


def main() -> None:
    """Answer requests until nobody asks; in a child, be the consumer."""
    from huey.bin.huey_consumer import consumer_main

    import tasks.engine  # noqa: F401 - what this is for

    while line := sys.stdin.buffer.raw.readline():  # unbuffered: a child shares nothing of it
        request = json.loads(line)
        if "start" not in request:
            answer = _ended(request["ended"])
        elif not (answer := os.fork()):
            _become(**request["start"])
            sys.exit(consumer_main())
        os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
