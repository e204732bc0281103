"""What the dashboard asks, with few and with many finished jobs in Redis; and what it costs a fetch.

Each figure is a median of calls from Python, so it holds the round trip too. "Script" is the longest
time that Redis itself spent in one of them.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import redis

from benchmarks.filling import fill
from benchmarks.stage import server, table
from tasks.engine import JobFilter, JobHuey, Queue, State
from tasks.engine.records import Term

FEW, MANY, MILLION = 10_000, 50_000, 1_000_000
CALLS, FETCHES = 60, 1500
FAIL_EACH = 50
QUEUES = ("email", "payments", "sync")


def opened(url: str, name: str) -> tuple[JobHuey, list[Any]]:
    """Return a Huey with three queues, and a task in each."""
    kept = "7d/9000000"
    huey = JobHuey(
        name, url=url, queues=[Queue(q, retention=kept, retention_failed=kept) for q in QUEUES]
    )
    huey.commands.configure()
    made = [
        huey.task(name=f"work_{queue}", queue=queue, index=("to",))(_nothing) for queue in QUEUES
    ]
    return huey, made


def _nothing(number: int, to: str) -> None: ...


def calls(made: list[Any], jobs: int) -> Iterator[Any]:
    """Return calls spread over the tasks, ten for each address."""
    return (made[n % len(made)].s(n, f"person{n // 10}@example.org") for n in range(jobs))


def questions(huey: JobHuey) -> Mapping[str, Callable[[], object]]:
    """Return what is asked, by name."""
    reads = huey.reads
    some = reads.jobs(JobFilter(state=State.COMPLETED), limit=50)
    deep = some
    for _ in range(20):
        deep = reads.jobs(JobFilter(state=State.COMPLETED), deep.next, 50)
    to = Term("to", ("person7@example.org",))
    two = JobFilter(task="work_email", state=State.FAILED)
    job_id, old = some.items[0].id, reads.job(deep.items[-1].id)
    failed, words = JobFilter(state=State.FAILED), JobFilter(text="person7")
    failure = reads.jobs(failed, limit=50).items[25]
    return {
        "counts (snapshot)": reads.snapshot,
        "page of 50": lambda: reads.jobs(JobFilter(state=State.COMPLETED), limit=50),
        "page 21 of it": lambda: reads.jobs(JobFilter(state=State.COMPLETED), deep.next, 50),
        "search by address": lambda: reads.jobs(JobFilter(terms=(to,)), limit=50),
        "task and state": lambda: reads.jobs(two, limit=50),
        "address and state": lambda: reads.jobs(JobFilter(state=State.FAILED, terms=(to,)), limit=50),
        "job page": lambda: reads.job(job_id),
        "what an old job queued": lambda: reads.children(old),
        "place of a job in a state": lambda: reads.place(failed, failure.changed_at),
        "place of a job in a search for words": lambda: reads.place(words, failure.changed_at),
        "tasks' figures of a day": reads.by_task,
        "mix of tasks": reads.task_mix,
    }  # fmt: skip


def timed(act: Callable[[], object], times: int) -> list[float]:
    """Return the milliseconds of each call."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        act()
        found.append((time.perf_counter() - begun) * 1000)
    return found


def longest_ms(client: redis.Redis, act: Callable[[], object]) -> float:
    """Return the longest single command of an act, ms of Redis's own time; a median of several."""
    client.config_set("slowlog-log-slower-than", 0)
    client.config_set("slowlog-max-len", 2000)
    found = []
    for _ in range(9):
        client.slowlog_reset()
        act()
        entries = client.slowlog_get(2000)
        found.append(max((int(entry["duration"]) for entry in entries), default=0) / 1000)
    client.config_set("slowlog-log-slower-than", -1)
    return statistics.median(found)


def fetches(huey: JobHuey, made: list[Any]) -> list[float]:
    """Return the milliseconds of each of many fetches of one job, which is then finished."""
    huey.enqueue_many([made[n % 3].s(n, "x@example.org") for n in range(FETCHES)])
    found = []
    for _ in range(FETCHES):
        begun = time.perf_counter()
        task = huey.dequeue()
        found.append((time.perf_counter() - begun) * 1000)
        huey.execute(task)
    return found


@contextlib.contextmanager
def filled(url: str, jobs: int) -> Iterator[tuple[JobHuey, list[Any]]]:
    """Return a Huey on an emptied Redis that holds `jobs` finished jobs."""
    client = redis.Redis.from_url(url, socket_timeout=600)  # flushing many takes long
    client.flushall()
    huey, made = opened(url, "bench")
    fill(huey, calls(made, jobs), fail_each=FAIL_EACH)
    yield huey, made
    huey.lease.close()
    huey.storage.close()


def run(many: int = MANY, few: int = FEW) -> None:
    """Print the tables."""
    found: dict[int, dict[str, tuple[float, float, float]]] = {}
    fetched: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as url:
        client = redis.Redis.from_url(url)
        for jobs in (0, few, many):
            with filled(url, jobs) as (huey, made):
                if jobs:
                    found[jobs] = {
                        what: _asked(client, act) for what, act in questions(huey).items()
                    }
                fetched[jobs] = fetches(huey, made)
    _tables(found, fetched, few, many)


def _asked(client: redis.Redis, act: Callable[[], object]) -> tuple[float, float, float]:
    act()
    times = timed(act, CALLS)
    return statistics.median(times), sorted(times)[int(len(times) * 0.95)], longest_ms(client, act)


def _tables(found: dict[int, dict[str, tuple[float, float, float]]], fetched: dict[int, list[float]],
            few: int, many: int) -> None:  # fmt: skip
    rows = []
    for what, (p50, p95, script) in found[many].items():
        before = found[few][what]
        rows.append((what, f"{before[0]:.2f} / {before[1]:.2f}", f"{p50:.2f} / {p95:.2f}", f"{p50 / before[0]:.2f}",
                     f"{script:.2f}"))  # fmt: skip
    table(f"Reads with {few} and with {many} finished jobs, ms (p50 / p95)",
          ("", f"{few} jobs", f"{many} jobs", "ratio of p50", "longest command, ms"), rows)  # fmt: skip
    rows = []
    for jobs, times in fetched.items():
        times = sorted(times)
        p99, empty = times[int(len(times) * 0.99)], sorted(fetched[0])[int(len(fetched[0]) * 0.99)]
        rows.append((jobs, f"{statistics.median(times):.2f}", f"{p99:.2f}", f"{p99 / empty:.2f}"))
    table(f"One fetch beside that history, {FETCHES} fetches, ms",
          ("finished jobs", "p50", "p99", "p99 of an empty Redis"), rows)  # fmt: skip
