"""Rows of the fault matrix that break the server: killed, torn, set back, replaced, full, silent."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

import redis

from benchmarks.drills.proxy import Proxy
from benchmarks.drills.stage import LEASE_S, Figures, Stage, until
from tasks.engine import Unreachable


def kill_redis(stage: Stage) -> Figures:
    """SIGKILL of Redis (appendfsync everysec), twice, one second away"""
    names = stage.busy(400)
    for _ in range(2):
        stage.redis.kill()
        stage.redis.wait()
        time.sleep(1)
        stage.redis = stage.start_redis()
        stage.fault()
        time.sleep(1)
    return stage.finish(names)


def torn_file(stage: Stage) -> Figures:
    """Power cut, twice: the file's last second is gone, its last record torn"""
    names = stage.busy(300, work_s=0.1)
    gone = 0
    for _ in range(2):
        (log,) = stage.home.glob("appendonlydir/*.incr.aof")
        kept = log.stat().st_size
        time.sleep(1)
        stage.redis.kill()
        stage.redis.wait()
        gone += log.stat().st_size - kept
        os.truncate(log, kept + 7)
        stage.redis = stage.start_redis("--aof-load-truncated", "yes")
        stage.fault()
        time.sleep(1)
    found = stage.finish(names)
    found.note = f"{gone // 1024} KiB of the file gone, drift {stage.drift()}"
    return found


def promote(stage: Stage) -> Figures:
    """A replica that is one second behind is promoted, its primary killed"""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    (folder := stage.home / "replica").mkdir()
    link = Proxy(stage.port)
    replica = stage.start_redis("--replicaof", f"127.0.0.1 {link.port}", port=port, folder=folder)
    client = redis.Redis(port=port)
    until(lambda: client.info("replication").get("master_link_status") == "up", 30)
    names = stage.busy(200, work_s=0.1)
    link.stall(True)
    time.sleep(1)
    stage.redis.kill()
    stage.redis.wait()
    client.replicaof("NO", "ONE")
    stage.proxies.append(Proxy(port, stage.port))  # its address is the new primary's now
    stage.fault()
    stage.redis = replica
    found = stage.finish(names)
    found.note = f"doubled: ended in the lost second; drift {stage.drift()}"
    link.close()
    client.close()
    return found


def failover(stage: Stage) -> Figures:
    """All data set back by one second while everybody is connected"""
    names = stage.busy(200, work_s=0.1)
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
    names = stage.busy(300)
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
    found.note = f"{refused} adds refused, {stage.recovered()} false recoveries"
    return found


def silence(stage: Stage) -> Figures:
    """Redis answers nobody for longer than every lease (CLIENT PAUSE)"""
    names = stage.busy(300)
    stage.client.client_pause(int(LEASE_S * 1500))
    time.sleep(LEASE_S * 1.5)
    stage.fault()
    found = stage.finish(names)
    found.note = f"{stage.recovered()} false recoveries"
    return found


def script_flush(stage: Stage) -> Figures:
    """SCRIPT FLUSH and FUNCTION FLUSH, 30 times"""

    def flush() -> None:
        stage.client.script_flush()
        stage.client.function_flush()

    return _thirty_times(stage, flush, 0.05)


def cut_connections(stage: Stage) -> Figures:
    """CLIENT KILL of every connection, 30 times"""
    kill = ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    return _thirty_times(stage, lambda: stage.client.execute_command(*kill), 0.1)


def _thirty_times(stage: Stage, act: Callable[[], object], pause_s: float) -> Figures:
    names = stage.busy(400)
    for _ in range(30):
        stage.fault()
        act()
        time.sleep(pause_s)
    return stage.finish(names)
