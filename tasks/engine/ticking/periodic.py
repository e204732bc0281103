"""Firing periodic tasks: once per tick, however many workers there are; and what operators do."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from tasks.engine.errors import EngineError, UnknownTask
from tasks.engine.ids import new_id
from tasks.engine.ticking.schedules import Schedule
from tasks.engine.wording import one_line

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey
    from tasks.engine.storage import JobStorage

logger = logging.getLogger("tasks.engine")
MOST_MISSED = 100
MOST_SHOWN = 30
LOOK_BACK_MINUTES = 31 * 24 * 60
ON_TIME_MINUTES = 1  # what `skip` still fires: a scheduler that was busy for a moment
MISSED = ("skip", "latest", "all")


def schedule_of(task: Any) -> Schedule:
    """Return a periodic task's schedule."""
    found: Schedule = type(task).schedule
    return found


def name_of(huey: JobHuey, task: Any) -> str:
    """Return the name a periodic task is registered under."""
    return str(huey._registry.task_to_string(type(task)))


def due_minutes(task: Any, last: int | None, now: int) -> tuple[list[int], list[int]]:
    """Return the minutes to fire, oldest first, and those that nobody fired and nobody will.

    The task's policy says which of the ticks since `last` are made up; a first start makes up none.
    """
    policy = getattr(task, "missed", "latest")
    next_ = None if last is None else schedule_of(task).next_after(last)
    if next_ is not None and next_ > now:
        return [], []
    first = now if last is None else max(last + 1, now - LOOK_BACK_MINUTES)
    newest = schedule_of(task).ticks_before(now + 1, first)
    due = list(islice(newest, MOST_MISSED + MOST_SHOWN))[::-1]
    many = MOST_MISSED if policy == "all" else 1
    fired, missed = due[-many:], due[:-many]
    if policy == "skip" and fired and fired[-1] < now - ON_TIME_MINUTES:
        return [], due  # told with the next tick that is fired
    return fired, missed[-MOST_SHOWN:]


def fire_each(huey: JobHuey, now_ms: int) -> list[int | None]:
    """Fire every tick that is due by Redis's clock. Returns: what `fire` says of each."""
    tasks = huey._registry.periodic_tasks
    if not tasks:
        return []
    now = now_ms // 60000
    names = [name_of(huey, task) for task in tasks]
    last = huey.storage.call("HMGET", huey.storage.keys.one("cron"), *names)
    fired = []
    for task, name, before in zip(tasks, names, last, strict=True):
        known = int(before) if before is not None else None
        if known == now:
            continue
        minutes, missed = due_minutes(task, known, now)
        for minute in minutes:
            fired.append(fire(huey, task, name, minute, missed))
    return fired


def fire(
    huey: JobHuey, task: Any, name: str, minute: int, missed: Sequence[int] = ()
) -> int | None:
    """Claim one tick and add its job, in one script.

    Returns: 1 when this call won, 0 when another did; None when it is to be tried again.
    """
    job = type(task)(id=f"cron:{name}:{minute}"[-64:])
    ask = {"task": name, "minute": minute, "missed": list(missed), "spec": huey.spec_of(job)}
    try:
        reply = huey.storage.repeat("tick", 0, json.dumps(ask), huey.serialize_task(job))
    except EngineError:
        logger.exception("the tick of %s at %s was not fired; it is tried again", name, minute)
        return None
    return int(reply[0])


class Ticking:
    """What an operator does to a periodic task; Commands inherits it."""

    huey: JobHuey
    storage: JobStorage

    def _periodic(self, task: str) -> Any:
        for found in self.huey._registry.periodic_tasks:
            if name_of(self.huey, found) == task:
                return found
        raise UnknownTask(f"there is no periodic task {task!r} here")

    def run_periodic(self, task: str, *, by: str = "") -> tuple[bool, str]:
        """Run a periodic task now, beside its ticks; its history shows it.

        Returns: whether a job was added, and its id or that of the one that holds its unique key.
        Raises: UnknownTask.
        """
        job = type(self._periodic(task))(id=new_id())
        spec = {**self.huey.spec_of(job), "rq": new_id(), "by": one_line(by)}
        ask = {"task": task, "spec": spec}
        reply = self.storage.repeat("tick", 0, json.dumps(ask), self.huey.serialize_task(job))
        return bool(reply[0]), reply[1].decode()

    def disable_periodic(self, task: str, *, by: str = "", reason: str = "",
                         until: datetime | None = None) -> None:  # fmt: skip
        """Fire no more ticks of a task, until it is enabled or until a time. Raises UnknownTask."""
        self._periodic(task)
        ends = str(int(until.timestamp() * 1000)) if until else ""
        text = "\t".join((ends, str(self.huey.reads.now_ms()), one_line(by), one_line(reason)))
        self.storage.write([("HSET", self.storage.keys.one("cron"), f"{task}|off", text)])

    def enable_periodic(self, task: str, *, by: str = "") -> None:
        """Fire its ticks again, from the next one on; none of the time it was off is made up.

        Raises: UnknownTask.
        """
        self._periodic(task)
        cron, now = self.storage.keys.one("cron"), self.huey.reads.now_ms() // 60000
        off, last = self.storage.call("HMGET", cron, f"{task}|off", task)
        if off is None:
            return
        commands: list[Sequence[Any]] = [("HDEL", cron, f"{task}|off")]
        if last is not None and int(last) < now - 1:
            commands.append(("HSET", cron, task, now - 1))
        self.storage.write(commands)
