"""JobHuey: Huey whose side effects are collected per attempt and committed by one script.

Its parts, from the ground up: registering.py, enqueueing.py, slots.py (fetch and commit) and
attempts.py (running).
"""

from __future__ import annotations

import datetime as dt
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

from tasks.engine import values
from tasks.engine.commands import Commands
from tasks.engine.consumer import JobConsumer
from tasks.engine.errors import UnknownQueue
from tasks.engine.figures.metrics import Observations
from tasks.engine.queues import Queue
from tasks.engine.reads import Reads
from tasks.engine.running.attempts import Attempts
from tasks.engine.running.dispatch import Dispatch
from tasks.engine.running.locks import JobLock, JobRateLimit
from tasks.engine.storage import JobStorage


class JobHuey(Attempts):
    """Huey on Redis that loses no job and remembers every one.

    Args:
        name: of the instance; all its keys carry it.
        url: `redis://`, `rediss://`, `unix://`, `redis+sentinel://host,host/service/0` or
            `redis+cluster://host,host`.
        queues: the queues there are; the first is the default one.
        cipher: encrypts arguments named in a task's `secret`.
        spill: called with (job id, envelope, due) when Redis cannot be reached; returns whether it
            took the job. May be set later.
        lease_s, beat_s: how long a silent worker keeps its jobs, how often it says it lives.
        hop_delayed: send delayed jobs through the waiting queue, as Huey does.
        prefetch: take quick jobs ahead of their time, up to 5 ms of work.
        strict: a consumer refuses a server that could lose jobs (eviction, no append-only file).
    """

    def __init__(self, name: str = "jobs", *,  # noqa: PLR0913 - each is an option of its own
                 url: str = "redis://127.0.0.1:6379/0",
                 queues: Sequence[Queue] = (Queue("default"),), cipher: values.Cipher | None = None,
                 spill: Callable[[str, bytes, dt.datetime | None], bool] | None = None,
                 lease_s: float = 10.0, beat_s: float = 2.0, hop_delayed: bool = False,
                 serve: Sequence[str] | None = None,
                 prefetch: bool = True,
        strict: bool = False, version: str = "", **options: Any) -> None:  # fmt: skip
        self.declared = {queue.name: queue for queue in queues}
        self.default_queue = next(iter(self.declared))
        self.cipher, self.spill, self.hop_delayed = cipher, spill, hop_delayed
        self.lease_s, self.beat_s, self.version = lease_s, beat_s, version
        self.strict = strict
        self.prefetch = prefetch
        self._dispatch: Dispatch | None = None
        self.worker_info: dict[str, Any] = {}
        self.interrupts_by = signal.SIGTERM
        self.parent_pid = 0  # of the consumer, where its slots are processes
        self._lease_lock = threading.Lock()
        self._slot = threading.local()
        self._opened_at_once = {}
        options.setdefault("serializer", values.JsonSerializer())
        super().__init__(name, storage_class=JobStorage, url=url,
                         queues=tuple(self.declared), hop=hop_delayed, **options)  # fmt: skip
        if serve:
            self.serve(serve)
        if isinstance(self.storage, JobStorage):
            self.bind()

    def bind(self) -> None:
        """Join reads, commands and the figures of the web process to the storage."""
        self.storage.proc = lambda: self.lease.proc
        self.reads = Reads(self)
        self.commands = Commands(self)
        self.observations = Observations(self.storage)

    def serve(self, names: Sequence[str]) -> None:
        """Serve only these queues in this process. Raises UnknownQueue."""
        for queue in names:
            if queue not in self.declared:
                raise UnknownQueue(
                    f"there is no queue {queue!r}; there are {', '.join(self.declared)}"
                )
        self.storage.served = tuple(queue for queue in self.declared if queue in names)

    def lock_task(self, lock_name: str, ttl: float | None = None) -> JobLock:
        """Return a lock that ends with the process that holds it, or after `ttl` seconds."""
        return JobLock(self, lock_name, ttl)

    def is_locked(self, lock_name: str) -> bool:
        """Tell whether somebody who lives holds the lock."""
        return JobLock(self, lock_name).is_locked()

    def rate_limit(self, name: str, limit: int, per: float, retry: bool = True) -> JobRateLimit:
        """Return a limit of starts in each window of `per` seconds of Redis's clock."""
        return JobRateLimit(self, name, limit, per, retry=retry)

    def observe(self, what: str, ms: float) -> None:
        """Keep a figure of this process (`what` is `api`); written at most once a second."""
        self.observations.add(what, ms)

    def create_consumer(self, **options: Any) -> JobConsumer:
        """Return a consumer that keeps a lease, ticks once and stops without losing a job."""
        return JobConsumer(self, **options)
