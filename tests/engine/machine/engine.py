"""The whole machine: every rule, and what must hold after each and at the end."""

from __future__ import annotations

import sys
from collections import Counter

import keyspace
from hypothesis.stateful import invariant

from machine.adding import Adding
from machine.ending import Ending
from machine.failing import Failing
from machine.living import Living
from machine.model import plan
from machine.operating import Operating
from machine.taking import Taking
from tasks.engine.running.leases import MOST_DEATHS


class Engine(Adding, Taking, Ending, Living, Operating, Failing):
    """See the package."""

    @invariant()
    def check(self) -> None:
        """After every step; here ends also what lasts for some steps only."""
        self._compare()
        self.steps += 1
        for item in [item for item in self.soon if item[0] <= self.steps]:
            self.soon.remove(item)
            item[1]()

    def _compare(self) -> None:
        space = keyspace.read(self.huey)
        assert keyspace.faults(space) == []
        truth = keyspace.states(space)
        assert truth == {job.id: (job.queue, job.state) for job in self.model.jobs.values()}
        for job in self.model.jobs.values():
            if job.live:
                found = space.all("job")[job.id]
                assert int(found.get("n", 0)) == job.used
                assert int(found.get("k", 0)) == job.deaths
                assert found.get("T", "") == job.token
            assert job.deaths <= MOST_DEATHS
        self._conserved(space)

    def _conserved(self, space: keyspace.Keyspace) -> None:
        """What was added is live or ended; each counter says so."""
        sums: Counter[str] = Counter()
        for fields in space.all("minute").values():
            for name, many in fields.items():
                sums[name.rpartition("|")[2][0]] += int(many)
        for letter, state in zip("cfx", keyspace.FINAL, strict=True):
            assert sums[letter] == self.model.ends[state], state
        assert sums["n"] + sums["l"] == self.model.added - self.model.revived
        standing: Counter[tuple[str, str]] = Counter()
        for name, many in space.one("counts").items():
            queue, _, state = name.split("|")
            standing[queue, state] += int(many)
        assert standing == Counter((j.queue, j.state) for j in self.model.jobs.values())
        live = sum(job.live for job in self.model.jobs.values())
        assert self.model.added == live + sum(self.model.ends.values())

    # At the end

    def teardown(self) -> None:
        """Everybody dies; one new process heals, drains and trims; nothing is left."""
        try:
            if sys.exc_info()[0] is None:
                self._drain()
                self._leaks()
        finally:
            self.client.config_set("maxmemory", "0")
            self.huey.storage.flush_all()
            self.client.close()
            self.huey.storage.close()

    def _drain(self) -> None:
        self._room_again()
        for queue in ("default", "narrow"):
            self._resume(queue)
        self._resume_task()
        for proc in self.procs:
            proc.dead = True
        last = self._proc()
        self.procs.append(last)
        for n in range(200):
            self.clock.ms += 2000 if n < 40 else 600_000  # what a step back put off comes as well
            self._beat(last)
            self._sweep(last)
            answer = last.storage.finish_and_fetch([], [], plan(50))
            self._promote(20)
            self._taken(last, [(job.id, job.token) for job in answer.jobs], {})
            for handed in answer.jobs:
                outcome = self._outcome(handed, "completed", 0)
                (status,) = self._commit(last, [outcome])
                assert status != "gone"
                self._chord_step(outcome, status)
                self._ended(handed, "completed", 0)
            if not any(job.live for job in self.model.jobs.values()):
                break
        self.check()
        left = {job.id: job.state for job in self.model.jobs.values() if job.live}
        assert not left, f"these never ended: {left}"
        for chord in self.model.chords.values():
            assert chord["fired"] or len(chord["members"]) < chord["size"]

    def _leaks(self) -> None:
        for queue in ("default", "narrow", "email"):
            self._keep(queue, 0)
        while self.huey.storage.scripts.run("trim", 0, 200, "default", "narrow", "email"):
            pass  # a story may add more jobs than one call takes
        space = keyspace.read(self.huey)
        stay = {"meta", "queues", "queue", "wake", "procs", "proc", "suspects", "dead", "cron",
                "minute", "runs", "ticks", "rolled", "events"}  # fmt: skip
        left = {
            f"{kind}:{name}": data for kind, found in space.kinds.items() if kind not in stay
            for name, data in found.items() if data and space.ttl[kind, name] < 0
        }  # fmt: skip
        assert left == {}, f"keys are left after everything was drained and trimmed: {left}"
        assert int(space.one("meta").get("results", 0)) == 0
