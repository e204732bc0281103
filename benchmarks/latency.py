"""From the call to the start of its job on an idle worker, and what an idle worker costs."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import redis

from benchmarks import stage
from benchmarks.stage import consumer, counters, ratios, server, spread, table

PEERS = {"RedisHuey": "benchmarks.apps.stock", "JobHuey": "benchmarks.apps.ours"}
ROUNDS, CALLS, PAUSE_S, THREADS = 5, 150, 0.01, 8
IDLE_S, IDLE_ROUNDS = 8.0, 3


def run() -> None:
    """Print the latencies; both workers live the whole time and take turns."""
    found: dict[str, list[list[int]]] = {name: [] for name in PEERS}
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as url, ExitStack() as stack:
        os.environ.update(BENCH_REDIS=url, BENCH_PREFETCH="1", BENCH_CLASS="RedisHuey")
        apps = {}
        for peer, module in PEERS.items():
            os.environ["BENCH_FILE"] = str(Path(name) / peer)
            apps[peer] = stage.app(module)
            stack.enter_context(consumer(module, THREADS))
        for peer in PEERS:
            _round(apps[peer], Path(name) / peer, 20)  # both are up and warm
        for _ in range(ROUNDS):
            for peer in PEERS:
                found[peer].append(_round(apps[peer], Path(name) / peer, CALLS))
    p50 = {
        peer: [float(statistics.median(one)) for one in rounds] for peer, rounds in found.items()
    }
    p99 = {
        peer: [statistics.quantiles(one, n=100)[98] for one in rounds]
        for peer, rounds in found.items()
    }
    rows = [[peer, spread(p50[peer], ".0f"), ratios(p50[peer], p50["RedisHuey"]), spread(p99[peer], ".0f"),
             ratios(p99[peer], p99["RedisHuey"])] for peer in PEERS]  # fmt: skip
    table(f"Call to start on an idle worker, {THREADS} threads, {CALLS} calls a round, microseconds"
          f" ({ROUNDS} rounds in turn; min / median / max)",
          ["engine", "p50", "p50 ratio", "p99", "p99 ratio"], rows)  # fmt: skip


def _round(app: object, file: Path, calls: int) -> list[int]:
    """Call again and again, a pause between. Returns: microseconds to the start of each."""
    before = file.read_text().count("\n") if file.exists() else 0
    for _ in range(calls):
        app.late(time.monotonic_ns())  # type: ignore[attr-defined]
        time.sleep(PAUSE_S)
    until = time.monotonic() + 30
    while file.read_text().count("\n") < before + calls:
        if time.monotonic() > until:
            raise TimeoutError("the worker did not run all")
        time.sleep(0.01)
    return [int(line) for line in file.read_text().split()[before:]]


def run_idle() -> None:
    """Print what an idle worker asks of Redis and of its core."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in PEERS}
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as url:
        os.environ.update(BENCH_REDIS=url, BENCH_FILE=str(Path(name) / "out"), BENCH_PREFETCH="1")
        client = redis.Redis.from_url(url)
        for _ in range(IDLE_ROUNDS):
            for peer, module in PEERS.items():
                with consumer(module, THREADS) as pid:
                    time.sleep(3)  # it has started
                    before = counters(client, pid)
                    time.sleep(IDLE_S)
                    after = counters(client, pid)
                own = 6  # socket reads of the counters themselves
                found[peer].append(((after["reads"] - before["reads"] - own / 2) / IDLE_S,
                                    (after["process_s"] - before["process_s"]) / IDLE_S * 100))  # fmt: skip
    rows = [[peer, spread([reads for reads, _ in rounds], ".1f"), spread([share for _, share in rounds])]
            for peer, rounds in found.items()]  # fmt: skip
    table(f"An idle worker of {THREADS} threads ({IDLE_ROUNDS} rounds in turn; min / median / max)",
          ["engine", "Redis calls a second", "per cent of a core"], rows)  # fmt: skip
