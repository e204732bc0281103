"""The fault matrix: each row breaks one thing under load, then counts lost, doubled, seconds to heal."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.drills.stage import BEAT_S, LEASE_S, Figures, Stage, until


def kill_consumer(stage: Stage) -> Figures:
    """SIGKILL of a consumer, four times"""
    names = stage.add(400)
    alive = [stage.consumer(), stage.consumer()]
    stage.running()
    for _ in range(4):
        time.sleep(0.7)
        _kill(stage, alive.pop(0))
        alive.append(stage.consumer())
    return stage.finish(names)


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


def kill_redis(stage: Stage) -> Figures:
    """SIGKILL of Redis (appendfsync everysec), twice, one second away"""
    names = stage.add(400)
    stage.consumer(), stage.consumer()
    stage.running()
    for _ in range(2):
        stage.redis.kill()
        stage.redis.wait()
        time.sleep(1)
        stage.redis = stage.start_redis()
        stage.fault()
        time.sleep(1)
    return stage.finish(names)


def freeze(stage: Stage) -> Figures:
    """SIGSTOP of a consumer for twice its lease, and back"""
    names = stage.add(150, work_s=0.1)
    frozen = stage.consumer()
    stage.running()
    other = stage.consumer()
    until(lambda: len(_lives(stage)) == 2)
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


def cut_connections(stage: Stage) -> Figures:
    """CLIENT KILL of every connection, 30 times"""
    names = stage.add(400)
    stage.consumer(), stage.consumer()
    stage.running()
    for _ in range(30):
        stage.fault()
        stage.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        time.sleep(0.1)
    return stage.finish(names)


def partition(stage: Stage) -> Figures:
    """One consumer cut off from Redis for twice its lease"""
    names = stage.add(150, work_s=0.1)
    cut = stage.consumer()
    stage.running()
    stage.consumer()
    until(lambda: len(_lives(stage)) == 2)
    stage.fault()
    stage.proxies[cut].stall(True)
    time.sleep(2 * LEASE_S + 2)
    stage.proxies[cut].stall(False)
    found = stage.finish(names)
    time.sleep(2 * BEAT_S)
    found.note = f"{stage.log().count('no longer ours')} late outcomes refused"
    return found


def script_flush(stage: Stage) -> Figures:
    """SCRIPT FLUSH, 30 times"""
    names = stage.add(400)
    stage.consumer(), stage.consumer()
    stage.running()
    for _ in range(30):
        stage.fault()
        stage.client.script_flush()
        time.sleep(0.05)
    return stage.finish(names)


def failover(stage: Stage) -> Figures:
    """Failover that loses the last second of writes"""
    names = stage.add(200, work_s=0.1)
    stage.consumer(), stage.consumer()
    stage.running()
    saved = [
        (key, stage.client.dump(key), max(0, stage.client.pttl(key)))
        for key in stage.client.scan_iter(count=1000)
    ]
    time.sleep(1)
    with stage.client.pipeline(transaction=True) as pipe:
        pipe.flushdb()
        for key, data, ttl in saved:
            if data is not None:
                pipe.restore(key, ttl, data)
        stage.fault()
        pipe.execute()
    found = stage.finish(names)
    found.note = "doubled: ended in the lost second"
    return found


def full_memory(stage: Stage) -> Figures:
    """Redis is full for three seconds"""
    from tasks.engine import Unreachable

    names = stage.add(300)
    stage.consumer(), stage.consumer()
    stage.running()
    stage.client.config_set("maxmemory", "1")
    stage.fault()
    refused = 0
    for _ in range(30):
        try:
            names += stage.add(1)
        except Unreachable:
            refused += 1
        time.sleep(0.1)
    stage.client.config_set("maxmemory", "0")
    found = stage.finish(names)
    found.note = f"{refused} adds refused, {_recovered(stage)} false recoveries"
    return found


def silence(stage: Stage) -> Figures:
    """Redis answers nobody for longer than every lease (CLIENT PAUSE)"""
    names = stage.add(300)
    stage.consumer(), stage.consumer()
    stage.running()
    stage.client.client_pause(int(LEASE_S * 1500))
    time.sleep(LEASE_S * 1.5)
    stage.fault()
    found = stage.finish(names)
    found.note = f"{_recovered(stage)} false recoveries"
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
    found.note = f"{_recovered(stage)} recoveries"
    return found


ROWS: dict[str, Callable[[Stage], Figures]] = {
    row.__name__: row
    for row in (kill_consumer, kill_child, kill_redis, freeze, lost_replies, cut_connections, partition,
                script_flush, failover, full_memory, silence, poison, terminate)
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


def _children(parent: int) -> list[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


def _lives(stage: Stage) -> list[str]:
    return [worker.id for worker in stage.app.huey.reads.workers() if worker.state == "live"]


def _recovered(stage: Stage) -> int:
    from tasks.engine import JobFilter

    with contextlib.suppress(Exception):
        page = stage.app.huey.reads.jobs(JobFilter(), limit=200)
        return sum(job.recovered for job in page.items)
    return -1


if __name__ == "__main__":
    run(*sys.argv[1:])
