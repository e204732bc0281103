"""Huey's storage interface, over the engine's scripts: what Huey itself asks, and its debugging calls."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis
from huey.constants import EmptyData
from huey.storage import BaseStorage

from tasks.engine.ids import new_id
from tasks.engine.keys import Keys
from tasks.engine.records import LIVE, State
from tasks.engine.scripts import Scripts

CHUNK = 200
HANDOFF_KEPT_MS = 60_000
ONE: Mapping[str, Any] = {"want": 1, "most": 1, "each": 0, "left": 0, "pace": {}}


class HueyStorage(BaseStorage):
    """The part of JobStorage that Huey knows; the rest is in storage.py."""

    blocking = True
    priority = True
    queues: tuple[str, ...]
    client: redis.Redis
    keys: Keys
    scripts: Scripts
    flushes: int

    # JobStorage's own
    call: Callable[..., Any]
    add: Callable[..., list[tuple[str, str]]]
    finish_and_fetch: Callable[..., Any]
    wait: Callable[[float | None], bool]

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
    if ts.tzinfo is not None:
        return int(ts.timestamp() * 1000)
    return calendar.timegm(ts.timetuple()) * 1000 + ts.microsecond // 1000
