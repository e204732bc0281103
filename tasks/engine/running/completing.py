"""Jobs that simply completed: their worker writes what Redis keeps of them, see lua/lib/plain.

Redis is what all workers share; what a worker can write for it is written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tasks.engine.figures.metrics import BUCKETS, bucket
from tasks.engine.running.outcome import Done, Outcome
from tasks.engine.storage import Handed

MOST = 100  # in one call
MOST_BYTES = 2048  # of an envelope that goes back to Redis instead of being read there
RUNS_KEPT = 60

WAITED, COMPLETED, PASSED = ([f"{letter}{n}" for n in range(BUCKETS)] for letter in "wcp")

Kinds = dict[tuple[str, str], list[Outcome]]
Counts = dict[str, int]


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
        if n < MOST and outcome.is_plain() and len(job.envelope) <= MOST_BYTES:
            kinds.setdefault((job.queue, job.task), []).append(outcome)
        else:
            usual.append(outcome)
    return usual, kinds


def _plain(kinds: Kinds, proc: str, texts: list[str | bytes]) -> Mapping[str, Any]:
    rows: list[Any] = []
    found: list[Any] = []
    n = last = kept = 0
    for (queue, task), alike in kinds.items():
        kind = _Kind(queue, task, proc, found, n)
        for outcome in alike:
            texts += kind.texts(outcome)
        rows.append([queue, task, len(alike), kind.counts, kind.passed, kind.runs[-RUNS_KEPT:]])
        n, last, kept = n + len(alike), max(last, kind.last), kept + kind.kept
    return {"n": n, "kinds": rows, "res": kept, "last": last, "found": found}


class _Kind:
    """Writes and counts the jobs of one task in one queue, as `settle` and `finish` in Lua do."""

    def __init__(self, queue: str, task: str, proc: str, found: list[Any], before: int) -> None:
        self.name, self.proc = f"{task}\t{queue}", proc
        self.found, self.position = found, before
        self.counts: Counts = {}
        self.passed: Counts = {}
        self.runs: list[str] = []
        self.last = self.kept = 0

    def texts(self, outcome: Outcome) -> tuple[str, str, bytes]:
        """Return id, token, and what is kept of the job: its figures, envelope and result."""
        job, began, took = outcome.job, outcome.begun_ms(), round(outcome.ran_s * 1000)
        ready, created, request, priority, indexes, by, tags = job.plain
        ended, wait = began + took, max(0, began - int(ready))
        self._count(job, wait, took, ended)
        flag, result = ("0", b"") if outcome.result is None else ("1", outcome.result)
        self.kept += flag == "1"
        self.position += 1
        if indexes or by:
            self.found.append([self.position, indexes, by])
        line = (
            f"{flag}\tcompleted\t{len(job.envelope)}\t{self.name}\t{priority}\t{created}\t\t{began}"
            f"\t{ended}\t{outcome.used()}\t{'' if job.allowed == 1 else job.allowed}\t\t\t{self.proc}"
            f"\t\t{indexes}\t{wait}\t{by}\t\t{tags}\t{request}\t\t\t\t\t\n"
        )
        return job.id, job.token, line.encode() + job.envelope + result

    def _count(self, job: Handed, wait: int, took: int, ended: int) -> None:
        counts, passed = self.counts, self.passed
        if not job.starts:
            field = WAITED[bucket(wait)]
            counts[field] = counts.get(field, 0) + 1
        field = COMPLETED[bucket(took)]
        counts[field] = counts.get(field, 0) + 1
        field = PASSED[bucket(ended - int(job.plain[0]))]
        passed[field] = passed.get(field, 0) + 1
        self.runs.append(f"{job.id}\t{took}\tc\t{ended}")
        self.last = max(self.last, ended)
