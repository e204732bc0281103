"""What the machine knows of jobs and processes, and scripts whose clock is its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import keyspace

from tasks.engine.errors import Unreachable
from tasks.engine.running.leases import Lease
from tasks.engine.scripts import Begun, Line, Scripts
from tasks.engine.storage import Handed, JobStorage

LEASE_S, BEAT_S = 10.0, 2.0
START_MS = 1_800_000_000_000
WORK, KEYED = "machine.world.work", "machine.world.keyed"  # the tasks, as they are registered


def plan(want: int, ahead: int = 0) -> dict[str, Any]:
    """What a process asks for: `want` jobs to start, `ahead` more of the quick ones to hold."""
    pace = {WORK: 400, KEYED: 400} if ahead else {}
    return {"want": want, "most": want + ahead, "left": 5000 * want, "each": 5000, "pace": pace}


@dataclass
class Clock:
    ms: int = START_MS


class TestScripts(Scripts):
    """Scripts whose `now_ms` is the machine's; a reply may be lost after the call was made."""

    __test__ = False

    def __init__(self, client: Any, prefix: str, clock: Clock) -> None:
        super().__init__(client, prefix)
        self.clock, self.lose = clock, False

    def begin(self, name: str, *args: Any) -> Begun:
        return super().begin(name, *self.timed(args))

    def end(self, begun: Begun) -> Any:
        return self.lost(super().end(begun))

    def line(self) -> Line:
        return TestLine(self)

    def timed(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if args and args[0] == 0 and isinstance(args[0], int):
            return (self.clock.ms, *args[1:])
        return args

    def lost(self, answer: Any) -> Any:
        if self.lose:
            self.lose = False
            raise Unreachable("the reply was lost")
        return answer


class TestLine(Line):
    """A line of such scripts."""

    __test__ = False

    def __init__(self, scripts: TestScripts) -> None:
        super().__init__(scripts)
        self.scripts = scripts

    def send(self, name: str, *args: Any) -> bool:
        return super().send(name, *self.scripts.timed(args))

    def hear(self) -> Any:
        return self.scripts.lost(super().hear())


@dataclass
class Job:
    """What the model knows of one job."""

    id: str
    queue: str
    priority: int
    allowed: int
    row: tuple[dict[str, Any], bytes]
    unique: str = ""
    state: str = "waiting"
    order: int = 0
    due: int = 0
    used: int = 0
    deaths: int = 0
    run: int = 1
    owner: str = ""
    token: str = ""
    asked: bool = False
    chord: tuple[str, int] | None = None

    @property
    def live(self) -> bool:
        return self.state in keyspace.LIVE


@dataclass
class Model:
    jobs: dict[str, Job] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    paused: set[str] = field(default_factory=set)
    paused_tasks: set[str] = field(default_factory=set)
    ticks: set[int] = field(default_factory=set)
    chords: dict[str, dict[str, Any]] = field(default_factory=dict)
    expires: dict[str, int] = field(default_factory=dict)
    suspected: dict[str, int] = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)
    added: int = 0
    revived: int = 0
    order: int = 0


@dataclass
class Proc:
    """One worker process: its storage, its lease, and what it believes it runs."""

    storage: JobStorage
    lease: Lease
    dead: bool = False
    handed: dict[str, Handed] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.lease.proc
