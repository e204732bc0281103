"""What a worker's housekeeping keeps of the figures: how deep the queues are, roll-ups, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.engine.figures.metrics import KEPT_S
from tasks.engine.records import State

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey


class Bookkeeping:
    """Done by every worker, each minute; what another has done already changes nothing."""

    def __init__(self, huey: JobHuey) -> None:
        self.huey = huey

    def keep(self, now_ms: int) -> None:
        """Look at the queues, and roll up what is over. Raises Unreachable."""
        self._look(now_ms // 60_000)
        self.huey.reads.buckets.roll(now_ms)

    def _look(self, minute: int) -> None:
        """Write how many wait in each queue, and how old the oldest is, into the minute."""
        storage = self.huey.storage
        key = storage.keys.of("minute", str(minute))
        fields: list[object] = []
        for queue in self.huey.reads.snapshot().queues:
            depth, oldest_s = queue.counts[State.WAITING], round(queue.oldest_waiting_s or 0)
            fields += [f"{queue.name}||sampled", 1, f"{queue.name}||depth", depth]
            fields += [f"{queue.name}||oldest", oldest_s]
        storage.pipeline([("HSET", key, *fields), ("EXPIRE", key, KEPT_S)])


def note_version(huey: JobHuey) -> None:
    """Remember that a worker of this version begins."""
    if huey.version:
        huey.storage.scripts.run("version", 0, huey.version)
