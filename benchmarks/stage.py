"""What the benchmarks stand on: a Redis of their own, stock consumers, counters, and one way to print."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import redis

TICKS_S = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def server(folder: Path, *, aof: bool = False) -> Iterator[str]:
    """Start a Redis of its own, without persistence or with AOF everysec, and return its URL."""
    from demo.redis_server import choose

    path = folder / "redis.sock"
    binary = str(choose(folder).binary)
    keep = ["--appendonly", "yes", "--appendfsync", "everysec"] if aof else ["--appendonly", "no"]
    command = [
        binary,
        "--port",
        "0",
        "--unixsocket",
        str(path),
        "--dir",
        str(folder),
        "--save",
        "",
        *keep,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 10
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.02)
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait()


def app(module: str) -> Any:
    """Import an application anew: it reads its server and options from the environment."""
    sys.modules.pop(module, None)
    return importlib.import_module(module)


@contextlib.contextmanager
def consumer(module: str, threads: int, extra: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run the stock consumer on `module`; returns its process id."""
    command = [sys.executable, "-m", "huey.bin.huey_consumer", f"{module}.huey", "-k", "thread",
               "-w", str(threads), "-q"]  # fmt: skip
    with running(command, {**os.environ, **(extra or {})}) as pid:
        yield pid


@contextlib.contextmanager
def running(
    command: Sequence[str], env: Mapping[str, str], cwd: str | None = None
) -> Iterator[int]:
    """Run a process and end it by an interrupt."""
    process = subprocess.Popen(command, env=dict(env), cwd=cwd, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process; 0 where /proc does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_S


def counters(client: redis.Redis, pid: int = 0) -> dict[str, float]:
    """Return what is compared before and after: socket reads, script time, CPU of both sides."""
    stats, commands, cpu = client.info("stats"), client.info("commandstats"), client.info("cpu")
    scripts = [
        commands.get(f"cmdstat_{name}", {}).get("usec", 0) for name in ("evalsha", "eval", "fcall")
    ]
    return {
        "reads": stats["total_reads_processed"], "script_us": sum(scripts),
        "redis_s": cpu["used_cpu_user"] + cpu["used_cpu_sys"], "process_s": cpu_s(pid) if pid else 0.0,
    }  # fmt: skip


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Write min, median and max."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{low:{form}} / {middle:{form}} / {high:{form}}"


def ratios(values: Sequence[float], base: Sequence[float]) -> str:
    """Write the ratio of each round to that round's base: min, median and max."""
    return spread([value / other for value, other in zip(values, base, strict=True)])


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table, in the form that docs/performance.md takes."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    print(f"\n{title}\n")
    for number, line in enumerate(lines):
        print(
            "| "
            + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            + " |"
        )
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
