"""The worker's path to Redis. Operators' reads and commands live elsewhere (reads.py, commands.py)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tasks.engine import addresses, moving
from tasks.engine.adding import ENCODE, Added, Adding, Row, add_one, repeat
from tasks.engine.errors import EngineError, Unreachable
from tasks.engine.huey_storage import HueyStorage
from tasks.engine.keys import Keys
from tasks.engine.pool import Pool, packer
from tasks.engine.scripts import Begun, Scripts, refusal

CONNECT_TIMEOUT_S = 1.0
SOCKET_TIMEOUT_S = 3.0
BLOCK_S = 2.0  # under the socket timeout: a longer blocking pop never returns from redis-py 8


def connect(url: str, prefix: str = "") -> redis.Redis:
    """Return a client for `url` that never repeats a call by itself: the engine's scripts do.

    Args:
        prefix: of all keys, which tells the node of a Cluster.

    Raises: EngineError for a scheme it does not speak, or an address that is not understood.
    """
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0), "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": SOCKET_TIMEOUT_S, "max_connections": 1000, "command_packer": packer(),
    }  # fmt: skip
    if url.startswith(addresses.MOVING):
        return redis.Redis.from_pool(moving.moving_pool(url, prefix, **options))
    if not url.startswith(addresses.LONE):
        raise EngineError(
            f"the Redis address begins {url.split(':')[0]}:; {addresses.FORMS} is expected"
        )
    return redis.Redis.from_pool(Pool.from_url(url, **options))


class Handed(NamedTuple):
    """A job that the fetch handed to this process, with its token.

    `starts`: it counts as begun since the fetch; else it is held until a slot is free. `at` is when
    it came, by this process's monotonic clock, s. `plain`, where nothing else hangs on it, so that its worker may write what is
    kept of it (completing.py): ready since, created, nonce of the request, priority, argument
    indexes, by, tags.
    """

    id: str
    token: str
    envelope: bytes
    used: int
    allowed: int
    run: int
    deaths: int
    revoked: bool
    members: dict[int, bytes]
    queue: str
    now_ms: int
    starts: bool = True
    at: float = 0.0
    task: str = ""
    plain: Sequence[str] = ()


class Words(NamedTuple):
    """A call to be sent: which script, and what it is told."""

    script: str
    text: str


class Answer(NamedTuple):
    """What finish_and_fetch said: `statuses` in the order of what was finished.

    `shut` names those of the queues whose jobs are held here that lend no more.
    """

    now_ms: int
    next_due_ms: int | None
    statuses: Sequence[str]
    jobs: Sequence[Handed]
    shut: Sequence[str]


NOBODY: dict[int, bytes] = {}
FIRST = "0 1 1 0"


def _handed(line: bytes, envelope: bytes, now_ms: int, at: float) -> Handed:
    """Read what `handed` in lib/take writes of a job."""
    job_id, token, starts, queue, task, numbers, *plain = line.decode().split("\t")
    used, allowed, run, deaths = (0, 1, 1, 0) if numbers == FIRST else map(int, numbers.split())
    return Handed._make((job_id, token, envelope, used, allowed, run, deaths, False, NOBODY, queue,
                         now_ms, starts == "1", at, task, plain))  # fmt: skip


def _all_handed(reply: Sequence[Any], now_ms: int) -> list[Handed]:
    """Read the jobs of an answer: lines and envelopes in turn, those revoked, members of chords."""
    rows, at = reply[3], time.monotonic()
    jobs = [_handed(rows[n], rows[n + 1], now_ms, at) for n in range(0, len(rows), 2)]
    for place in reply[5]:
        jobs[place - 1] = jobs[place - 1]._replace(revoked=True)
    for place, flat in reply[6]:
        members = {int(flat[n]): flat[n + 1] for n in range(0, len(flat), 2)}
        jobs[place - 1] = jobs[place - 1]._replace(members=members)
    return jobs


class JobStorage(HueyStorage):
    """The engine's calls; HueyStorage has those that Huey knows."""

    def __init__(self, name: str, *, url: str = "redis://127.0.0.1:6379/0",
                 queues: Sequence[str] = ("default",),
                 read_timeout: float = BLOCK_S, hop: bool = False, client: redis.Redis | None = None) -> None:  # fmt: skip
        super().__init__(name)
        self.queues = tuple(queues)
        self.served = tuple(queues)
        self.read_timeout, self.hop = min(read_timeout, BLOCK_S), hop
        self.keys = Keys(name)
        self.client = client or connect(url, self.keys.prefix)
        self.scripts = Scripts(self.client, self.keys.prefix)
        self.moves = isinstance(self.client.connection_pool, moving.MovingPool)
        self.proc: Callable[[], str] = lambda: "direct"
        self.flushes = 0  # so that what this process remembers of before is not shown

    def call(self, command: str, *args: Any) -> Any:
        """Run one plain command. Raises Unreachable."""
        self.scripts.refuse_while_away()
        try:
            return self.client.execute_command(command, *args)
        except (redis.ConnectionError, redis.TimeoutError, OSError) as exc:
            self.scripts.note_away()
            raise Unreachable(f"Redis cannot be reached: {exc}") from exc
        except redis.ResponseError as exc:
            raise Unreachable(refusal(command, exc)) from exc

    def pipeline(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Run plain commands in one round trip. Raises Unreachable."""
        self.scripts.refuse_while_away()
        pipe = self.client.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        try:
            return pipe.execute()
        except redis.ResponseError as exc:
            raise Unreachable(refusal("the call", exc)) from exc
        except (redis.RedisError, OSError) as exc:
            self.scripts.note_away()
            raise Unreachable(f"Redis cannot be reached: {exc}") from exc

    def write(self, commands: Sequence[Sequence[Any]]) -> None:
        """Run an operator's plain commands in one go, also on a full server. Raises Unreachable."""
        text = [[str(part) for part in command] for command in commands]
        self.scripts.run("write", 0, json.dumps(text))

    # Adding

    def add(self, rows: Iterable[Row], answers: list[Added] | None = None) -> list[Added]:
        """Store jobs, each (spec, envelope); see `Adding`.

        answers: gets what became of those stored, also where making a row raises.
        Returns: (status, id) for each, in order. Raises: Unreachable.
        """
        found = [] if answers is None else answers
        Adding(self.scripts, found).run(rows)
        return found

    def add_one(self, row: Row) -> Added:
        """Store one job; see `add`."""
        return add_one(self.scripts, row)

    def repeat(self, script: str, *args: Any) -> Any:
        """Run a script, once more when its reply was lost."""
        return repeat(self.scripts, script, *args)

    # Fetching and finishing

    def finish_and_fetch(self, done: Sequence[Mapping[str, Any] | Sequence[Any]], blobs: Sequence[bytes],
                         plan: Mapping[str, Any] | None, lent: Sequence[str] = ()) -> Answer:  # fmt: skip
        """Close what was finished and take jobs, in one round trip; `words` says what is given."""
        return self.answer(self.ask(self.words(done, plan, lent), blobs))

    def words(self, done: Sequence[Mapping[str, Any] | Sequence[Any]], plan: Mapping[str, Any] | None,
              lent: Sequence[str] = (), plain: Mapping[str, Any] | None = None) -> Words:  # fmt: skip
        """Write what was finished and the wish for jobs, for `ask` to send.

        Args:
            plan: how many and how quick, as lib/take.lua has it; None takes none.
            lent: queues of the jobs held here that have not started.
            plain: completed jobs that nothing hangs on, as lib/plain has them.
        """
        ask: dict[str, Any] = {"proc": self.proc(), "queues": self.served, "done": done}
        if plan is not None:
            ask["plan"] = plan
        if lent:
            ask["lent"] = lent
        if plain:
            ask["plain"] = plain
        if self.hop:
            ask["hop"] = 1
        script = "finish_and_fetch" if (done or plain) and plan else "fetch" if plan else "finish"
        return Words(script, ENCODE(ask))

    def ask(self, words: Words, blobs: Sequence[str | bytes]) -> Begun:
        """Send what was written, with the bytes that it names; `answer` waits for what becomes of it.

        Raises: Unreachable.
        """
        return self.scripts.begin(words.script, 0, words.text, *blobs)

    def answer(self, begun: Begun) -> Answer:
        """Return what became of what was asked, once."""
        reply = self.scripts.end(begun)
        now_ms = int(reply[0])
        return Answer(
            now_ms,
            int(reply[1]) if reply[1] else None,
            [status.decode() for status in reply[2]],
            _all_handed(reply, now_ms),
            [name.decode() for name in reply[4]],
        )

    def wait(self, next_due_s: float | None) -> bool:
        """Wait for work in the queues served, at most `read_timeout`; one slot does so for a process.

        Returns: whether there is a sign of some: a call, or a job that is due.
        """
        timeout = self._patience_s(next_due_s)
        return self.call(*self._wait_for_call(timeout)) is not None or timeout < self.read_timeout

    def listen(self, plan: Mapping[str, Any], next_due_s: float | None) -> Begun:
        """Send such a wait and behind it a wish for jobs, which Redis answers when the wait is over.

        So a job that is added is here after one trip. `await_call`, then `answer`. Raises: Unreachable.
        """
        wait = self._wait_for_call(self._patience_s(next_due_s))
        words = self.words((), plan)
        return self.scripts.begin(words.script, 0, words.text, before=wait)

    def await_call(self, begun: Begun) -> None:
        """Wait until the wait of `listen` is over. Raises Unreachable."""
        self.scripts.skip(begun, self.read_timeout + SOCKET_TIMEOUT_S)

    def _patience_s(self, next_due_s: float | None) -> float:
        if next_due_s is None:
            return self.read_timeout
        return max(0.01, min(self.read_timeout, next_due_s))

    def _wait_for_call(self, timeout: float) -> Sequence[Any]:
        return ("BZPOPMIN", *(self.keys.of("wake", q) for q in self.served), timeout)

    def wake(self) -> None:
        """Let a worker of each queue served look again, as a job that is added does."""
        self.write(self.calls(self.served))

    def calls(self, queues: Sequence[str]) -> list[Sequence[Any]]:
        """Return the commands that call an idle worker of each queue to look again."""
        return [("ZADD", self.keys.of("wake", queue), 0, "0") for queue in queues]

    # A running job's own words

    def note(self, job_id: str, token: str, what: str, name: str, text: str) -> int:
        """Write progress, a log line or a mark under the job's token; 2 asks it to stop."""
        return int(self.repeat("note", 0, job_id, token, what, name, text))

    def marks(self, job_id: str) -> dict[str, str]:
        """Return the marks of a job, also after it is gone (7 days)."""
        reply = self.client_hgetall(self.keys.of("marks", job_id))
        return {key.decode(): value.decode() for key, value in reply.items()}

    def client_hgetall(self, key: str) -> dict[bytes, bytes]:
        """Return a bounded hash. Raises Unreachable."""
        reply = self.call("HGETALL", key)
        if isinstance(reply, dict):
            return reply
        return dict(zip(reply[::2], reply[1::2], strict=True))

    def close(self) -> None:
        """Drop this process's connections."""
        self.client.connection_pool.disconnect()
