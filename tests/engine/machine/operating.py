"""What operators and housekeeping do: commands, pauses, ticks, retention, the check of all keys."""

from __future__ import annotations

from typing import Any

import keyspace
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from machine.model import KEYED, Job
from machine.world import World, some
from tasks.engine.errors import Unreachable
from tasks.engine.ticking import periodic


class Operating(World):
    """What people and housekeeping may do."""

    @precondition(lambda self: self.model.jobs)
    @rule(n=some, lost=st.booleans())
    def cancel(self, n: int, lost: bool) -> None:
        if job := self._job(n):
            self._act("cancel", job, lost)
            if job.state == "active":
                job.asked = True
            elif job.live:
                self._end(job, "cancelled")

    @precondition(lambda self: self._job(0, *keyspace.FINAL))
    @rule(n=some, lost=st.booleans())
    def retry_by_hand(self, n: int, lost: bool) -> None:
        job = self._job(n, "failed", "cancelled", "completed", "retrying")
        if job is None or (job.unique and not job.live and self._holder(job.unique)):
            return
        self._act("retry", job, lost)
        if job.state == "completed" and self._calls_back(job):
            return  # the results it was called with are gone: refused
        if not job.live:
            job.run, job.used, job.deaths, job.asked = job.run + 1, 0, 0, False
            self.model.added += 1
            self.model.revived += 1
        job.order = 0
        self._wait(job)

    @precondition(lambda self: self._job(0, "scheduled", "retrying"))
    @rule(n=some, lost=st.booleans())
    def run_now(self, n: int, lost: bool) -> None:
        if job := self._job(n, "scheduled", "retrying"):
            self._act("run_now", job, lost)
            self._wait(job)

    @precondition(lambda self: self._job(0, *keyspace.FINAL))
    @rule(n=some, lost=st.booleans())
    def delete(self, n: int, lost: bool) -> None:
        if job := self._job(n, *keyspace.FINAL):
            self._act("delete", job, lost)
            self._forget(job)

    @precondition(lambda self: self._job(0, "scheduled", "retrying", "waiting"))
    @rule(n=some, lost=st.booleans(), delay_s=st.sampled_from([0, 2, 20]))
    def reschedule(self, n: int, lost: bool, delay_s: int) -> None:
        if job := self._job(n, "scheduled", "retrying", "waiting"):
            self._act("reschedule", job, lost, delay_s=delay_s)
            if delay_s:
                due = self.clock.ms + delay_s * 1000
                self._later(job, "retrying" if job.used else "scheduled", due)
            elif job.state != "waiting":
                self._wait(job)

    @precondition(lambda self: self._job(0, "scheduled", "retrying", "waiting"))
    @rule(n=some, lost=st.booleans(), priority=st.sampled_from([-3, 0, 5]))
    def set_priority(self, n: int, lost: bool, priority: int) -> None:
        """It keeps its place among equals."""
        if job := self._job(n, "scheduled", "retrying", "waiting"):
            self._act("set_priority", job, lost, priority=priority)
            job.priority = priority

    @precondition(lambda self: self._job(0, "scheduled", "retrying", "waiting"))
    @rule(n=some, lost=st.booleans(), queue=st.sampled_from(["default", "narrow"]))
    def move(self, n: int, lost: bool, queue: str) -> None:
        """It keeps its place in line, and counts nowhere as new."""
        if job := self._job(n, "scheduled", "retrying", "waiting"):
            self._act("move", job, lost, queue=queue)
            job.queue = queue

    def _act(self, verb: str, job: Job, lost: bool, **options: Any) -> None:
        self.huey.storage.scripts.lose = lost
        command = getattr(self.huey.commands, verb)
        try:
            command([job.id], **options)
        except Unreachable:
            command([job.id], **options)

    @rule(queue=st.sampled_from(["default", "narrow"]), steps=st.integers(1, 5))
    def pause(self, queue: str, steps: int) -> None:
        self.huey.commands.pause(queue)
        self.model.paused.add(queue)
        self.soon.append((self.steps + steps, lambda: self._resume(queue)))

    def _resume(self, queue: str) -> None:
        self.huey.commands.resume(queue)
        self.model.paused.discard(queue)

    @rule(steps=st.integers(1, 6))
    def pause_task(self, steps: int) -> None:
        """Its jobs are set aside, its neighbours run, and all come back in order."""
        self.huey.commands.pause_task(KEYED)
        self.model.paused_tasks.add(KEYED)
        self.soon.append((self.steps + steps, self._resume_task))

    def _resume_task(self) -> None:
        self.huey.commands.resume_task(KEYED)
        self.model.paused_tasks.discard(KEYED)

    @rule(n=some)
    def tick(self, n: int) -> None:
        """Two processes claim the same minute: one job."""
        task = next(t for t in self.huey._registry.periodic_tasks)
        name, minute = (
            self.huey._registry.task_to_string(type(task)),
            self.clock.ms // 60000 - n % 2,
        )
        fired = sum(periodic.fire(self.huey, task, name, minute) or 0 for _ in range(2))
        new = not self.full and all(minute > other for other in self.model.ticks)
        assert fired == new
        if new:
            self.model.ticks.add(minute)
            known = set(self.model.jobs) | self.model.forgotten
            (job_id,) = {i for i in keyspace.states(keyspace.read(self.huey)) if i not in known}
            spec = self.huey.spec_of(type(task)(id=job_id))
            self._insert((spec, b"{}"))

    @rule(keep=st.integers(0, 2))
    def trim(self, keep: int) -> None:
        self._keep("default", keep)
        self.huey.storage.scripts.run("trim", 0, 200, "default")
        self.huey.commands.configure()
        space = keyspace.read(self.huey)
        for state in keyspace.FINAL:
            kept = space.all("state").get(f"default:{state}", {})
            mine = [
                j for j in self.model.jobs.values() if j.queue == "default" and j.state == state
            ]
            assert len(kept) == min(keep, len(mine))
            for job in mine:
                if job.id not in kept:
                    self._forget(job)

    @rule()
    def fsck(self) -> None:
        """The check of all keys finds nothing, and changes nothing."""
        assert self.huey.commands.fsck() == {}
