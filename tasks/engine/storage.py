"""The worker's path to Redis. Operators' reads and commands live elsewhere (reads.py, commands.py)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import redis
from huey.constants import EmptyData
from huey.storage import BaseStorage
from redis.backoff import NoBackoff
from redis.retry import Retry

from tasks.engine.errors import EngineError, Unreachable
from tasks.engine.ids import new_id
from tasks.engine.keys import Keys
from tasks.engine.pool import Pool
from tasks.engine.records import LIVE, State
from tasks.engine.scripts import Begun, Scripts

CONNECT_TIMEOUT_S = 1.0
SOCKET_TIMEOUT_S = 3.0
BLOCK_S = 2.0  # under the socket timeout: a longer blocking pop never returns from redis-py 8
CHUNK = 200
HANDOFF_KEPT_MS = 60_000
ENCODE = json.JSONEncoder(separators=(",", ":")).encode
ONE: Mapping[str, Any] = {"want": 1, "most": 1, "each": 0, "left": 0, "pace": {}}
PLAIN = frozenset({"id", "q", "t", "p", "m", "rq", "by"})  # what lua/add_plain stores
SCHEMES = ("redis://", "rediss://", "unix://")


def connect(url: str) -> redis.Redis:
    """Return a client for `url` that never repeats a call by itself: the engine's scripts do.

    Raises: EngineError for a scheme it does not speak.
    """
    if not url.startswith(SCHEMES):
        raise EngineError(
            f"the Redis address begins {url.split(':')[0]}:; redis://, rediss:// or unix:// is"
            " expected"
        )
    pool = Pool.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        max_connections=1000,
    )
    return redis.Redis.from_pool(pool)


class Handed(NamedTuple):
    """A job that the fetch handed to this process, with its token.

    `starts`: it counts as begun since the fetch; else it is held until a slot is free. `at` is when
    it came, by this process's monotonic clock, s.
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


def _handed(row: Sequence[Any], now_ms: int, at: float) -> Handed:
    flat = row[8]
    members = {int(flat[i]): flat[i + 1] for i in range(0, len(flat), 2)} if flat else NOBODY
    return Handed(row[0].decode(), row[1].decode(), row[2], int(row[3]), int(row[4]), int(row[5]),
                  int(row[6]), row[7] == 1, members, row[9].decode(), now_ms, row[10] == 1, at, row[11].decode())  # fmt: skip


