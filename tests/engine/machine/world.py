"""The machine's Redis, processes and model, and the moves that every rule is made of."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from machine.model import BEAT_S, LEASE_S, Clock, Job, Model, Proc, TestScripts
from tasks.engine import JobHuey, Queue, crontab, new_id
from tasks.engine.keys import Keys
from tasks.engine.running.leases import Lease
from tasks.engine.storage import Handed, JobStorage, connect

COUNT = itertools.count()
some = st.integers(0, 1000)
Row = tuple[dict[str, Any], bytes]


class World(RuleBasedStateMachine):
    """What there is; the rules come with the classes that inherit it."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.model = Clock(), Model()
        self.client = connect(self.url)
        self.name = f"machine-{next(COUNT)}-{new_id()}"
        queues = (Queue("default"), Queue("narrow", concurrency=2), Queue("email", breaker="SMTP"))
        self.huey = JobHuey(self.name, url=self.url, queues=queues)
        self.huey.storage.scripts = self._scripts()
        work = self.huey.task(name="work")(lambda n=0: None)
        self.call = work.s
        self.keyed = self.huey.task(name="keyed", unique="{n}", index=("n",))(lambda n=0: None).s
        self.tick_task = self.huey.periodic_task(crontab(), name="tick")(lambda: None)
        self.procs = [self._proc() for _ in range(3)]
        self.zombies: list[tuple[Proc, Handed]] = []
        self.full = False
        self.steps, self.soon = 0, []
        self.saved: tuple[Any, Model] | None = None

    def _scripts(self) -> TestScripts:
        return TestScripts(self.client, Keys(self.name).prefix, self.clock)

    def _proc(self) -> Proc:
        storage = JobStorage(self.name, queues=("default", "narrow", "email"), client=self.client)
        storage.scripts = self._scripts()
        lease = Lease(storage, lease_s=LEASE_S, beat_s=BEAT_S)
        storage.proc = lambda: lease.proc
        return Proc(storage, lease)

    # Choosing

    def _job(self, n: int, *states: str) -> Job | None:
        found = [job for job in self.model.jobs.values() if not states or job.state in states]
        return found[n % len(found)] if found else None

    def _alive(self, n: int) -> Proc:
        alive = [proc for proc in self.procs if not proc.dead]
        return alive[n % len(alive)]

    def _next_order(self) -> int:
        self.model.order += 1
        return self.model.order

    # What becomes of a job

    def _insert(self, row: tuple[dict[str, Any], bytes]) -> None:
        """The model of lib/insert, for a row that is not known."""
        spec = row[0]
        job = Job(spec["id"], spec["q"], spec["p"], spec["m"], row, spec.get("u", ""))
        self.model.jobs[job.id] = job
        self.model.added += 1
        if spec.get("due", 0) > self.clock.ms:
            self._later(job, "scheduled", spec["due"])
        else:
            self._wait(job)

    def _holder(self, unique: str) -> Job | None:
        return next(
            (j for j in self.model.jobs.values() if unique and j.unique == unique and j.live), None
        )

    def _wait(self, job: Job, keep: bool = False) -> None:
        """The job waits; `keep` its place, as what a worker gave back does."""
        job.state, job.owner, job.token = "waiting", "", ""
        job.order = job.order if keep and job.order else self._next_order()

    def _promote(self, limit: int) -> None:
        due = [
            j
            for j in self.model.jobs.values()
            if j.state in ("scheduled", "retrying") and j.due <= self.clock.ms
        ]
        for job in sorted(due, key=lambda j: (j.due, j.id))[:limit]:
            self._wait(job)

    def _later(self, job: Job, state: str, due: int) -> None:
        job.state, job.due, job.owner, job.token, job.order = state, due, "", "", 0

    def _end(self, job: Job, state: str) -> None:
        job.state, job.owner, job.token = state, "", ""
        self.model.ends[state] += 1
        if state == "completed" and self._calls_back(job):
            self.model.chords[job.chord[0]]["members"] = set()

    def _calls_back(self, job: Job) -> bool:
        return bool(job.chord) and self.model.chords[job.chord[0]]["callback"] == job.id

    def _give_back(self, job: Job) -> None:
        if job.asked:
            self._end(job, "cancelled")
        else:
            self._wait(job, keep=True)

    def _forget(self, job: Job) -> None:
        del self.model.jobs[job.id]
        self.model.forgotten.add(job.id)

    def _ours(self, handed: Handed, proc: Proc) -> bool:
        job = self.model.jobs.get(handed.id)
        return bool(
            job and (job.state, job.token, job.owner) == ("active", handed.token, proc.name)
        )

    # Asking the engine

    def _row(
        self, queue: str, priority: int, due: int = 0, key: int = -1
    ) -> tuple[dict[str, Any], bytes]:
        task = self.keyed(key) if key >= 0 else self.call()
        task.queue, task.priority, task.retries = queue, priority, 2
        spec, data = self.huey._row_of(task)
        spec["rq"] = new_id()
        if due:
            spec["due"] = due
        return spec, data

    def _keep(self, queue: str, many: int) -> None:
        key = self.huey.storage.keys.of("queue", queue)
        self.huey.storage.write([("HSET", key, "keep", many, "fkeep", many)])
