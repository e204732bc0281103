"""Rows of the fault matrix in which others elect the new primary: Sentinel, and a Cluster's nodes."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import redis

from benchmarks.drills.stage import LEASE_S, Figures, Stage, until
from tasks.engine import Unreachable

SERVICE, DOWN_MS, SLOTS = "jobs", 1500, 16384


def sentinel_kill(stage: Stage) -> Figures:
    """SIGKILL of the primary under three Sentinels (down after 1.5 s)"""
    return _elected(stage, _under_sentinels(stage), stage.redis, freeze=False)


def sentinel_freeze(stage: Stage) -> Figures:
    """SIGSTOP of the primary under three Sentinels, and back when another one is elected"""
    return _elected(stage, _under_sentinels(stage), stage.redis, freeze=True)


def cluster_kill(stage: Stage) -> Figures:
    """SIGKILL of the node of a Cluster that has the jobs (node timeout 1.5 s)"""
    owner, url = _cluster(stage)
    return _elected(stage, url, owner, freeze=False)


def _elected(stage: Stage, url: str, primary: subprocess.Popen[bytes], *, freeze: bool) -> Figures:
    """Break the primary while jobs are added and run; count what was accepted."""
    stage.point(url)
    stage.app.huey.commands.configure()
    names = stage.add(300, work_s=0.05)
    for _ in range(2):
        stage.consumer(env={"BENCH_REDIS": url})
    stage.running()
    producer = Producer(stage)
    time.sleep(1)
    stage.fault()
    primary.send_signal(signal.SIGSTOP if freeze else signal.SIGKILL)
    until(lambda: producer.since_refusal() > 20, 60)
    primary.send_signal(signal.SIGCONT)
    time.sleep(LEASE_S)
    names += producer.stop()
    found = stage.finish(names, 40)
    found.heal_s = _stood_still(stage)
    found.note = (
        f"{producer.refused} adds refused in {producer.away_s:.1f} s,"
        f" {stage.recovered()} recoveries, drift {stage.drift()}"
    )
    return found


def _stood_still(stage: Stage) -> float:
    """Return the longest time after the fault in which no job started, s."""
    starts = sorted(at for _, at in stage.lines("start") if at > stage.faults[-1])
    return max(
        (b - a for a, b in zip([stage.faults[-1], *starts], starts, strict=False)), default=0
    )


class Producer:
    """Adds a job every 20 ms and keeps the names of those that were accepted."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.refused, self.away_s = stage, 0, 0.0
        self._names: list[str] = []
        self._after = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        began = None
        while not self._over.wait(0.02):
            asked = time.monotonic()
            name = f"more{len(self._names)}-{self.refused}"
            try:
                self.stage.app.work(name, 0.02)
            except Unreachable:
                began, self._after = began or asked, 0
                self.refused += 1
                continue
            self._names.append(name)
            if self.refused:
                self._after += 1
                if began:
                    self.away_s, began = self.away_s + time.monotonic() - began, None

    def since_refusal(self) -> int:
        """Count how many were accepted since one was refused."""
        return self._after

    def stop(self) -> list[str]:
        """Stop. Returns: the names of what was accepted."""
        self._over.set()
        self._thread.join()
        return self._names


def _port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _under_sentinels(stage: Stage) -> str:
    """Start a replica and three Sentinels. Returns: the address by which the primary is found."""
    port, sentinels = _port(), [_port() for _ in range(3)]
    (folder := stage.home / "replica").mkdir()
    link = ("--replicaof", "127.0.0.1", str(stage.port))
    stage.others.append(stage.start_redis(*link, port=port, folder=folder))
    replica = redis.Redis(port=port)
    until(lambda: replica.info("replication").get("master_link_status") == "up", 30)
    replica.close()
    for sentinel in sentinels:
        stage.others.append(_sentinel(stage, sentinel))
    for sentinel in sentinels:
        client = redis.Redis(port=sentinel)
        until(lambda client=client: _is_ready(client), 30)
        client.close()
    return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in sentinels)}/{SERVICE}"


def _sentinel(stage: Stage, port: int) -> subprocess.Popen[bytes]:
    (folder := stage.home / f"sentinel-{port}").mkdir()
    (conf := folder / "sentinel.conf").write_text(
        f"port {port}\ndir {folder}\nsentinel monitor {SERVICE} 127.0.0.1 {stage.port} 2\n"
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_MS}\n"
        f"sentinel failover-timeout {SERVICE} 6000\n"
    )
    command = [stage.binary, str(conf), "--sentinel"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _is_ready(client: Any) -> bool:
    with contextlib.suppress(redis.RedisError):
        state = client.sentinel_masters().get(SERVICE, {})
        return bool(state.get("num-slaves") == 1 and state.get("num-other-sentinels") == 2)
    return False


def _cluster(stage: Stage) -> tuple[subprocess.Popen[bytes], str]:
    """Start three nodes and a replica of the one that has the jobs. Returns: that node, the address."""
    from redis.crc import key_slot

    ports = [_port() for _ in range(4)]
    nodes = [_node(stage, port) for port in ports]
    clients = [redis.Redis(port=port) for port in ports]
    thirds = [0, SLOTS // 3, 2 * SLOTS // 3, SLOTS]
    for n, client in enumerate(clients):
        if n < 3:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", thirds[n], thirds[n + 1] - 1)
        if n:
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0])
    slot = key_slot(b"{drill}:")
    owner = next(n for n in range(3) if thirds[n] <= slot < thirds[n + 1])
    until(lambda: all(_knows(client, 4) for client in clients), 30)
    mine = clients[owner].execute_command("CLUSTER", "MYID").decode()
    clients[3].execute_command("CLUSTER", "REPLICATE", mine)
    until(lambda: clients[3].info("replication").get("master_link_status") == "up", 30)
    until(lambda: all(_knows(client, 4) for client in clients), 30)
    for client in clients:
        client.close()
    return nodes[owner], f"redis+cluster://{','.join(f'127.0.0.1:{port}' for port in ports)}"


def _node(stage: Stage, port: int) -> subprocess.Popen[bytes]:
    folder: Path = stage.home / f"node-{port}"
    folder.mkdir()
    options = f"--cluster-enabled yes --cluster-node-timeout {DOWN_MS}".split()
    stage.others.append(stage.start_redis(*options, port=port, folder=folder))
    return stage.others[-1]


def _knows(client: Any, nodes: int) -> bool:
    said = client.execute_command("CLUSTER", "INFO")
    text = said.decode() if isinstance(said, bytes) else str(said)
    state = dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line) if isinstance(said, bytes) else said  # fmt: skip
    return state["cluster_state"] == "ok" and int(state["cluster_known_nodes"]) == nodes
