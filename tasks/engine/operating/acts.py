"""What an operator may do to jobs, one by one or in bulk: the same verbs, the same checks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tasks.engine import rows, values
from tasks.engine.errors import EngineError, UnknownJob, UnknownQueue
from tasks.engine.operations import Outcome
from tasks.engine.queueing import arguments
from tasks.engine.records import State
from tasks.engine.wording import cancelled_by

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey

AT_ONCE = 500
TAG = re.compile(r"\w[\w.:/-]{0,39}\Z")
TAGS_AT_ONCE = 10
ARGUMENT = re.compile(r"[^\W\d]\w{0,63}(\.\w{1,64}){0,4}\Z")
# Which states a verb changes, for buttons, dry runs and refusals; the scripts hold the same rules.
LIVE_BUT_ACTIVE = (State.SCHEDULED, State.WAITING, State.RETRYING)
APPLIES: Mapping[str, tuple[State, ...]] = {
    "retry": (State.FAILED, State.CANCELLED, State.COMPLETED, State.RETRYING),
    "run_now": (State.SCHEDULED, State.RETRYING),
    "cancel": (State.SCHEDULED, State.WAITING, State.ACTIVE, State.RETRYING),
    "delete": (State.COMPLETED, State.FAILED, State.CANCELLED),
    "discard": (State.WAITING,),
    "reschedule": LIVE_BUT_ACTIVE,
    "move": LIVE_BUT_ACTIVE,
    "priority": LIVE_BUT_ACTIVE,
    "tag": tuple(State),
    "untag": tuple(State),
    "patch": (*LIVE_BUT_ACTIVE, State.FAILED, State.CANCELLED),
}


def later(delay_s: float | None) -> dict[str, Any]:
    """Return a delay as the scripts take it."""
    return {"delay": int((delay_s or 0) * 1000)}


def when(at: datetime | None, delay_s: float | None) -> dict[str, Any]:
    """Return a due time as the scripts take it. Raises EngineError without one."""
    if (at is None) == (delay_s is None):
        raise EngineError("say when: a time, or a delay from now")
    return {"due": int(at.timestamp() * 1000)} if at is not None else later(delay_s)


def band(priority: int) -> dict[str, Any]:
    """Return a priority as the scripts take it. Raises EngineError."""
    if isinstance(priority, bool) or not -100 <= priority <= 100:
        raise EngineError(f"{priority} is no priority: -100 to 100, the higher first")
    return {"priority": int(priority)}


def words(tags: Iterable[str]) -> dict[str, Any]:
    """Return tags as the scripts take them. Raises EngineError."""
    found = list(dict.fromkeys(tags))
    wrong = [tag for tag in found if not TAG.match(tag)]
    if wrong:
        raise EngineError(f"{wrong[0]!r} is no tag: one word of 1 to 40 letters, digits and _.:/-")
    if not 1 <= len(found) <= TAGS_AT_ONCE:
        raise EngineError(f"1 to {TAGS_AT_ONCE} tags at once; {len(found)} were given")
    return {"tags": found}


def argument(name: str) -> str:
    """Return an argument's name, or a dotted place inside one. Raises EngineError."""
    if not ARGUMENT.match(name):
        raise EngineError(f"{name!r} is no argument: write to, or data.course for a field in it")
    return name


