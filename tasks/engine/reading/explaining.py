"""One job, whole, and why it waits; Reads inherits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tasks.engine import envelope as env
from tasks.engine import rows, values
from tasks.engine.errors import UnknownJob
from tasks.engine.instance import Pause
from tasks.engine.queues import left_of, retention_of
from tasks.engine.reading.fleet import MOST_ALIVE, Taker, takers
from tasks.engine.reading.pauses import holding
from tasks.engine.records import FINAL, Attempt, Event, Job, State
from tasks.engine.wording import consumer_of

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey
    from tasks.engine.storage import JobStorage

LEAST_TOLD_MS = 1000


class Explaining:
    """The questions about one job."""

    huey: JobHuey
    storage: JobStorage

    def job(self, job_id: str) -> Job:
        """Return one job, whole: attempts with tracebacks, and what it waits for.

        Raises: UnknownJob.
        """
        reply = self.storage.scripts.run("job", job_id)
        if not reply:
            raise UnknownJob(f"there is no job {job_id}: it never was, or its retention is over")
        figures, text, envelope, tries, progress, score = reply[:6]
        row = rows.Row(job_id, float(score), figures, text, envelope, tries, progress)
        job = rows.job_of(row)
        if not job.attempts and job.state is State.COMPLETED and job.started_at:
            job = replace(job, attempts=(_only_attempt(job),))
        if job.state is State.ACTIVE and job.started_at:
            job = replace(job, attempts=(*job.attempts, _running_attempt(job)))
        options, pauses = rows.flat(reply[8]), rows.flat(reply[12])
        alive = takers(self.storage, reply[10]) if job.state is State.WAITING else []
        why = self._why(job, options, pauses, alive, reply[10])
        return replace(
            job, why_waiting=why if why != "" else self._in_line(job, options, reply[6:8], int(reply[9])),
            kept_until=self._kept_until(job, options),
        )  # fmt: skip

    def explained(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs of a list with what they wait for and until when they are kept.

        Cost: two round trips, however many they are; so their place in line is left out.
        """
        if not jobs:
            return []
        queues, key = sorted({job.queue for job in jobs}), self.storage.keys
        now = self.storage.call("TIME")
        asks: list[Sequence[Any]] = [("HGETALL", key.of("queue", queue)) for queue in queues]
        asks += [("HGETALL", key.one("pauses"))]
        asks += [
            ("ZRANGEBYSCORE", key.one("procs"), int(now[0]) * 1000, "+inf", "LIMIT", 0, MOST_ALIVE)
        ]
        *found, paused, procs = self.storage.pipeline(asks)
        options = {queue: rows.flat(each) for queue, each in zip(queues, found, strict=True)}
        pauses, alive = rows.flat(paused), takers(self.storage, procs)
        return [
            replace(job, kept_until=self._kept_until(job, options[job.queue]),
                    why_waiting=self._why(job, options[job.queue], pauses, alive, procs) or _line(job))
            for job in jobs
        ]  # fmt: skip

    def outside(self, job_id: str, envelope: bytes, due: datetime | None) -> Job:
        """Return a job that no Redis knows yet, from its envelope; asks nothing of Redis."""
        args, kwargs, message = rows.read_envelope(envelope)
        later = due is not None and due > datetime.now(UTC)
        return Job(
            id=job_id, queue=rows.queue_of(envelope), task=message.name if message else "",
            priority=(message.priority or 0) if message else 0,
            max_attempts=1 + (message.retries or 0) if message else 1,
            state=State.SCHEDULED if later else State.WAITING, args=args, kwargs=kwargs,
            scheduled_for=due,
        )  # fmt: skip

    def revealed(self, job_id: str) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return a job's arguments with its secrets open: (args, kwargs). Raises UnknownJob.

        The one read that shows them: whoever calls it says in the audit log who looked.
        """
        (_, data) = self.huey.commands.find_envelopes([job_id])[0]
        if not data:
            raise UnknownJob(f"there is no job {job_id}")
        message, _ = env.load(data, self.huey.cipher)
        return values.shown(list(message.args)), values.shown(dict(message.kwargs or {}))

    def _why(self, job: Job, options: Mapping[str, str], pauses: Mapping[str, str],
             alive: Sequence[Taker], procs: Sequence[bytes]) -> str | None:  # fmt: skip
        """Say what a live job waits for, by the same rules as lib/take.lua; empty: its turn."""
        if job.state is State.ACTIVE:
            return self._silent(job, procs)
        if job.state in FINAL:
            return None
        if job.state in (State.SCHEDULED, State.RETRYING):
            reason = f". Reason: {job.deferred_reason}" if job.deferred_reason else ""
            what = "next attempt due" if job.state is State.RETRYING else "due"
            return f"{what} at {job.scheduled_for:%H:%M:%S} UTC on {job.scheduled_for:%d %b %Y}{reason}"
        held = self._held_back(job, options, pauses)
        if held:
            return held
        if not alive:
            return f"no worker is alive: start one with {consumer_of(self.huey)}"
        if not any(job.queue in taker.queues for taker in alive):
            return f"no live worker serves queue {job.queue}"
        return ""

    def _silent(self, job: Job, procs: Sequence[bytes]) -> str | None:
        """Say what becomes of a running job whose worker lost its lease; None while it lives."""
        if job.worker is None or job.worker.encode() in procs or len(procs) >= MOST_ALIVE:
            return None
        start = f"; none is alive, start one with {consumer_of(self.huey)}"
        return f"its worker is silent: one that lives takes the job over{'' if procs else start}"

    def _in_line(
        self, job: Job, options: Mapping[str, str], line: Sequence[Any], now_ms: int
    ) -> str:
        """Say which number a waiting job is, and what those before it wait for.

        Args:
            line: its rank or b"", and how many of its queue run.
        """
        rank, active = line
        declared = self.huey.declared.get(job.queue)
        most = int(
            options.get("lc") or options.get("cc") or (declared.concurrency if declared else 0) or 0
        )
        place = int(rank) + 1 if rank != b"" else 1
        if most and active >= most:
            return f"{active} of {most} {job.queue} jobs are running; this one is number {place} in line"
        if job.recovered:
            return f"number {place} in line: a worker died while it ran, and each worker takes one such job at a time"
        if at := _earliest(options, place, now_ms):
            then = f"{at:%H:%M:%S} UTC at the earliest"
            return f"number {place} in line: by the rate of queue {job.queue} it starts at {then}"
        return f"number {place} in line"

    def _held_back(
        self, job: Job, options: Mapping[str, str], pauses: Mapping[str, str]
    ) -> str | None:
        """Say which pause or breaker keeps a waiting job from starting."""
        at = datetime.now(UTC)
        pause, breaker = rows.pause_of(options, at), rows.breaker_of(options)
        if pause:
            return f"queue {job.queue} is {_paused(pause)}"
        part = holding(pauses, job.task, job.tags, at)
        if part:
            return f"{part.kind} {part.name} is {_paused(part.pause)}"
        if breaker:
            name = getattr(self.huey.declared.get(job.queue), "breaker", None) or "the outside"
            then = (
                f", next try {breaker.next_probe_at:%H:%M:%S} UTC" if breaker.next_probe_at else ""
            )
            return f"{name} unreachable since {breaker.since:%H:%M:%S} UTC{then}"
        return None

    def _kept_until(self, job: Job, options: Mapping[str, str]) -> datetime | None:
        kept = rows.retention_of(options, self.huey.declared.get(job.queue))
        if job.finished_at is None or not kept:
            return None
        text = kept["failed" if job.state is State.FAILED else "completed"]
        return job.finished_at + timedelta(milliseconds=retention_of(text)[0])

    def logs(self, job_id: str) -> list[Event]:
        """Return a job's log, at most the last 200 lines, oldest first."""
        lines = self.storage.call("LRANGE", self.storage.keys.of("logs", job_id), -200, -1)
        parted = (line.decode(errors="replace").partition("\t") for line in lines)
        return [Event(at=rows.micros(int(ms) * 1000), text=text) for ms, _, text in parted]


