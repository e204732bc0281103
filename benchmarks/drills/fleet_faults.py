"""Rows of the fault matrix with many workers on one Redis: a quarter dies at once, all come back at once."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable

from benchmarks.drills.stage import Figures, Stage, until

CONSUMERS, EACH, KILLED = 12, 10, 3
LOOKED_S, AWAY_S = 10.0, 15.0
USUAL = {"DRILL_LEASE_S": "10", "DRILL_BEAT_S": "2"}  # the engine's own defaults


def many_workers(stage: Stage) -> Figures:
    """SIGKILL of 30 of 120 worker processes in one instant (lease 10 s, beat 2 s)"""
    numbers = _fleet(stage)
    idle = _asked_a_second(stage)
    names = stage.add(6000, work_s=0.5)
    until(lambda: len(stage.lines("start")) > 2 * CONSUMERS * EACH)
    stage.fault()
    for number in numbers[:KILLED]:
        os.killpg(stage.consumers[number].pid, signal.SIGKILL)
    reads = stage.app.huey.reads
    asked = _longest_ms(reads.workers), _longest_ms(reads.snapshot)
    found = stage.finish(names, 240)
    until(lambda: len(stage.lives()) == (CONSUMERS - KILLED) * EACH, 60, every_s=1)
    found.note = (
        f"{_ran_again(stage)} jobs ran again, {len(stage.lives())} workers alive; idle {idle:.0f} calls a second of"
        f" all; workers() {asked[0]:.0f} ms, snapshot() {asked[1]:.0f} ms; drift {stage.drift()}"
    )
    return found


def many_come_back(stage: Stage) -> Figures:
    """Redis is away for longer than the lease under 120 worker processes, then all come back at once"""
    _fleet(stage)
    names = stage.add(3000, work_s=0.5)
    until(lambda: len(stage.lines("start")) > 2 * CONSUMERS * EACH)
    stage.redis.kill()
    stage.redis.wait()
    time.sleep(AWAY_S)
    stage.redis = stage.start_redis()
    stage.fault()
    found = stage.finish(names, 240)
    found.note = f"{_ran_again(stage)} jobs ran again, {len(stage.lives())} workers alive, drift {stage.drift()}"
    return found


def _fleet(stage: Stage) -> list[int]:
    """Start the consumers. Returns: their numbers."""
    numbers = [stage.consumer(kind="process", slots=EACH, env=USUAL) for _ in range(CONSUMERS)]
    until(lambda: len(stage.lives()) == CONSUMERS * EACH, 240, every_s=1)
    return numbers


def _ran_again(stage: Stage) -> int:
    return sum(times > 1 for times in Counter(name for name, _ in stage.lines("start")).values())


def _asked_a_second(stage: Stage) -> float:
    """Return how often Redis hears from workers without a job."""
    time.sleep(5)
    before = stage.client.info("stats")["total_reads_processed"]
    time.sleep(LOOKED_S)
    after = stage.client.info("stats")["total_reads_processed"]
    return float(after - before) / LOOKED_S


def _longest_ms(ask: Callable[[], object]) -> float:
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - began) * 1000)
    return max(taken)
