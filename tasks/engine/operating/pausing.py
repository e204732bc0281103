"""Pausing a task or a tag, beside the pause of a queue: Commands inherits this."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tasks.engine import rows
from tasks.engine.errors import EngineError, UnknownTask
from tasks.engine.instance import PausedPart
from tasks.engine.reading.pauses import LETTERS, read
from tasks.engine.wording import one_line

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey
    from tasks.engine.storage import JobStorage

TAG = re.compile(r"[^\s]{1,64}\Z")
OVER = "1"  # an instant long past: the fetch brings the parked jobs back, then forgets the pause


def check_end(until: datetime | None) -> None:
    """Refuse a pause that is over before it begins. Raises EngineError."""
    if until is not None and until <= datetime.now(UTC):
        raise EngineError(
            f"until is {until:%Y-%m-%d %H:%M:%S} UTC, which has passed; give a later end"
        )


class Pausing:
    """The commands: each may be said twice."""

    huey: JobHuey
    storage: JobStorage

    def pause_task(self, task: str, *, by: str = "", reason: str = "",
                   until: datetime | None = None) -> PausedPart:  # fmt: skip
        """Start no more jobs of a task, until resumed or until a time. Raises UnknownTask."""
        if task not in self.huey.reads.tasks():
            raise UnknownTask(f"there is no task {task!r} here")
        return self._pause_part("task", task, by, reason, until)

    def pause_tag(self, tag: str, *, by: str = "", reason: str = "",
                  until: datetime | None = None) -> PausedPart:  # fmt: skip
        """Start no more jobs that carry a tag, until resumed or until a time.

        Raises: EngineError for what is no tag.
        """
        if not TAG.match(tag):
            raise EngineError(f"{tag!r} is no tag: 1 to 64 characters, no blanks")
        return self._pause_part("tag", tag, by, reason, until)

    def resume_task(self, task: str, *, by: str = "") -> None:
        """Start jobs of a task again, those that waited first."""
        self._resume_part("task", task)

    def resume_tag(self, tag: str, *, by: str = "") -> None:
        """Start jobs with a tag again, those that waited first."""
        self._resume_part("tag", tag)

    def _pause_part(self, kind: str, name: str, by: str, reason: str,
                    until: datetime | None) -> PausedPart:  # fmt: skip
        check_end(until)
        known = self.storage.call(
            "HGET", self.storage.keys.one("pauses"), f"{LETTERS[kind]}:{name}"
        )
        standing = (
            read(f"{LETTERS[kind]}:{name}", known.decode(), datetime.now(UTC)) if known else None
        )
        if standing and until is None and not reason:
            return standing
        ends = str(int(until.timestamp() * 1000)) if until else ""
        text = "\t".join((ends, str(self.huey.reads.now_ms()), one_line(by), one_line(reason)))
        field = f"{LETTERS[kind]}:{name}"
        self.storage.write([("HSET", self.storage.keys.one("pauses"), field, text)])
        part = read(field, text, rows.micros(0))
        assert part is not None  # noqa: S101 - nothing is over at the beginning of time
        return part

    def _resume_part(self, kind: str, name: str) -> None:
        key, field = self.storage.keys.one("pauses"), f"{LETTERS[kind]}:{name}"
        if self.storage.call("HEXISTS", key, field):
            self.storage.write([
                ("HSET", key, field, f"{OVER}\t{OVER}\t\t"),
                *self.storage.calls(self.storage.queues),
            ])  # fmt: skip