class JobStorage(BaseStorage):
    """Huey's storage interface over the engine's scripts."""

    blocking = True
    priority = True

    def __init__(self, name: str, *, url: str = "redis://127.0.0.1:6379/0",
                 queues: Sequence[str] = ("default",),
                 read_timeout: float = BLOCK_S, hop: bool = False, client: redis.Redis | None = None) -> None:  # fmt: skip
        super().__init__(name)
        self.queues = tuple(queues)
        self.served = tuple(queues)
        self.read_timeout, self.hop = min(read_timeout, BLOCK_S), hop
        self.client = client or connect(url)
        self.keys = Keys(name)
        self.scripts = Scripts(self.client, self.keys.prefix)
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
            raise Unreachable(f"Redis refuses {command}: {exc}") from exc

    def pipeline(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Run plain commands in one round trip. Raises Unreachable."""
        self.scripts.refuse_while_away()
        pipe = self.client.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        try:
            return pipe.execute()
        except redis.ResponseError as exc:
            raise Unreachable(f"Redis refuses the call: {exc}") from exc
        except (redis.RedisError, OSError) as exc:
            self.scripts.note_away()
            raise Unreachable(f"Redis cannot be reached: {exc}") from exc

    def write(self, commands: Sequence[Sequence[Any]]) -> None:
        """Run an operator's plain commands in one go, also on a full server. Raises Unreachable."""
        text = [[str(part) for part in command] for command in commands]
        self.scripts.run("write", 0, json.dumps(text))

    # Adding

    def add(self, rows: Sequence[tuple[dict[str, Any], bytes]]) -> list[tuple[str, str]]:
        """Store jobs, each (spec, envelope); safe to repeat, so a lost reply is asked for again.

        Returns: (status, id) for each; see lua/lib/insert.lua. Raises: Unreachable.
        """
        request = os.urandom(5).hex()  # told from another call for the same id; kept with the job
        for spec, _ in rows:
            spec.setdefault("rq", request)
        if len(rows) == 1 and self._add_plain(*rows[0]):
            return [("new", rows[0][0]["id"])]
        answers: list[tuple[str, str]] = []
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            specs = ENCODE([spec for spec, _ in chunk])
            reply = self.repeat("add", 0, specs, *(envelope for _, envelope in chunk))
            answers += [(status.decode(), job_id.decode()) for status, job_id in reply]
        return answers

    def _add_plain(self, spec: Mapping[str, Any], envelope: bytes) -> bool:
        """Store one job of the usual kind by the short way; tell whether it could be."""
        if not spec.keys() <= PLAIN:
            return False
        figures = [spec[name] for name in ("id", "q", "t", "p", "m", "rq")]
        return bool(self.repeat("add_plain", 0, *figures, spec.get("by", ""), envelope))

    def repeat(self, script: str, *args: Any) -> Any:
        """Run a script, once more when its reply was lost."""
        try:
            return self.scripts.run(script, *args)
        except Unreachable:
            return self.scripts.run(script, *args)

    # Fetching and finishing

    def finish_and_fetch(self, done: Sequence[Mapping[str, Any]], blobs: Sequence[bytes],
                         plan: Mapping[str, Any] | None, lent: Sequence[str] = ()) -> Answer:  # fmt: skip
        """Close what was finished and take jobs, in one round trip; `words` says what is given."""
        return self.answer(self.ask(self.words(done, plan, lent), blobs))

    def words(self, done: Sequence[Mapping[str, Any]], plan: Mapping[str, Any] | None,
              lent: Sequence[str] = ()) -> Words:  # fmt: skip
        """Write what was finished and the wish for jobs, for `ask` to send.

        Args:
            plan: how many and how quick, as lib/take.lua has it; None takes none.
            lent: queues of the jobs held here that have not started.
        """
        ask: dict[str, Any] = {"proc": self.proc(), "queues": self.served, "done": done}
        if plan is not None:
            ask["plan"] = plan
        if lent:
            ask["lent"] = lent
        if self.hop:
            ask["hop"] = 1
        script = "finish_and_fetch" if done and plan else "fetch" if plan else "finish"
        return Words(script, ENCODE(ask))

    def ask(self, words: Words, blobs: Sequence[bytes]) -> Begun:
        """Send what was written, with the bytes that it names; `answer` waits for what becomes of it.

        Raises: Unreachable.
        """
        return self.scripts.begin(words.script, 0, words.text, *blobs)

    def await_answer(self, begun: Begun) -> None:
        """Wait until the answer has come, or will not come; `answer` reads it, or tells why."""
        self.scripts.await_reply(begun)

    def answer(self, begun: Begun) -> Answer:
        """Return what became of what was asked, once."""
        reply = self.scripts.end(begun)
        now_ms, at = int(reply[0]), time.monotonic()
        return Answer(
            now_ms,
            int(reply[1]) if reply[1] else None,
            [status.decode() for status in reply[2]],
            [_handed(row, now_ms, at) for row in reply[3]],
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

    # Huey's interface, over the same scripts

    def close(self) -> None:
        """Drop this process's connections."""
        self.client.connection_pool.disconnect()

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        """Store opaque bytes as a job of its own; JobHuey adds jobs by `add`."""
        self.add([(self._foreign(priority), data)])

    def _foreign(self, priority: float | None = None) -> dict[str, Any]:
        return {"id": new_id(), "q": self.queues[0], "t": "", "p": int(priority or 0), "m": 1}

    def dequeue(self) -> bytes | None:
        """Take one job's bytes and complete it; JobHuey fetches under a lease instead."""
        answer = self.finish_and_fetch([], [], ONE)
        if not answer.jobs:
            self.wait(None)
            answer = self.finish_and_fetch([], [], ONE)
        if not answer.jobs:
            return None
        job = answer.jobs[0]
        done = {"id": job.id, "T": job.token, "to": "completed", "n": 1, "outcome": "completed"}
        self.finish_and_fetch([done], [], None)
        return job.envelope

    def _state_ids(self, kind: str, state: State, limit: int | None) -> list[bytes]:
        if kind == "due":
            return self.call("ZRANGE", self.keys.one("due"), 0, (limit or 0) - 1)
        found: list[bytes] = []
        for queue in self.queues:
            found += self.call("ZRANGE", self.keys.of("waiting", queue), 0, (limit or 0) - 1)
        return found

    def _envelopes(self, ids: Sequence[bytes]) -> list[bytes]:
        if not ids:
            return []
        names = [self.keys.of("envelope", job_id.decode()) for job_id in ids]
        return [data for data in self.call("MGET", *names) if data is not None]

    def queue_size(self) -> int:
        """Count the waiting jobs of all queues."""
        return sum(self.call("ZCARD", self.keys.of("waiting", queue)) for queue in self.queues)

    def enqueued_items(self, limit: int | None = None) -> list[bytes]:
        """Return waiting envelopes, next to run first within a queue."""
        return self._envelopes(self._state_ids("waiting", State.WAITING, limit))

    def schedule_size(self) -> int:
        """Count the scheduled and retrying jobs."""
        return int(self.call("ZCARD", self.keys.one("due")))

    def scheduled_items(self, limit: int | None = None) -> list[bytes]:
        """Return scheduled envelopes, soonest first."""
        return self._envelopes(self._state_ids("due", State.SCHEDULED, limit))

    def add_to_schedule(self, data: bytes, ts: Any) -> None:
        """Store opaque bytes as a job due at `ts`."""
        self.add([({**self._foreign(), "due": due_ms(ts), "hold": 1}, data)])

    def read_schedule(self, ts: Any) -> list[bytes]:
        """Lend the envelopes due by `ts` to Huey's scheduler, soonest first."""
        return self.scripts.run("handoff", 0, due_ms(ts), HANDOFF_KEPT_MS)

    def flush_state(self, *states: State) -> None:
        """Forget every job of these states, chunk by chunk; those that come meanwhile stay."""
        upto = self.call("HGET", self.keys.one("meta"), "clock") or 0
        for state in sorted(states, key=LIVE.__contains__):  # no batch ends by the way
            while self.scripts.run("flush", 0, state.value, CHUNK, upto, *self.queues):
                pass

    def flush_queue(self) -> None:
        """Forget every waiting job."""
        self.flush_state(State.WAITING)

    def flush_schedule(self) -> None:
        """Forget every scheduled and retrying job."""
        self.flush_state(State.SCHEDULED, State.RETRYING)

    def _value_key(self, key: str | bytes) -> str:
        return self.keys.of("value", _text(key))

    def put_data(self, key: str | bytes, value: bytes, is_result: bool = False) -> None:
        """Keep bytes under `key`; a result that belongs to no commit is kept for 7 days."""
        if is_result:
            self.call("SET", self.keys.of("result", _text(key)), value, "PX", 604_800_000)
        else:
            self.call("SET", self._value_key(key), value)

    def peek_data(self, key: str | bytes) -> Any:
        """Return the bytes under `key`, or EmptyData."""
        value = self.scripts.run("data", "peek", _text(key))
        return EmptyData if value is None else value

    def peek_many(self, keys: Sequence[str | bytes]) -> dict[Any, bytes]:
        """Return {key: bytes} of those that are there."""
        found = ((key, self.peek_data(key)) for key in keys)
        return {key: value for key, value in found if value is not EmptyData}

    def pop_data(self, key: str | bytes) -> Any:
        """Return the bytes under `key` and hide them, or EmptyData."""
        value = self.scripts.run("data", "pop", _text(key))
        return EmptyData if value is None else value

    def has_data_for_key(self, key: str | bytes) -> bool:
        """Tell whether there is something under `key`."""
        return bool(self.scripts.run("data", "has", _text(key)))

    def delete_data(self, key: str | bytes) -> bool:
        """Delete what is under `key`; tell whether there was something."""
        return self.pop_data(key) is not EmptyData

    def put_if_empty(self, key: str | bytes, value: bytes, ttl: float | None = None) -> bool:
        """Keep bytes under `key` unless there is something; `ttl` in seconds."""
        extra = ("PX", int(ttl * 1000)) if ttl else ()
        return self.call("SET", self._value_key(key), value, "NX", *extra) is not None

    def incr(self, key: str | bytes, amount: int = 1) -> int:
        """Add to a counter and return it."""
        return int(self.call("INCRBY", self._value_key(b"n:" + _text(key).encode()), amount))

    def delete_counter(self, key: str | bytes) -> None:
        """Delete a counter."""
        self.call("DEL", self._value_key(b"n:" + _text(key).encode()))

    def result_store_size(self) -> int:
        """Count the results nobody read yet."""
        kept = int(self.call("HGET", self.keys.one("meta"), "results") or 0)
        return kept + len(self._scan("result")) + len(self._plain_values())

    def _plain_values(self) -> list[str]:
        return [key for key in self._scan("value") if not key.startswith("n:")]

    def _scan(self, kind: str) -> list[str]:
        """Walk the keys of a kind; for Huey's own debugging calls, never for a page."""
        start = self.keys.of(kind, "")
        pattern = start.replace("[", "\\[") + "*"
        return [key.decode()[len(start) :] for key in self.client.scan_iter(pattern, count=1000)]

    def result_items(self) -> dict[str, bytes]:
        """Return {key: bytes} of every result nobody read; for debugging, walks the whole store."""
        names = set(self._scan("final")) | set(self._scan("result")) | set(self._plain_values())
        found = ((name, self.peek_data(name)) for name in names)
        return {name: value for name, value in found if value is not EmptyData}

    def flush_results(self) -> None:
        """Forget final jobs and every result."""
        self.flush_state(State.COMPLETED, State.FAILED, State.CANCELLED)
        for kind in ("result", "value"):
            self._drop([self.keys.of(kind, name) for name in self._scan(kind)])

    def flush_counters(self) -> None:
        """Forget Huey's counters and open chords."""
        counters = [name for name in self._scan("value") if name.startswith("n:")]
        self._drop([self.keys.of("value", name) for name in counters])
        self._drop([self.keys.of("chord", name) for name in self._scan("chord")])

    def flush_all(self) -> None:
        """Forget everything under this instance's prefix."""
        pattern = self.keys.prefix.replace("[", "\\[") + "*"
        self._drop(list(self.client.scan_iter(pattern, count=1000)))
        self.flushes += 1

    def _drop(self, names: Sequence[Any]) -> None:
        for start in range(0, len(names), 500):
            self.call("DEL", *names[start : start + 500])

    @property
    def _counters(self) -> dict[str, int]:
        """Return the open chords, as Huey's memory storage shows them."""
        return dict.fromkeys(self._scan("chord"), 1)


def _text(key: str | bytes) -> str:
    return key.decode() if isinstance(key, bytes) else key


def due_ms(ts: Any) -> int:
    """Return a datetime as Unix milliseconds; a naive one is UTC."""
    import calendar

    if ts.tzinfo is not None:
        return int(ts.timestamp() * 1000)
    return calendar.timegm(ts.timetuple()) * 1000 + ts.microsecond // 1000
