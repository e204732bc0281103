"""Attempts end in every way, several in one call, said twice, or too late."""

from __future__ import annotations

import keyspace
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from machine.model import Proc
from machine.world import World, some
from tasks.engine.errors import Unreachable
from tasks.engine.running.completing import report
from tasks.engine.running.outcome import Outcome
from tasks.engine.storage import Handed

ends = st.sampled_from(
    ["completed", "completed", "failed", "cancelled", "retry", "defer", "release"]
)


class Ending(World):
    """What becomes of an attempt."""

    def _outcome(self, handed: Handed, how: str, delay: int) -> Outcome:
        job = self.model.jobs.get(handed.id)  # none where a failover forgot it
        outcome = Outcome(handed, to=how, kind=how)
        outcome.retries_left = handed.allowed - 2 - handed.used
        if how == "completed":
            outcome.result, outcome.unrevoke = b'"done"', True
        if how == "retry":
            outcome.kind, outcome.delay_ms = "retrying", delay
        if how == "defer":
            outcome.to, outcome.kind, outcome.due_ms = "retry", "deferred", self.clock.ms + delay
            outcome.retries_left += 1
        if how == "release":
            outcome.kind, outcome.retries_left = "interrupted", handed.allowed - 1 - handed.used
        if job and job.chord and how == "completed" and job.chord[1] >= 0:
            chord = self.model.chords[job.chord[0]]
            spec = {
                "cid": job.chord[0],
                "idx": job.chord[1],
                "size": chord["size"],
                "spec": chord["row"][0],
            }
            outcome.chord = (spec, b"1", chord["row"][1])
        return outcome

    def _ended(self, handed: Handed, how: str, delay: int) -> None:
        job = self.model.jobs[handed.id]
        if how != "release":
            job.used += how != "defer"
        if how in ("release", "retry", "defer") and job.asked:
            self._end(job, "cancelled")
        elif how == "release":
            self._wait(job, keep=True)
        elif how in ("retry", "defer"):
            if delay > 0:
                self._later(job, "retrying" if job.used else "scheduled", self.clock.ms + delay)
            else:
                self._wait(job)
        else:
            self._end(job, how)

    def _commit(self, proc: Proc, outcomes: list[Outcome]) -> list[str]:
        said = report(outcomes, proc.name)
        words = proc.storage.words(said.done, None, (), said.plain)
        answer = proc.storage.answer(proc.storage.ask(words, said.blobs))
        plain = ["ok"] * (len(said.outcomes) - len(answer.statuses))
        assert not plain or len(answer.statuses) == len(said.done)
        told = zip(said.outcomes, [*answer.statuses, *plain], strict=True)
        by_id = {outcome.job.id: status for outcome, status in told}
        return [by_id[outcome.job.id] for outcome in outcomes]

    def _chord_step(self, outcome: Outcome, status: str) -> None:
        """Count a member; where the reply was lost (no status) the whole keyspace is compared later."""
        job = self.model.jobs[outcome.job.id]
        if outcome.chord is None or job.chord is None:
            return
        chord = self.model.chords[job.chord[0]]
        chord["members"].add(job.chord[1])
        complete = len(chord["members"]) == chord["size"] and not chord["fired"]
        if status:
            assert (status == "fired") == complete, f"{status} with {chord}"
        if complete:
            chord["fired"] = True
            self._insert(chord["row"])
            self.model.jobs[chord["callback"]].chord = (job.chord[0], -1)

    @precondition(lambda self: any(p.handed and not p.dead for p in self.procs))
    @rule(n=some, how=ends, many=st.integers(1, 3), kid=st.booleans(), lost=st.booleans(),
          delay=st.sampled_from([0, 1000, 5000]), fault=st.booleans())  # fmt: skip
    def finish(  # noqa: C901 - one story
        self, n: int, how: str, many: int, kid: bool, lost: bool, delay: int, fault: bool
    ) -> None:
        """Several attempts end in one call; when its reply is lost the same is said again."""
        busy = [proc for proc in self.procs if proc.handed and not proc.dead]
        proc = busy[n % len(busy)]
        chosen = list(proc.handed.values())[:many]
        outcomes = [self._outcome(handed, how, delay) for handed in chosen]
        ours = [self._ours(handed, proc) for handed in chosen]
        kids = [self._row("default", 0) for _ in chosen] if kid and how == "completed" else []
        for outcome, row in zip(outcomes, kids, strict=False):
            outcome.kids = [row]
        for outcome in outcomes:
            if fault and outcome.job.queue == "email":
                outcome.told = {"fault": "it is away", "now": True}
        proc.storage.scripts.lose = lost
        try:
            statuses = self._commit(proc, outcomes)
        except Unreachable:
            assert lost
            again = self._commit(proc, outcomes)
            assert set(again) <= {"gone", "already"}, again
            statuses = []
        proc.storage.scripts.lose = False
        for at, (handed, is_ours) in enumerate(zip(chosen, ours, strict=True)):
            if statuses:
                assert (statuses[at] != "gone") == is_ours
            if is_ours:
                if kids:
                    self._insert(kids[at])
                self._chord_step(outcomes[at], statuses[at] if statuses else "")
                self._ended(handed, how, delay)
            proc.handed.pop(handed.id)
        proc.lease.swap(finished=chosen, taken=[])

    @precondition(lambda self: self.zombies)
    @rule(n=some, how=ends, kid=st.booleans())
    def finish_late(self, n: int, how: str, kid: bool) -> None:
        """A frozen process comes back with an outcome nobody waits for: it changes nothing."""
        proc, handed = self.zombies[n % len(self.zombies)]
        if handed.id not in self.model.jobs or self._ours(handed, proc):
            return
        outcome = self._outcome(handed, how, 0)
        if kid:
            outcome.kids = [self._row("default", 0)]
        before = keyspace.read(self.huey)
        (status,) = self._commit(proc, [outcome])
        assert status == "gone"
        after = keyspace.read(self.huey)
        for kind in ("job", "final", "state", "held", "waiting", "due", "unique", "chord"):
            assert after.all(kind) == before.all(kind), kind
