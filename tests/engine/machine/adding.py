"""New jobs: one, many, with a unique key, the same call twice, a known id, a chord."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from machine.world import Row, World, some
from tasks.engine import new_id
from tasks.engine.errors import Unreachable


class Adding(World):
    """What a caller may add."""

    def _add(self, rows: list[Row], lost: bool = False) -> None:
        self.huey.storage.scripts.lose = lost
        try:
            answers = self.huey.storage.add(rows)
        except Unreachable:
            assert self.full
            return
        finally:
            self.huey.storage.scripts.lose = False
        assert not self.full or all(status == "held" for status, _ in answers)
        for row, (status, job_id) in zip(rows, answers, strict=True):
            holder = self._holder(row[0].get("u", ""))
            if holder:
                assert (status, job_id) == ("held", holder.id)
            else:
                assert (status, job_id) == ("same" if lost else "new", row[0]["id"])
                self._insert(row)

    @rule(queue=st.sampled_from(["default", "default", "narrow", "email"]), priority=st.sampled_from([0, 0, 5, -3]),
          lost=st.booleans())  # fmt: skip
    def add(self, queue: str, priority: int, lost: bool) -> None:
        self._add([self._row(queue, priority)], lost)

    @rule(key=st.integers(0, 2), delay=st.sampled_from([0, 3000]))
    def add_unique(self, key: int, delay: int) -> None:
        self._add([self._row("default", 0, self.clock.ms + delay, key)])

    @rule(delays=st.lists(st.sampled_from([0, 0, 500, 8000]), min_size=2, max_size=5))
    def add_many(self, delays: list[int]) -> None:
        self._add([self._row("default", 0, self.clock.ms + delay) for delay in delays])

    @rule(many=st.integers(2, 5), priority=st.sampled_from([0, 5]), lost=st.booleans())
    def add_alike(self, many: int, priority: int, lost: bool) -> None:
        """Many of a kind go the short way together."""
        rows = [self._row("default", priority) for _ in range(many)]
        for row in rows:
            row[0]["rq"] = rows[0][0]["rq"]
        self._add(rows, lost)

    @precondition(lambda self: self.model.jobs)
    @rule(n=some)
    def add_again(self, n: int) -> None:
        """The same call twice is one job, whatever became of it."""
        job = self._job(n)
        # Nobody called for a tick or for a chord's callback: their claims make them one.
        if job and not job.id.startswith("cron:") and not self._calls_back(job):
            ((status, job_id),) = self.huey.storage.add([job.row])
            assert (status, job_id) == ("same", job.id)

    @precondition(lambda self: self.model.jobs)
    @rule(n=some)
    def add_known_id(self, n: int) -> None:
        """A live id is answered; a final one runs again under the same id."""
        job = self._job(n)
        if job is None or (job.unique and not job.live and self._holder(job.unique)):
            return
        row = ({**job.row[0], "rq": new_id(), "due": 0}, job.row[1])
        try:
            ((status, job_id),) = self.huey.storage.add([row])
        except Unreachable:
            assert self.full
            assert not job.live
            return
        assert job_id == job.id
        assert status == ("live" if job.live else "again")
        if not job.live:
            job.row = row
            job.run, job.used, job.deaths, job.asked, job.allowed = (
                job.run + 1,
                0,
                0,
                False,
                row[0]["m"],
            )
            job.chord = None
            job.queue, job.priority = row[0]["q"], row[0]["p"]
            self.model.added += 1
            self._wait(job)

    @rule(size=st.integers(2, 3))
    def add_chord(self, size: int) -> None:
        cid, rows = new_id(), [self._row("default", 0) for _ in range(size)]
        callback = self._row("default", 0)
        self._add(rows)
        if self.full:
            return
        self.model.chords[cid] = {"size": size, "members": set(), "fired": False,
                                  "row": callback, "callback": callback[0]["id"]}  # fmt: skip
        for n, row in enumerate(rows):
            self.model.jobs[row[0]["id"]].chord = (cid, n)