class JobActs:
    """Each act answers for each job; the base of `huey.commands`."""

    def __init__(self, huey: JobHuey) -> None:
        self.huey, self.storage = huey, huey.storage

    def act(self, verb: str, ids: Sequence[str], options: Mapping[str, Any],
            envelope: bytes = b"") -> list[Outcome]:  # fmt: skip
        """Do one thing to each job, at most 500 a call to Redis."""
        found: list[Outcome] = []
        for start in range(0, len(ids), AT_ONCE):
            chunk = ids[start : start + AT_ONCE]
            reply = self.storage.scripts.run(
                "act", 0, verb, json.dumps(dict(options)), envelope, *chunk
            )
            found += [
                Outcome(id=job_id, done=bool(done), state=State(state.decode()) if state else None,
                        detail=note.decode())
                for job_id, (done, state, note) in zip(chunk, reply, strict=True)
            ]  # fmt: skip
        return found

    def retry(self, ids: Sequence[str], *, by: str = "", args: Sequence[Any] | None = None,
              kwargs: Mapping[str, Any] | None = None, delay_s: float | None = None) -> list[Outcome]:  # fmt: skip
        """Run failed, cancelled and completed jobs again, and bring retrying ones forward.

        Args:
            args, kwargs: new arguments, for one job only; MASK keeps a secret as it was.
        Raises: EngineError when new arguments do not fit the task's signature.
        """
        if args is None and kwargs is None:
            return self.act("retry", ids, later(delay_s))
        if len(ids) != 1:
            raise EngineError("new arguments are for one job; several were given")
        edit = arguments.replaced(args, kwargs)
        return [self._changed("retry", ids[0], later(delay_s), edit)]

    def queue_job(self, task: str, kwargs: Mapping[str, Any], *, job_id: str, copy_of: str = "",
                  delay_s: float | None = None) -> str:  # fmt: skip
        """Queue a job of a registered task by name; asked twice with one id it is one job.

        Args:
            copy_of: a job of the same task, from which a MASK takes its value.
        Returns: its id; another job's where that one holds the same unique key.
        Raises: EngineError when the arguments do not fit the task; UnknownJob for `copy_of`.
        """
        if self.find_envelopes([job_id])[0][1]:
            return job_id
        copied = self.envelopes([copy_of])[0] if copy_of else b""
        given = arguments.called(self.huey, task, kwargs, copied)
        kind: Any = self.huey._registry.string_to_task(task)
        due = datetime.now(UTC) + timedelta(seconds=delay_s) if delay_s else None
        made = kind(kwargs=given, id=job_id, eta=due)
        self.huey.enqueue(made)
        return str(made.id)

    def patch(self, ids: Sequence[str], name: str, value: Any, *, by: str = "") -> list[Outcome]:
        """Set one argument of jobs that are neither active nor completed; `data.course` is a field.

        Raises: EngineError when it does not fit a job's task: that job and those after it stay.
        """
        edit = arguments.patched(argument(name), value, self.huey.parameters)
        return [self._changed("patch", job_id, {}, edit) for job_id in ids]

    def _changed(self, verb: str, job_id: str, options: Mapping[str, Any],
                 edit: arguments.Edit) -> Outcome:  # fmt: skip
        change = arguments.change(self.huey, self.envelopes([job_id])[0], edit)
        if change is None:
            return self.act(verb, [job_id], options)[0]
        given = {**options, "change": change.figures()}
        return self.act(verb, [job_id], given, change.envelope)[0]

    def envelopes(self, ids: Sequence[str]) -> list[bytes]:
        """Return jobs' envelopes. Raises UnknownJob, naming the first that is not kept."""
        found = [data for _, data in self.find_envelopes(ids)]
        for job_id, data in zip(ids, found, strict=True):
            if not data:
                raise UnknownJob(f"there is no job {job_id}")
        return found

    def find_envelopes(self, ids: Sequence[str]) -> list[tuple[str, bytes]]:
        """Return (id, envelope) of each job, empty where it is not kept; one round trip."""
        keys = self.storage.keys
        reply = self.storage.pipeline([
            command for job_id in ids
            for command in (("GET", keys.of("envelope", job_id)), ("GET", keys.of("final", job_id)))
        ])  # fmt: skip
        pairs = zip(ids, reply[::2], reply[1::2], strict=True)
        return [(i, live or (rows.parse_final(final)[1] if final else b"")) for i, live, final in pairs]  # fmt: skip

    def cancel(self, ids: Sequence[str], *, by: str = "", reason: str = "") -> list[Outcome]:
        """Cancel live jobs; an active one is asked to stop and sees it at its next word."""
        return self.act("cancel", ids, {"why": cancelled_by(by, reason)})

    def run_now(self, ids: Sequence[str], *, by: str = "") -> list[Outcome]:
        """Make scheduled and retrying jobs ready."""
        return self.act("run_now", ids, {})

    def delete(self, ids: Sequence[str], *, by: str = "") -> list[Outcome]:
        """Remove final jobs and every trace of them."""
        return self.act("delete", ids, {})

    def reschedule(self, ids: Sequence[str], *, at: datetime | None = None,
                   delay_s: float | None = None, by: str = "") -> list[Outcome]:  # fmt: skip
        """Set when live jobs run next, in place; a time that has come makes them ready.

        Raises: EngineError unless one of `at` and `delay_s` is given.
        """
        return self.act("reschedule", ids, when(at, delay_s))

    def set_priority(self, ids: Sequence[str], priority: int, *, by: str = "") -> list[Outcome]:
        """Set the priority of live jobs, -100 to 100; among equals each keeps its place."""
        return self.act("priority", ids, band(priority))

    def move(self, ids: Sequence[str], queue: str, *, by: str = "") -> list[Outcome]:
        """Move live jobs to another declared queue; a waiting one keeps its place in line.

        Raises: UnknownQueue.
        """
        return self.act("move", ids, self.lane(queue))

    def lane(self, queue: str) -> dict[str, Any]:
        """Return a declared queue as the scripts take it. Raises UnknownQueue."""
        if queue not in self.huey.declared:
            raise UnknownQueue(
                f"there is no queue {queue!r}; there are {', '.join(self.huey.declared)}"
            )
        return {"queue": queue}

    def tag(self, ids: Sequence[str], *tags: str, by: str = "") -> list[Outcome]:
        """Give jobs of any state tags, each one word; at most 20 a job. Raises EngineError."""
        return self.act("tag", ids, words(tags))

    def untag(self, ids: Sequence[str], *tags: str, by: str = "") -> list[Outcome]:
        """Take tags from jobs. Raises EngineError."""
        return self.act("untag", ids, words(tags))

    def is_secret(self, name: str) -> bool:
        """Tell whether any task keeps this argument secret."""
        kinds = self.huey._registry._registry.values()
        return any(name.partition(".")[0] in getattr(kind, "secret", ()) for kind in kinds)

    def sealed(self, value: Any) -> Any:
        """Return a value as a record may keep it: encrypted where there is a cipher."""
        return values.seal(value, self.huey.cipher) if self.huey.cipher else values.pack(value)
