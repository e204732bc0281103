"""SIGKILL a consumer again and again with jobs in flight, then count: lost, doubled, seconds to heal."""

from __future__ import annotations

import importlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.stage import server

KILLS, CONSUMERS, THREADS, JOBS, WORK_S = 20, 2, 4, 2000, 0.05
LIMIT_S = 240


def start() -> subprocess.Popen[bytes]:
    """Start one stock consumer in a session of its own."""
    command = [
        sys.executable,
        "-m",
        "huey.bin.huey_consumer",
        "benchmarks.apps.ledger.huey",
        "-k",
        "thread",
        "-w",
        str(THREADS),
        "-q",
    ]
    return subprocess.Popen(
        command,
        env=os.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def run() -> None:
    """Run the drill with the default lease and print its figures."""
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as url:
        ledger = Path(name) / "ledger"
        os.environ.update(BENCH_REDIS=url, BENCH_FILE=str(ledger))
        app = importlib.import_module("benchmarks.apps.ledger")
        added = [app.work(f"job{n}", WORK_S).id for n in range(JOBS)]
        killed = _kill_again_and_again(ledger)
        _report(app, added, ledger, killed)


def _kill_again_and_again(ledger: Path) -> list[float]:
    """Kill a random consumer KILLS times, start another each time; then let the rest drain."""
    consumers = [start() for _ in range(CONSUMERS)]
    _until(lambda: ledger.exists() and "start" in ledger.read_text())
    killed: list[float] = []
    for _ in range(KILLS):
        time.sleep(random.uniform(0.6, 1.2))
        victim = consumers.pop(random.randrange(len(consumers)))
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()
        killed.append(time.time())
        consumers.append(start())
    _until(lambda: len(set(_lines(ledger, "end"))) >= JOBS)
    for consumer in consumers:
        consumer.send_signal(signal.SIGTERM)
        consumer.wait(30)
    return killed


def _until(condition: object) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition() and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.1)


def _lines(ledger: Path, kind: str) -> list[str]:
    return [
        line.split()[1] for line in ledger.read_text().splitlines() if line.startswith(kind + " ")
    ]


def _report(app: object, added: list[str], ledger: Path, killed: list[float]) -> None:
    ended = Counter(_lines(ledger, "end"))
    starts: dict[str, list[float]] = {}
    for line in ledger.read_text().splitlines():
        kind, job, at = line.split()
        if kind == "start":
            starts.setdefault(job, []).append(float(at))
    heal = []
    for times in starts.values():
        for first, second in zip(times, times[1:], strict=False):
            before = [at for at in killed if first <= at <= second]
            if before:
                heal.append(second - before[0])
    states = {state.value: n for state, n in app.huey.reads.snapshot().totals.items() if n}  # type: ignore[attr-defined]
    print(
        f"\nDrill: {KILLS} SIGKILLs, {CONSUMERS} consumers of {THREADS} threads, {len(added)} jobs of {WORK_S * 1000:.0f} ms"
    )
    print(
        f"  lost {len(added) - len(ended)}, ran twice to the end {sum(n > 1 for n in ended.values())}, started again {len(heal)}"
    )
    if heal:
        print(
            f"  seconds from the kill to the new start: median {statistics.median(heal):.1f}, max {max(heal):.1f}"
        )
    print(f"  states at the end: {states}")
