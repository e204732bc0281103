"""The fault matrix: each row breaks one thing under load, then counts lost, doubled, seconds to heal."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from benchmarks.drills.clock_faults import worker_clock
from benchmarks.drills.disk_faults import full_disk, full_disk_killed, full_disk_snapshot
from benchmarks.drills.election_faults import cluster_kill, sentinel_freeze, sentinel_kill
from benchmarks.drills.fleet_faults import many_come_back, many_workers
from benchmarks.drills.server_faults import (
    cut_connections,
    failover,
    full_memory,
    kill_redis,
    promote,
    script_flush,
    silence,
    torn_file,
)
from benchmarks.drills.stage import BEAT_S, LEASE_S, Figures, Stage, until


def kill_threads(stage: Stage) -> Figures:
    """SIGKILL of a consumer of threads, four times"""
    return _kill_consumers(stage, "thread")


def kill_processes(stage: Stage) -> Figures:
    """SIGKILL of a consumer of processes with its children, four times"""
    return _kill_consumers(stage, "process")


def kill_greenlets(stage: Stage) -> Figures:
    """SIGKILL of a consumer of greenlets, four times"""
    return _kill_consumers(stage, "greenlet")


def _kill_consumers(stage: Stage, kind: str) -> Figures:
    names = stage.add(400)
    alive = [stage.consumer(kind=kind), stage.consumer(kind=kind)]
    stage.running()
    for _ in range(4):
        time.sleep(0.7)
        _kill(stage, alive.pop(0))
        alive.append(stage.consumer(kind=kind))
    return stage.finish(names)


def kill_parent(stage: Stage) -> Figures:
    """SIGKILL of the parent alone of -k process, four times"""
    names = stage.add(400)
    current = stage.consumer(kind="process")
    stage.running()
    for _ in range(4):
        time.sleep(0.7)
        stage.fault()
        stage.consumers[current].kill()
        stage.consumers[current].wait()
        current = stage.consumer(kind="process")
    found = stage.finish(names)
    until(lambda: len(stage.lives()) == 4, 20)  # the children of the last one
    found.note = f"{len(stage.lives()) - 4} children left over, {stage.recovered()} recoveries"
    return found


def versions(stage: Stage) -> Figures:
    """An older version's consumers beside this one's, each killed twice"""
    old = stage.home / "old"
    commits = ["git", "log", "-2", "--format=%h", "--", "tasks/engine"]
    rev = os.environ.get("DRILL_OLD") or _said(commits).split()[-1]
    old.mkdir()
    with tempfile.TemporaryFile() as archive:
        subprocess.run(["git", "archive", rev, "tasks", "benchmarks"], stdout=archive, check=True)
        archive.seek(0)
        subprocess.run(["tar", "-x", "-C", str(old)], stdin=archive, check=True)
    names = stage.add(400)
    alive = [(stage.consumer(code=code), code) for code in (old, None)]
    stage.running()
    for _ in range(4):
        time.sleep(0.7)
        number, code = alive.pop(0)
        _kill(stage, number)
        alive.append((stage.consumer(code=code), code))
    found = stage.finish(names)
    found.note = f"beside commit {rev}, drift {stage.drift()}"
    return found


def kill_child(stage: Stage) -> Figures:
    """SIGKILL of a child of -k process, six times"""
    names = stage.add(400)
    parent = stage.consumers[stage.consumer(kind="process")].pid
    stage.running()
    for _ in range(6):
        time.sleep(0.5)
        children = _children(parent)
        stage.fault()
        os.kill(random.choice(children), signal.SIGKILL)
    return stage.finish(names)


def freeze(stage: Stage) -> Figures:
    """SIGSTOP of a consumer for twice its lease, and back"""
    names = stage.add(150, work_s=0.1)
    frozen = stage.consumer()
    stage.running()
    other = stage.consumer()
    until(lambda: len(stage.lives()) == 2)
    stage.fault()
    stage.consumers[frozen].send_signal(signal.SIGSTOP)
    time.sleep(2 * LEASE_S + 2)
    stage.consumers[frozen].send_signal(signal.SIGCONT)
    del other
    found = stage.finish(names)
    time.sleep(2 * BEAT_S)
    late = stage.log().count("no longer ours")
    found.note = f"{late} late outcomes refused"
    return found


def lost_replies(stage: Stage) -> Figures:
    """One reply in 15 is lost after the script ran"""
    names = stage.add(400)
    numbers = [stage.consumer(), stage.consumer()]
    stage.running()
    for number in numbers:
        stage.proxies[number].cut_one_in = 15
    stage.fault()
    until(lambda: len({name for name, _ in stage.lines("end")}) > 300)
    for number in numbers:
        stage.proxies[number].cut_one_in = 0
    found = stage.finish(names)
    found.note = f"{sum(proxy.cuts for proxy in stage.proxies)} replies lost"
    return found


def slow_line(stage: Stage) -> Figures:
    """Redis is 200 ms away and one reply in a hundred is lost"""
    names = stage.add(400)
    numbers = [stage.consumer(), stage.consumer()]
    for number in numbers:
        stage.proxies[number].delay_s, stage.proxies[number].cut_one_in = 0.1, 100
    stage.running()
    stage.fault()
    found = stage.finish(names)
    found.note = (
        f"{sum(p.cuts for p in stage.proxies)} replies lost, {stage.recovered()} recoveries"
    )
    return found


def partition(stage: Stage) -> Figures:
    """One consumer cut off from Redis for twice its lease"""
    names = stage.add(150, work_s=0.1)
    cut = stage.consumer()
    stage.running()
    stage.consumer()
    until(lambda: len(stage.lives()) == 2)
    stage.fault()
    stage.proxies[cut].stall(True)
    time.sleep(2 * LEASE_S + 2)
    stage.proxies[cut].stall(False)
    found = stage.finish(names)
    time.sleep(2 * BEAT_S)
    found.note = f"{stage.log().count('no longer ours')} late outcomes refused"
    return found


def poison(stage: Stage) -> Figures:
    """One job that kills its process among 200 good ones, 8 slots"""
    names = stage.add(100)
    bad = stage.app.poison().id
    names += stage.add(100)
    current = stage.consumer(slots=8)
    stage.running()

    def done() -> bool:
        nonlocal current
        if stage.consumers[current].poll() is not None:  # as a supervisor would
            stage.fault()
            current = stage.consumer(slots=8)
        return len({name for name, _ in stage.lines("end")}) == 200 and not stage._live()

    until(done, 120)
    found = stage.finish(names)
    totals = stage.app.huey.reads.snapshot().totals
    ended = {state.value: n for state, n in totals.items() if n}
    found.note = f"{ended}, the bad one died {stage.app.huey.reads.job(bad).recovered} times"
    return found


def terminate(stage: Stage) -> Figures:
    """SIGTERM of a consumer, four times"""
    names = stage.add(400)
    current = stage.consumer("-t", "5")
    stage.running()
    for _ in range(4):
        time.sleep(0.5)
        stage.fault()
        stage.consumers[current].terminate()
        stage.consumers[current].wait(20)
        current = stage.consumer("-t", "5")
    found = stage.finish(names)
    found.note = f"{stage.recovered()} recoveries"
    return found


ROWS: dict[str, Callable[[Stage], Figures]] = {
    row.__name__: row
    for row in (kill_threads, kill_processes, kill_greenlets, kill_child, kill_parent, versions, kill_redis,
                torn_file, promote, failover, sentinel_kill, sentinel_freeze, cluster_kill, freeze, lost_replies, slow_line, cut_connections, partition,
                worker_clock, script_flush, full_memory, full_disk, full_disk_killed, full_disk_snapshot, silence, poison,
                many_workers, many_come_back, terminate)
}  # fmt: skip


def run(*wanted: str) -> None:
    """Run the rows named, or all, and print one table."""
    print(
        f"\nFault matrix, lease {LEASE_S:g} s, beat {BEAT_S:g} s: jobs, lost, ended twice, seconds to heal"
    )
    print(
        f"| {'fault':<62} | jobs | lost | doubled | heal s | |\n|---|---|---|---|---|---|",
        flush=True,
    )
    for name in wanted or ROWS:
        stage = Stage()
        try:
            found = ROWS[name](stage)
        finally:
            stage.close()
        print(
            f"| {ROWS[name].__doc__:<62} | {found.jobs:>4} | {found.lost:>4} | {found.doubled:>7}"
            f" | {found.heal_s:>6.1f} | {found.note} |",
            flush=True,
        )


def _kill(stage: Stage, number: int) -> None:
    stage.fault()
    os.killpg(stage.consumers[number].pid, signal.SIGKILL)
    stage.consumers[number].wait()


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _children(parent: int) -> list[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


if __name__ == "__main__":
    run(*sys.argv[1:])
