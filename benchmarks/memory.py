"""Bytes of Redis for a finished mail job with its history, each index in a line of its own.

The peer keeps the same fields as one plain hash a job, and one entry in a sorted set.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis

from benchmarks.filling import RESULT, fill
from benchmarks.stage import server, table
from tasks.engine import JobHuey, Queue

JOBS = 30_000
EACH_ADDRESS = 10
DATA = {"name": "Ada", "course": "Logic"}


def calls(huey: JobHuey, jobs: int, **settings: Any) -> Iterator[Any]:
    """Return mail-like calls: an envelope of about 220 bytes."""

    @huey.task(name="emails.deliver_email", retries=4, **settings)
    def deliver_email(
        email_id: int, kind: str, to: str, user_id: int, data: dict[str, str]
    ) -> None: ...

    return (
        deliver_email.s(
            n, "welcome", f"person{n // EACH_ADDRESS}@example.org", n // EACH_ADDRESS, DATA
        )
        for n in range(jobs)
    )


def ours(jobs: int, fail_each: int = 0, **settings: Any) -> Callable[[redis.Redis, str], None]:
    """Return what fills a Redis with `jobs` finished jobs."""

    def run(client: redis.Redis, url: str) -> None:
        huey = JobHuey(
            "bench",
            url=url,
            queues=[Queue("email", retention="7d/9000000", retention_failed="7d/9000000")],
        )
        huey.commands.configure()
        fill(huey, calls(huey, jobs, **settings), fail_each=fail_each)
        huey.storage.close()

    return run


def plain(jobs: int) -> Callable[[redis.Redis, str], None]:
    """Return what fills a Redis with plain hashes of the same fields."""

    def run(client: redis.Redis, url: str) -> None:
        huey = JobHuey("bench", url=url, queues=[Queue("email")])
        pipe = client.pipeline(transaction=False)
        for n, task in enumerate(calls(huey, jobs)):
            fields = {
                "task": "benchmarks.memory.emails.deliver_email", "queue": "email", "state": "completed", "priority": 0,
                "created": 1795000000000 + n, "started": 1795000000100 + n, "finished": 1795000000140 + n,
                "attempts": 1, "max_attempts": 5, "worker": "host-1-4242", "wait_ms": 100,
                "envelope": huey.serialize_task(task), "result": RESULT,
            }  # fmt: skip
            pipe.hset(f"job:{task.id}", mapping=fields)
            pipe.zadd("completed", {task.id: n})
            if n % 1000 == 999:
                pipe.execute()
        pipe.execute()
        huey.storage.close()

    return run


def measured(
    client: redis.Redis, url: str, act: Callable[[redis.Redis, str], None], jobs: int
) -> float:
    """Return the bytes a job that `act` leaves behind."""
    client.flushall()
    before = client.info("memory")["used_memory"]
    act(client, url)
    return (client.info("memory")["used_memory"] - before) / jobs


def run(jobs: int = JOBS) -> None:
    """Print the table."""
    kinds = {
        "plain hash, one sorted set": plain(jobs),
        "JobHuey, state and queue": ours(jobs),
        "and one declared argument, ten jobs a value": ours(jobs, index=("to",)),
        "and a second one": ours(jobs, index=("to", "user_id")),
        "failed, with error, task and group indexes": ours(jobs, fail_each=1),
    }
    rows = []
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as url:
        client = redis.Redis.from_url(url, socket_timeout=600)  # flushing many takes long
        ours(100)(client, url)  # scripts take memory once, not for each job
        found = {}
        for kind, act in kinds.items():  # a million jobs take some minutes a kind
            found[kind] = measured(client, url, act, jobs)
            print(f"{kind}: {found[kind]:.0f} bytes", file=sys.stderr, flush=True)
    base, least = found["plain hash, one sorted set"], found["JobHuey, state and queue"]
    for kind, bytes_ in found.items():
        more = "" if kind.startswith(("plain", "JobHuey")) else f"{bytes_ - least:+.0f}"
        rows.append((kind, f"{bytes_:.0f}", more, f"{bytes_ / base:.2f}"))
    table(f"Memory of a finished mail job, {jobs} jobs, bytes a job",
          ("", "bytes", "more", "of a plain hash"), rows)  # fmt: skip
