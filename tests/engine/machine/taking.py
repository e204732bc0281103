"""Fetches: what may start, in which order, and what is not left behind."""

from __future__ import annotations

import contextlib

from hypothesis import strategies as st
from hypothesis.stateful import rule

from machine.model import Job, Proc, plan
from machine.world import World, some
from tasks.engine.errors import Unreachable


class Taking(World):
    """What a process may take."""

    def _suspect_held(self, proc: Proc) -> bool:
        return any(
            j.state == "active" and j.owner == proc.name and j.deaths
            for j in self.model.jobs.values()
        )

    def _startable(self, queue: str, proc: Proc) -> list[Job]:
        """Jobs of a queue in the order in which they may start."""
        if queue in self.model.paused:
            return []
        busy = sum(j.state == "active" and j.queue == queue for j in self.model.jobs.values())
        if queue == "narrow" and busy >= 2:
            return []
        found = [j for j in self.model.jobs.values() if j.state == "waiting" and j.queue == queue]
        found = [j for j in found if j.row[0]["t"] not in self.model.paused_tasks]
        suspect = self._suspect_held(proc)
        found = sorted(found, key=lambda j: (-j.priority, j.order))
        return [j for j in found if not (suspect and j.deaths)]

    def _breaker(self) -> dict[bytes, bytes]:
        return self.client.hgetall(self.huey.storage.keys.of("queue", "email"))

    def _taken(self, proc: Proc, rows: list[tuple[str, str]], before: dict[bytes, bytes]) -> None:
        """Check each job that was handed out, and remember it."""
        for job_id, token in rows:
            job = self.model.jobs[job_id]
            assert job.state == "waiting", f"{job_id} was {job.state} and was handed out"
            first = self._startable(job.queue, proc)
            assert first, f"nothing of {job.queue} may start now"
            assert first[0] is job, f"{first[0]} was before {job}"
            job.state, job.owner, job.token = "active", proc.name, token
            self.model.expires.setdefault(proc.name, self.clock.ms)
        if (
            any(self.model.jobs[i].queue == "email" for i, _ in rows)
            and before.get(b"bs") == b"open"
        ):
            assert self.clock.ms >= int(before[b"bp"]), "the breaker is open"
            assert sum(self.model.jobs[i].queue == "email" for i, _ in rows) == 1

    def _nothing_left_behind(self, proc: Proc, want: int, got: int) -> None:
        if got < want:
            for queue in ("default", "narrow"):
                assert not self._startable(queue, proc)[:10], f"{queue} has jobs that may start"

    @rule(n=some, want=st.integers(1, 4), ahead=st.integers(0, 4))
    def fetch(self, n: int, want: int, ahead: int) -> None:
        proc, before = self._alive(n), self._breaker()
        answer = proc.storage.finish_and_fetch([], [], plan(want, ahead))
        self._promote(20)
        self._taken(proc, [(job.id, job.token) for job in answer.jobs], before)
        self._nothing_left_behind(proc, want, len(answer.jobs))
        for handed in answer.jobs:
            job = self.model.jobs[handed.id]
            assert (handed.used, handed.run, handed.deaths) == (job.used, job.run, job.deaths)
            if handed.id in proc.handed:  # a slot still runs it under an older token
                self.zombies.append((proc, proc.handed[handed.id]))
            proc.handed[handed.id] = handed
        proc.lease.swap(finished=[], taken=answer.jobs)

    @rule(n=some, want=st.integers(1, 3))
    def fetch_whose_reply_is_lost(self, n: int, want: int) -> None:
        proc, before = self._alive(n), self._breaker()
        held = self.client.hgetall(self.huey.storage.keys.of("held", proc.name))
        proc.storage.scripts.lose = True
        with contextlib.suppress(Unreachable):
            proc.storage.finish_and_fetch([], [], plan(want))
        self._promote(20)
        now = self.client.hgetall(self.huey.storage.keys.of("held", proc.name))
        rows = [(i.decode(), t.decode()) for i, t in now.items() if held.get(i) != t]
        self._taken(proc, sorted(rows, key=lambda row: int(row[1].partition("-")[0])), before)
