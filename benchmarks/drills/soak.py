"""Chaos for a while: producers, consumers and a fault every few seconds; then heal, drain and count all.

`make soak` runs 5 minutes; `make soak SECONDS=30` a short one; SOAK_SEED repeats the order of faults.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

from benchmarks.drills.faults import _children, _kill
from benchmarks.drills.stage import LEASE_S, Stage, until
from tasks.engine import Unreachable

SECONDS = float(os.environ.get("SECONDS_TO_RUN") or 300)
KINDS = ("thread", "process", "greenlet")


class Soak:
    """The stage under chaos, and what was added to it."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.names, self.refused = stage, list[str](), 0
        self.done: Counter[str] = Counter()
        self.over = threading.Event()
        self.slots = [stage.consumer(kind=kind) for kind in KINDS]
        self.faults: list[Callable[[], None]] = [
            self.kill_consumer, self.kill_child, self.cut_all, self.forget_scripts, self.stall,
            self.lose_replies, self.freeze, self.kill_redis, self.fill_memory, self.stop_gently,
        ]  # fmt: skip

    def produce(self) -> None:
        """Add about 60 jobs a second: at once, delayed, in bulk, in pipelines."""
        app, number = self.stage.app, 0
        while not self.over.wait(0.05):
            number += 1
            names = [f"soak{number}-{n}" for n in range(3)]
            tasks = [app.work.s(name, 0.02) for name in names]
            if number % 3 == 0:
                tasks[0].then(app.work, f"soak{number}-then", 0.01)
                names.append(f"soak{number}-then")
            with contextlib.suppress(Unreachable):
                if number % 2:
                    app.huey.enqueue_many(tasks)
                else:
                    for task in tasks:
                        app.huey.enqueue(task)
                self.names += names
                continue
            self.refused += 1  # nobody promised these; some may run

    def run(self, seconds: float) -> None:
        """Break something every 2 to 5 seconds."""
        producer = threading.Thread(target=self.produce, daemon=True)
        producer.start()
        self.stage.running()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            fault = random.choice(self.faults)
            self.stage.fault()
            fault()
            self.done[fault.__name__] += 1
            time.sleep(random.uniform(2, 5))
        self.over.set()
        producer.join()

    def _any(self) -> int:
        return random.randrange(len(self.slots))

    def _again(self, place: int) -> None:
        self.slots[place] = self.stage.consumer(kind=KINDS[place])

    def kill_consumer(self) -> None:
        """SIGKILL of a consumer with its children, and another in its place."""
        place = self._any()
        _kill(self.stage, self.slots[place])
        self._again(place)

    def kill_child(self) -> None:
        """SIGKILL of one process of the consumer of processes."""
        children = _children(self.stage.consumers[self.slots[1]].pid)
        if children:
            os.kill(random.choice(children), signal.SIGKILL)

    def cut_all(self) -> None:
        """Every connection to Redis is closed."""
        self.stage.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def forget_scripts(self) -> None:
        """Redis forgets every script."""
        self.stage.client.script_flush()

    def stall(self) -> None:
        """One consumer hears nothing for up to twice its lease."""
        proxy = self.stage.proxies[self.slots[self._any()]]
        proxy.stall(True)
        time.sleep(random.uniform(0.5, 2 * LEASE_S))
        proxy.stall(False)

    def lose_replies(self) -> None:
        """One reply in ten is lost for two seconds."""
        proxy = self.stage.proxies[self.slots[self._any()]]
        proxy.cut_one_in = 10
        time.sleep(2)
        proxy.cut_one_in = 0

    def freeze(self) -> None:
        """One consumer stands still for up to twice its lease."""
        process = self.stage.consumers[self.slots[self._any()]]
        process.send_signal(signal.SIGSTOP)
        time.sleep(random.uniform(0.5, 2 * LEASE_S))
        process.send_signal(signal.SIGCONT)

    def kill_redis(self) -> None:
        """SIGKILL of Redis, and a start on the same data."""
        self.stage.redis.kill()
        self.stage.redis.wait()
        time.sleep(random.uniform(0, 2))
        self.stage.redis = self.stage.start_redis()

    def fill_memory(self) -> None:
        """Redis takes no new job for a second."""
        self.stage.client.config_set("maxmemory", "1")
        time.sleep(1)
        self.stage.client.config_set("maxmemory", "0")

    def stop_gently(self) -> None:
        """SIGTERM, and another consumer in its place."""
        place = self._any()
        process = self.stage.consumers[self.slots[place]]
        process.terminate()
        until(lambda: process.poll() is not None, 20)
        self._again(place)

    def report(self) -> bool:
        """Heal, drain, count and print. Returns: whether nothing was lost."""
        for place in range(len(self.slots)):
            if self.stage.consumers[self.slots[place]].poll() is not None:
                self._again(place)
        found = self.stage.finish(self.names, 120)
        states = {s.value: n for s, n in self.stage.app.huey.reads.snapshot().totals.items() if n}
        drift = self.stage.app.huey.commands.fsck(mend=False)
        print(f"  faults: {dict(self.done)}")
        print(f"  jobs {found.jobs}, lost {found.lost}, ended twice {found.doubled}, seconds to heal"
              f" {found.heal_s:.1f} at most, adds refused {self.refused}")  # fmt: skip
        print(f"  states at the end: {states}; late outcomes refused:"
              f" {self.stage.log().count('no longer ours')}; drift found: {drift or 'none'}")  # fmt: skip
        return not found.lost and not drift and set(states) <= {"completed"}


def run() -> None:
    """Run the soak; exit with 1 when anything was lost."""
    seed = int(os.environ.get("SOAK_SEED") or random.randrange(1 << 32))
    random.seed(seed)
    print(f"\nSoak of {SECONDS:g} s, SOAK_SEED={seed}, lease {LEASE_S:g} s", flush=True)
    stage = Stage()
    try:
        soak = Soak(stage)
        soak.run(SECONDS)
        if not soak.report():
            raise SystemExit(1)
    finally:
        stage.close()


if __name__ == "__main__":
    run()