def _earliest(options: Mapping[str, str], place: int, now_ms: int) -> datetime | None:
    """Return when a rate lets the job at a place start, by lib/take.lua; None within a second or without one."""
    left = left_of(options, now_ms)
    if left is None:
        return None
    wait_ms = (place - left) * float(options["rp"]) / float(options["rl"])
    return rows.micros(int(now_ms + wait_ms) * 1000) if wait_ms >= LEAST_TOLD_MS else None


def _line(job: Job) -> str | None:
    return "in line" if job.state is State.WAITING else None


def _paused(pause: Pause) -> str:
    until = f" until {pause.until:%H:%M} UTC" if pause.until else ""
    by = f" by {pause.by}" if pause.by else ""
    return f"paused{by}{until}{': ' + pause.reason if pause.reason else ''}"


def _only_attempt(job: Job) -> Attempt:
    return Attempt(number=max(1, job.attempts_made), run=job.run, started_at=job.started_at or rows.micros(0),
                   finished_at=job.finished_at, worker=job.worker or "", outcome="completed",
                   wait_ms=job.wait_ms, run_ms=job.run_ms)  # fmt: skip


def _running_attempt(job: Job) -> Attempt:
    return Attempt(number=job.attempts_made, run=job.run, started_at=job.started_at or rows.micros(0),
                   finished_at=None, worker=job.worker or "", outcome="running", wait_ms=job.wait_ms)  # fmt: skip
