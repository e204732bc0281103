"""No-op jobs through one consumer process, beside RedisHuey and BullMQ in the same run.

The peers take turns; a rate is taken from the growth of a file between 5 % and 100 % of the jobs, so
that starting up does not count. JobHuey and BullMQ keep a history of each job, Huey keeps none.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import redis

from benchmarks import bullmq, stage
from benchmarks.stage import consumer, counters, ratios, running, server, spread, table

ROUNDS = 4
LIMIT_S = 120


@dataclass(frozen=True)
class Peer:
    """One engine with its options; `jobs` are as many as it does in a few seconds."""

    name: str
    module: str
    threads: int
    jobs: int
    env: tuple[tuple[str, str], ...] = ()


STOCK, OURS = "benchmarks.apps.stock", "benchmarks.apps.ours"
OFF = (("BENCH_PREFETCH", "0"),)
PEERS = (
    Peer("RedisHuey, 1 thread", STOCK, 1, 8000),
    Peer("RedisHuey, 8 threads", STOCK, 8, 8000),
    Peer("PriorityRedisHuey, 1 thread", STOCK, 1, 8000, (("BENCH_CLASS", "PriorityRedisHuey"),)),
    Peer("BullMQ, concurrency 50", "bullmq", 50, 20000),
    Peer("JobHuey, 1 thread", OURS, 1, 30000),
    Peer("JobHuey, 8 threads", OURS, 8, 30000),
    Peer("JobHuey, 1 thread, prefetch off", OURS, 1, 8000, OFF),
    Peer("JobHuey, 8 threads, prefetch off", OURS, 8, 12000, OFF),
)


def fill(peer: Peer, url: str) -> None:
    """Queue the peer's jobs, as fast as it can."""
    if peer.module == "bullmq":
        bullmq.add(url, peer.jobs)
        return
    os.environ.update(dict(peer.env))
    app = stage.app(peer.module)
    if peer.module == OURS:
        app.huey.commands.configure()
        app.huey.enqueue_many([app.tick.s(number) for number in range(peer.jobs)])
    else:
        for number in range(peer.jobs):
            app.tick(number)


def worker(peer: Peer, url: str) -> AbstractContextManager[int]:
    """Start the peer's one worker process."""
    if peer.module == "bullmq":
        return running(bullmq.command("work", url, peer.threads), os.environ, bullmq.folder())
    return consumer(peer.module, peer.threads, dict(peer.env))


def one(peer: Peer, url: str, folder: Path) -> dict[str, float]:
    """Run the peer's jobs. Returns: its rate, and what a job cost, by name."""
    client = redis.Redis.from_url(url)
    client.flushall()
    file = folder / f"{time.time_ns()}"
    file.touch()
    os.environ.update(
        BENCH_REDIS=url, BENCH_FILE=str(file), BENCH_PREFETCH="1", BENCH_CLASS="RedisHuey"
    )
    fill(peer, url)
    with worker(peer, url) as pid:
        _until(file, peer.jobs // 20)
        began, before, first = time.perf_counter(), counters(client, pid), file.stat().st_size
        _until(file, peer.jobs)
        took, after, done = time.perf_counter() - began, counters(client, pid), peer.jobs - first
    client.close()
    each = {name: (after[name] - before[name]) / done for name in after}
    return {"rate": done / took, "trips": each["reads"], "script": each["script_us"],
            "process": each["process_s"] * 1e6, "redis": each["redis_s"] * 1e6}  # fmt: skip


def _until(file: Path, size: int) -> None:
    until = time.monotonic() + LIMIT_S
    while file.stat().st_size < size:
        if time.monotonic() > until:
            raise TimeoutError(f"{file.stat().st_size} of {size} jobs after {LIMIT_S} s")
        time.sleep(0.001)


def compare(title: str, peers: tuple[Peer, ...], rounds: int, *, aof: bool = False) -> None:
    """Let the peers take turns and print their table; the first is the base of the ratios."""
    if not bullmq.ready():
        peers = tuple(peer for peer in peers if peer.module != "bullmq")
    found: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in peers}
    with tempfile.TemporaryDirectory() as name, server(Path(name), aof=aof) as url:
        for _ in range(rounds):
            for peer in peers:
                found[peer.name].append(one(peer, url, Path(name)))
    base = [figures["rate"] for figures in found[peers[0].name]]
    rows = []
    for peer in peers:
        column = {key: [one[key] for one in found[peer.name]] for key in found[peer.name][0]}
        rows.append([peer.name, spread(column["rate"], ".0f"), ratios(column["rate"], base),
                     *(f"{sorted(column[key])[len(column[key]) // 2]:.2f}" for key in ("trips",)),
                     *(f"{sorted(column[key])[len(column[key]) // 2]:.0f}" for key in ("process", "redis", "script"))])  # fmt: skip
    table(f"{title} ({rounds} rounds in turn; min / median / max)",
          ["engine, one process", "jobs/s", "ratio to the first", "round trips a job", "worker CPU us a job",
           "Redis CPU us a job", "script us a job"], rows)  # fmt: skip


def run() -> None:
    """Print the table without persistence."""
    compare("Throughput, no-op jobs", PEERS, ROUNDS)


def run_aof() -> None:
    """Print the table with the append-only file, synced each second."""
    peers = tuple(peer for peer in PEERS if peer.name in {
        "RedisHuey, 1 thread", "BullMQ, concurrency 50", "JobHuey, 1 thread", "JobHuey, 8 threads"})  # fmt: skip
    compare("Throughput, no-op jobs, AOF everysec", peers, ROUNDS, aof=True)
