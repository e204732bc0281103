"""Queueing: single calls, and many at once, beside RedisHuey and BullMQ in the same run."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redis

from benchmarks import bullmq, stage
from benchmarks.stage import ratios, server, spread, table

ROUNDS, SINGLE, MANY = 5, 2000, 10000


def rate(act: Callable[[], object], jobs: int) -> float:
    """Return how many jobs a second `act` queues."""
    began = time.perf_counter()
    act()
    return jobs / (time.perf_counter() - began)


def run() -> None:
    """Print one table for single calls and one for many."""
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as url:
        os.environ.update(BENCH_REDIS=url, BENCH_FILE=str(Path(name) / "out"), BENCH_PREFETCH="1")
        ours = stage.app("benchmarks.apps.ours")
        stock = stage.app("benchmarks.apps.stock")
        client = redis.Redis.from_url(url)
        single = {
            "RedisHuey": lambda: [stock.tick(n) for n in range(SINGLE)],
            "JobHuey": lambda: [ours.tick(n) for n in range(SINGLE)],
            "JobHuey, an argument indexed": lambda: [ours.indexed(n) for n in range(SINGLE)],
        }
        _compare(client, f"Queueing, {SINGLE} single calls", single, SINGLE)
        many: dict[str, Callable[[], object]] = {
            "RedisHuey, map": lambda: stock.tick.map(range(MANY)),
            "JobHuey, enqueue_many": lambda: ours.huey.enqueue_many(
                [ours.tick.s(n) for n in range(MANY)]
            ),
        }
        bulk = {"BullMQ, addBulk": lambda: bullmq.add(url, MANY)} if bullmq.ready() else {}
        _compare(client, f"Queueing, {MANY} at once", many, MANY, bulk)


def _compare(client: redis.Redis, title: str, acts: dict[str, Callable[[], object]], jobs: int,
             own_clock: dict[str, Callable[[], float]] | None = None) -> None:  # fmt: skip
    """Let them take turns; those of `own_clock` (other processes) tell their rate themselves."""
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, act in acts.items():
            client.flushall()
            found.setdefault(name, []).append(rate(act, jobs))
        for name, tell in (own_clock or {}).items():
            client.flushall()
            found.setdefault(name, []).append(tell())
    base = found[next(iter(acts))]
    rows = [[name, spread(values, ".0f"), ratios(values, base)] for name, values in found.items()]
    table(f"{title} ({ROUNDS} rounds in turn; min / median / max)",
          ["producer, one process", "jobs/s", "ratio to the first"], rows)  # fmt: skip
