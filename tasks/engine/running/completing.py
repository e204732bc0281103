"""Jobs that simply completed: their worker writes what Redis keeps of them, see lua/lib/plain.

Redis is what all workers share; what a worker can write for it is written here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from tasks.engine.figures.metrics import bucket
from tasks.engine.running.outcome import Done, Outcome

MOST = 100  # in one call
MOST_BYTES = 2048  # of an envelope that goes back to Redis instead of being read there

Kinds = dict[tuple[str, str], list[Outcome]]


class Report(NamedTuple):
    """What a call tells of finished attempts: `outcomes` in the order in which it tells them.

    `done` is for lib/commit, `plain` for lib/plain; `blobs` are the bytes that both name.
    """

    outcomes: Sequence[Outcome]
    done: Sequence[Done]
    plain: Mapping[str, Any] | None
    blobs: Sequence[str | bytes]


def report(finished: Sequence[Outcome], proc: str) -> Report:
    """Write what became of attempts of process `proc`. Raises what an outcome that has no form does."""
    usual, kinds = _sorted_out(finished)
    texts: list[str | bytes] = []
    plain = _plain(kinds, proc, texts) if kinds else None
    done: list[Done] = []
    blobs: list[bytes] = []
    for outcome in usual:
        spec, more = outcome.spec(len(blobs))
        done.append(spec)
        blobs += more
    completed = [outcome for alike in kinds.values() for outcome in alike]
    return Report([*usual, *completed], done, plain, [*texts, *blobs])


def _sorted_out(finished: Sequence[Outcome]) -> tuple[list[Outcome], Kinds]:
    usual: list[Outcome] = []
    kinds: Kinds = {}
    for n, outcome in enumerate(finished):
        job = outcome.job
        if n < MOST and job.plain and outcome.just_completed() and len(job.envelope) <= MOST_BYTES:
            kinds.setdefault((job.queue, job.task), []).append(outcome)
        else:
            usual.append(outcome)
    return usual, kinds


def _plain(kinds: Kinds, proc: str, texts: list[str | bytes]) -> Mapping[str, Any]:
    rows: list[Any] = []
    found: list[Any] = []
    n = last = kept = 0
    for (queue, task), alike in kinds.items():
        kind = _Kind(f"{task}\t{queue}", proc)
        for outcome in alike:
            kind.write(outcome, texts)
        found += [[n + place, *by] for place, by in kind.found]
        rows.append([queue, task, len(alike), Counter(kind.counted), Counter(kind.passed)])
        n, last, kept = n + len(alike), max(last, kind.last), kept + kind.kept
    return {"n": n, "kinds": rows, "res": kept, "last": last, "found": found}


class _Kind:
    """Writes and counts the jobs of one task in one queue, as `settle` and `finish` in Lua do."""

    def __init__(self, name: str, proc: str) -> None:
        self.name, self.proc = name, proc
        self.counted: list[str] = []
        self.passed: list[str] = []
        self.written = 0
        self.found: list[tuple[int, tuple[str, str]]] = []
        self.last = self.kept = 0

    def write(self, outcome: Outcome, texts: list[str | bytes]) -> None:
        """Add id, token, what is kept of a job (its figures, envelope and result), and its run."""
        # At once: this is done for each job, and looking a field up costs as much as reading it.
        job_id, token, envelope, _, allowed, _, _, _, _, _, _, starts, _, _, plain = outcome.job
        ready, created, request, priority, indexes, by, tags = plain
        began = outcome.begun_ms()
        took, wait, result = round(outcome.ran_s * 1000), began - int(ready), outcome.result
        ended = began + took
        if not starts:
            self.counted.append(_field("w", wait))
        self.counted.append(_field("c", took))
        self.passed.append(_field("p", took + wait))
        self.written += 1
        self.kept += result is not None
        if ended > self.last:
            self.last = ended
        if indexes or by:
            self.found.append((self.written, (indexes, by)))
        line = (
            f"{'0' if result is None else '1'}\tcompleted\t{len(envelope)}\t{self.name}\t{priority}"
            f"\t{created}\t\t{began}\t{ended}\t{outcome.used()}"
            f"\t{'' if allowed == 1 else allowed}\t\t\t{self.proc}"
            f"\t\t{indexes}\t{max(0, wait)}\t{by}\t\t{tags}\t{request}\t\t\t\t\t\n"
        )
        run = f"{job_id}\t{took}\tc\t{ended}"
        texts += (job_id, token, line.encode() + envelope + (result or b""), run)


@lru_cache(8192)
def _field(what: str, ms: int) -> str:
    """Return the counter of a time, as lua/lib/counts has it."""
    return f"{what}{bucket(ms)}"
