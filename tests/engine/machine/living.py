"""Processes beat, die, stop and are found dead; the server's clock goes on, or back."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from machine.model import LEASE_S, Proc
from machine.world import World, some
from tasks.engine.running.leases import MOST_DEATHS


class Living(World):
    """What happens to processes, and with time."""

    @initialize()
    def begin(self) -> None:
        self.huey.commands.configure()
        for proc in self.procs:
            self._beat(proc)

    def _beat(self, proc: Proc) -> None:
        proc.lease.beat()
        self.model.expires[proc.name] = self.clock.ms + int(LEASE_S * 1000)
        self.model.suspected.pop(proc.name, None)
        held = proc.lease.held()
        for job in self.model.jobs.values():
            if job.state == "active" and job.owner == proc.name and job.id not in proc.handed:
                key = self.huey.storage.keys.of("job", job.id)
                if self.client.hget(key, "s") != b"active":  # given back: the reply was lost
                    self._give_back(job)
        proc.handed = {i: h for i, h in proc.handed.items() if held.get(i) == h.token}

    @rule(n=some)
    def beat(self, n: int) -> None:
        proc = self._alive(n)
        lost = {i: h for i, h in proc.handed.items() if not self._ours(h, proc)}
        self.zombies += [(proc, handed) for handed in lost.values()]
        self._beat(proc)
        assert not set(lost) & set(proc.handed), "a process keeps what is no longer its own"

    @precondition(lambda self: sum(not p.dead for p in self.procs) > 1)
    @rule(n=some, noticed=st.booleans())
    def kill(self, n: int, noticed: bool) -> None:
        """A process dies; its parent may say so at once."""
        proc = self._alive(n)
        proc.dead = True
        self.zombies += [(proc, handed) for handed in proc.handed.values()]
        self.procs.append(self._proc())
        self._beat(self.procs[-1])
        if noticed:
            self._sweep(self._alive(0), (proc.name,))

    @rule(n=some)
    def goodbye(self, n: int) -> None:
        """A process stops by itself: what it holds goes back, no attempt burnt."""
        if sum(not p.dead for p in self.procs) < 2:
            return
        proc = self._alive(n)
        proc.dead = True
        proc.storage.scripts.run("goodbye", 0, proc.name)
        for job in list(self.model.jobs.values()):
            if job.state == "active" and job.owner == proc.name:
                self._give_back(job)
        self.zombies += [(proc, handed) for handed in proc.handed.values()]
        self.procs.append(self._proc())
        self._beat(self.procs[-1])

    def _sweep(self, proc: Proc, died: tuple[str, ...] = ()) -> None:
        for job_id, outcome in proc.lease.sweep(dict.fromkeys(died, "killed")):
            job = self.model.jobs[job_id]
            owner = next(p for p in self.procs if p.name == job.owner)
            assert job.state == "active"
            if owner.name not in died:
                seen = self.model.suspected.get(owner.name, self.clock.ms)
                assert self.model.expires.get(owner.name, 0) <= self.clock.ms, "its process lives"
                assert self.clock.ms - seen >= LEASE_S * 500, "it was taken at first sight"
            job.deaths += 1
            if job.deaths >= MOST_DEATHS:
                self._end(job, "failed")
            else:
                self._give_back(job)
            assert outcome == job.state
            if not owner.dead and (handed := owner.handed.get(job_id)):
                self.zombies.append((owner, handed))
        self._suspect()

    def _suspect(self) -> None:
        """The first pass: who is expired is a suspect, and no lease lasts longer than it may."""
        for name, expires in self.model.expires.items():
            self.model.expires[name] = min(expires, self.clock.ms + int(LEASE_S * 1000))
            seen = self.model.suspected.get(name, 0)
            if expires <= self.clock.ms and not 0 < seen <= self.clock.ms:
                self.model.suspected[name] = self.clock.ms

    @rule(n=some)
    def sweep(self, n: int) -> None:
        self._sweep(self._alive(n))

    @rule(ms=st.sampled_from([50, 900, 2500, 5000, 11_000, 61_000, -1, -4000, -3_600_000]))
    def pass_time(self, ms: int) -> None:
        """Redis's clock goes on; sometimes it steps back."""
        self.clock.ms += ms

    @rule(beats=st.integers(1, 8))
    def time_with_beats(self, beats: int) -> None:
        """Everybody alive beats and sweeps in time; the dead are found."""
        for _ in range(beats):
            self.clock.ms += 2000
            for proc in self.procs:
                if not proc.dead:
                    self.zombies += [
                        (proc, h) for h in proc.handed.values() if not self._ours(h, proc)
                    ]
                    self._beat(proc)
            self._sweep(self._alive(0))

    @rule()
    def promote(self) -> None:
        self.huey.storage.scripts.run("house", 0, 200, "house")
        self._promote(200)
