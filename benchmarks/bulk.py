"""Bulk operations: how long Redis is held by one chunk, and what workers beside it notice.

Times of a chunk are Redis's own (its slow log), so a machine with other work shows its preemptions
in them; the CPU column does not. BULK_JOBS says how many jobs (20 000).
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import redis

from benchmarks import stage
from benchmarks.stage import consumer, counters, ratios, server, spread, table

JOBS = int(os.environ.get("BULK_JOBS", "20000"))
BESIDE = int(os.environ.get("BULK_BESIDE", "400000"))
ROUNDS = int(os.environ.get("BULK_ROUNDS", "4"))
LIMIT_S = 300
STEPS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("tag", "waiting", {"tags": ["outage"]}), ("priority", "waiting", {"priority": 5}),
    ("patch", "waiting", {"name": "number", "value": 7}), ("cancel", "waiting", {}),
    ("retry", "cancelled", {}), ("reschedule", "waiting", {"delay_s": 3600}), ("run_now", "scheduled", {}),
    ("discard", "waiting", {}),
)  # fmt: skip


def app(url: str, folder: Path) -> Any:
    """Return the application on a server of its own."""
    os.environ.update(BENCH_REDIS=url, BENCH_FILE=str(folder / "out"), BENCH_PREFETCH="1")
    found = stage.app("benchmarks.apps.ours")
    found.huey.commands.configure()
    return found


def fill(found: Any, many: int) -> None:
    """Queue jobs, ten thousand at a time."""
    for start in range(0, many, 10_000):
        ends = min(many, start + 10_000)
        found.huey.enqueue_many([found.tick.s(n) for n in range(start, ends)])


def run_chunks() -> None:
    """Print what each kind costs, as fast as it goes, with no worker beside."""
    from tasks.engine import JobFilter, State
    from tasks.engine.sources import sha

    rows = []
    with tempfile.TemporaryDirectory() as name, server(Path(name), aof=True) as url:
        found, client = app(url, Path(name)), redis.Redis.from_url(url)
        client.config_set("slowlog-max-len", 100_000)
        # us: the commands inside a call are kept too, and are shorter
        client.config_set("slowlog-log-slower-than", 200)
        fill(found, JOBS)
        huey = found.huey
        for kind, state, given in STEPS:
            operation = huey.commands.start_operation(
                kind, filter=JobFilter(state=State(state)), **given
            )
            client.slowlog_reset()
            before, began = counters(client), time.perf_counter()
            while huey.commands.step_operations():
                pass
            took, after = time.perf_counter() - began, counters(client)
            wanted = sha("bulk_step").encode()
            calls = [c["duration"] / 1000 for c in client.slowlog_get(100_000) if wanted in c["command"]]  # fmt: skip
            done = huey.reads.operation(operation.id).done
            cpu_ms = (after["redis_s"] - before["redis_s"]) * 1000 / max(1, len(calls))
            high = statistics.quantiles(calls, n=100)[98]
            rows.append([kind, done, f"{done / took:.0f}", len(calls), f"{done / len(calls):.0f}",
                         f"{statistics.median(calls):.2f}", f"{high:.2f}", f"{max(calls):.2f}", f"{cpu_ms:.2f}",
                         sum(call > 10 for call in calls)])  # fmt: skip
        client.close()
    table(f"Bulk operations on {JOBS} jobs, AOF everysec", ["kind", "done", "jobs/s", "calls", "jobs a call",
          "p50 ms", "p99 ms", "max ms", "Redis CPU ms a call", "over 10 ms"], rows)  # fmt: skip


def run_beside() -> None:
    """Print how fast a worker runs jobs while it carries on an operation, beside without."""
    rates: dict[str, list[float]] = {"alone": [], "beside a bulk retry": []}
    speed: list[float] = []
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as url:
        found, client = app(url, Path(name)), redis.Redis.from_url(url)
        for _ in range(ROUNDS):
            for what, measured in rates.items():
                client.flushall()
                rate, retried = _one(found, Path(name) / "out", beside=what != "alone")
                measured.append(rate)
                speed += [retried] if retried else []
        client.close()
    rows = [[what, spread(each, ".0f"), ratios(each, rates["alone"])] for what, each in rates.items()]  # fmt: skip
    rows.append(["the retry itself, jobs/s", spread(speed, ".0f"), ""])
    table(f"A worker of 8 slots while {JOBS} jobs are retried ({ROUNDS} rounds in turn)",
          ["worker", "jobs/s, min / median / max", "ratio to alone"], rows)  # fmt: skip


def _one(found: Any, out: Path, *, beside: bool) -> tuple[float, float]:
    """Run jobs through a worker. Returns: its jobs/s, and those of the operation it carries on."""
    from tasks.engine import JobFilter, State

    huey, made = found.huey, None
    huey.commands.configure()
    fill(found, JOBS)
    huey.commands.start_operation("cancel", filter=JobFilter(state=State.WAITING))
    while huey.commands.step_operations():
        pass
    fill(found, BESIDE)
    if beside:
        cancelled = JobFilter(state=State.CANCELLED)
        made = huey.commands.start_operation("retry", filter=cancelled, delay_s=3600)
    start = out.stat().st_size
    with consumer("benchmarks.apps.ours", 8):
        _until(out, start + BESIDE // 20)
        begun, first = time.perf_counter(), out.stat().st_size
        _until(out, start + BESIDE)
        took = time.perf_counter() - begun
    done = huey.reads.operation(made.id).done if made else 0
    return (start + BESIDE - first) / took, done / took


def _until(file: Path, size: int) -> None:
    until = time.monotonic() + LIMIT_S
    while file.stat().st_size < size:
        if time.monotonic() > until:
            raise TimeoutError(f"{file.stat().st_size} of {size} jobs after {LIMIT_S} s")
        time.sleep(0.001)


def run() -> None:
    """Print both tables."""
    run_chunks()
    run_beside()
