"""What periodic tasks did and will do; Reads inherits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from tasks.engine import rows
from tasks.engine.errors import UnknownTask
from tasks.engine.instance import Pause, Periodic, Tick
from tasks.engine.ticking.periodic import LOOK_BACK_MINUTES, MOST_SHOWN, name_of, schedule_of
from tasks.engine.ticking.schedules import LOOK_AHEAD_MINUTES, Schedule, at_minute

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey
    from tasks.engine.storage import JobStorage

LATE_MINUTES = 2  # a tick not fired by then is missed
SHOWN_AHEAD = 10


class Ticks:
    """The questions about periodic tasks."""

    huey: JobHuey
    storage: JobStorage

    def periodic(self) -> list[Periodic]:
        """Return the periodic tasks, the next to run first, each with its last thirty ticks."""
        tasks = {name_of(self.huey, task): task for task in self.huey._registry.periodic_tasks}
        if not tasks:
            return []
        cron = self.storage.keys.one("cron")
        fields = [f for name in tasks for f in (name, f"{name}|job", f"{name}|off")]
        reply = self.storage.pipeline(
            [("TIME",), ("HMGET", cron, *fields)]
            + [("HGETALL", self.storage.keys.of("ticks", name)) for name in tasks]
        )
        now = int(reply[0][0]) // 60
        triples = zip(*[iter(reply[1])] * 3, strict=True)
        found = [
            _periodic(name, task, triple, rows.flat(ticks), now)
            for (name, task), triple, ticks in zip(tasks.items(), triples, reply[2:], strict=True)
        ]
        return sorted(self._with_running(found), key=lambda one: one.next_at or at_minute(now * 2))

    def periodic_task(self, name: str) -> Periodic:
        """Return one periodic task with its next ten ticks. Raises UnknownTask."""
        for one in self.periodic():
            if one.task == name:
                task = next(
                    t for t in self.huey._registry.periodic_tasks if name_of(self.huey, t) == name
                )
                now = self.huey.reads.now_ms() // 60000
                ahead = schedule_of(task).ticks(now + 1, now + LOOK_AHEAD_MINUTES)
                return replace(one, upcoming=[at_minute(m) for m in islice(ahead, SHOWN_AHEAD)])
        raise UnknownTask(f"there is no periodic task {name!r} here")

    def _with_running(self, found: Sequence[Periodic]) -> list[Periodic]:
        """Say which of the fired ticks' jobs run now."""
        fired = [
            (one, one.ticks[-1].job_id)
            for one in found
            if one.ticks and one.ticks[-1].state == "fired"
        ]
        keys = [self.storage.keys.of("job", job_id or "") for _, job_id in fired]
        states = self.storage.pipeline([("HGET", key, "s") for key in keys]) if keys else []
        active = {
            one.task for (one, _), state in zip(fired, states, strict=True) if state == b"active"
        }
        return [replace(one, running=one.task in active) for one in found]


def _periodic(name: str, task: Any, triple: Sequence[bytes | None], known: Mapping[str, str],
              now: int) -> Periodic:  # fmt: skip
    last, job, off = triple
    plan = schedule_of(task)
    pause = _off(off, at_minute(now))
    ticks = [_tick(at, text) for at, text in known.items()]
    if last and pause is None:
        ticks += [Tick(at=at_minute(m), state="missed") for m in _unfired(plan, int(last), now)]
    ticks.sort(key=lambda tick: tick.at)
    next_ = plan.next_after(now)
    return Periodic(
        task=name, expression=plan.expression or getattr(type(task), "expression", ""), tz=plan.tz,
        words=plan.words(), missed=getattr(task, "missed", "latest"), queue=getattr(type(task), "queue", ""),
        last_at=at_minute(int(last)) if last else None, last_job=job.decode() if job else None,
        next_at=at_minute(next_) if next_ is not None else None, off=pause, ticks=ticks[-MOST_SHOWN:],
    )  # fmt: skip


def _unfired(plan: Schedule, last: int, now: int) -> list[int]:
    """Return the newest ticks that are due since long enough and that nobody has fired."""
    next_ = plan.next_after(last)
    if next_ is None or next_ > now - LATE_MINUTES:
        return []
    floor = max(last + 1, now - LOOK_BACK_MINUTES)
    return list(islice(plan.ticks_before(now - LATE_MINUTES + 1, floor), MOST_SHOWN))


def _off(text: bytes | None, at: datetime) -> Pause | None:
    if text is None:
        return None
    until, since, by, reason = text.decode(errors="replace").split("\t", 3)
    ends = rows.instant(until)
    if ends and ends <= at:
        return None
    return Pause(at=rows.instant(since) or at, by=by, reason=reason, until=ends)


def _tick(at: str, text: str) -> Tick:
    state, job_id, ran, ended = text.split("\t")
    due = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(at))
    return Tick(at=due, state=state, job_id=job_id or None, run_ms=int(ran) if ran else None,
                ended_at=rows.instant(ended), by_hand=int(at) % 60000 != 0)  # fmt: skip
