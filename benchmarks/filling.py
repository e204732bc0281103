"""Fill a Redis with finished jobs, by the engine's own scripts and without running any task."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from tasks.engine import JobHuey

AT_ONCE, TAKEN = 250, 64
RESULT = b'"250 2.0.0 Ok: queued as 4C8F2A1B90D3EF55AA"'  # 45 bytes, as a mail's answer
NOTE = json.dumps({
    "type": "RecipientRefused", "message": "550 5.1.1 user unknown", "fingerprint": "f0",
    "traceback": 'File "tasks/mailer/delivery.py", line 88, in deliver\n' * 6,
}).encode()  # fmt: skip


def chunks(calls: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of `size`."""
    found = iter(calls)
    while part := list(islice(found, size)):
        yield part


def fill(huey: JobHuey, calls: Iterable[Any], *, fail_each: int = 0) -> None:
    """Add these calls and end each: completed, or every `fail_each`th failed."""
    seen = 0
    for part in chunks(calls, AT_ONCE):
        huey.enqueue_many(part)
        seen = _end(huey, seen, fail_each)


def _end(huey: JobHuey, seen: int, fail_each: int) -> int:
    """End all that waits. Returns: how many have ended in all."""
    done: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    while True:
        ask = {"proc": "bench", "queues": list(huey.declared), "done": done, "hop": False, "lent": [],
               "plan": {"want": TAKEN, "most": TAKEN, "left": 0, "each": 5000, "pace": {}}}  # fmt: skip
        jobs = huey.storage.scripts.run("finish_and_fetch", 0, json.dumps(ask), *blobs)[3]
        done, blobs = [], []
        for job in jobs:
            seen += 1
            done.append(_ended(job, blobs, bool(fail_each) and seen % fail_each == 0))
        if not jobs:
            return seen


def _ended(job: Sequence[Any], blobs: list[bytes], failed: bool) -> dict[str, Any]:
    """Return what the commit takes for one job."""
    blobs.append(NOTE if failed else RESULT)
    found = {
        "id": job[0].decode(),
        "T": job[1].decode(),
        "n": 1,
        "ms": 40,
        "env": 0,
        "att": 0,
        "res": 0,
    }
    if failed:
        err = ["f0", "RecipientRefused", "550 5.1.1 user unknown", "delivery.py:88"]
        return {**found, "to": "failed", "outcome": "failed", "att": len(blobs), "err": err}
    return {**found, "to": "completed", "outcome": "completed", "res": len(blobs)}
