"""How a job is queued: alone, in bulk, from the outbox; each by lua/add."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from huey import signals as S  # noqa: N812 - as in Huey
from huey.api import Result, ResultGroup, Task, chord, group

from tasks.engine import envelope as env
from tasks.engine.adding import new_request
from tasks.engine.current import RUNNING
from tasks.engine.errors import EngineError, Unreachable
from tasks.engine.huey_storage import due_ms
from tasks.engine.ids import FOREIGN
from tasks.engine.keys import digest
from tasks.engine.operations import Outcome as Answered
from tasks.engine.queueing.registering import Registering
from tasks.engine.storage import JobStorage

SEVERAL = (group, chord)
FORMS_MOST = 100  # of a task


class JobForm(NamedTuple):
    """What the jobs of a task with the same settings have in common.

    `spec` is what lib/insert takes, without the id; `described`: their arguments say more of each.
    """

    spec: dict[str, Any]
    described: bool
    envelope: env.Form


def _is_usual(task: Task) -> bool:
    """Tell whether a job's envelope has nothing beside its settings and arguments."""
    return (
        task.eta is None and task.on_complete is None and task.on_error is None
        and task.expires is None and task.expires_resolved is None and task.chord_config is None
        and not (task.kwargs and task.kwargs.get("task") is task)  # put there while it ran
    )  # fmt: skip


class Enqueueing(Registering):
    """The enqueueing part of JobHuey."""

    storage: JobStorage
    spill: Callable[[str, bytes, dt.datetime | None], bool] | None
    hop_delayed: bool

    def form_of(self, task: Task) -> JobForm:
        """Return what a job has in common with others of its task that have the same settings."""
        kind: Any = type(task)
        settings = (task.retries, task.retry_delay, task.priority, task.timeout, task.retry_backoff)
        key = (self.queue_of(task), *settings)
        forms = getattr(kind, "forms", None)
        form: JobForm | None = None if forms is None else forms.get(key)
        if form is None:
            form = self._new_form(kind, *key)
            if forms is not None:
                if len(forms) >= FORMS_MOST:
                    forms.clear()
                forms[key] = form
        return form

    def _new_form(self, kind: Any, queue: str, *settings: Any) -> JobForm:
        name, secret = self._registry.task_to_string(kind), getattr(kind, "secret", ())
        retries, _, priority, *_ = settings
        return JobForm(
            {"q": queue, "t": name, "p": max(-100, min(100, int(priority))) if priority else 0,
             "m": 1 + max(0, retries) if retries else 1},
            bool(getattr(kind, "index", ()) or getattr(kind, "unique", None) or getattr(kind, "tags", ())),
            env.Form(name, env.usual_head(queue, None, name, *settings), getattr(kind, "job_names", ()),
                     frozenset(secret)),
        )  # fmt: skip

    def serialize_task(self, task: Task, first_delay: float | None = None) -> bytes:
        """Return the job's envelope, secrets encrypted."""
        return self._envelope(task, self.form_of(task), first_delay)

    envelope = serialize_task

    def _envelope(self, task: Task, form: JobForm, first_delay: float | None = None) -> bytes:
        usual = first_delay is None and _is_usual(task)
        if usual and form.envelope.name in self._registry._registry:
            return form.envelope.dump(task.id, task.args, task.kwargs, self.cipher)
        return env.dump(
            self._registry.create_message(task), queue=form.spec["q"], secrets=form.envelope.secrets,
            names=form.envelope.names, cipher=self.cipher, first_delay=first_delay,
        )  # fmt: skip

    def deserialize_task(self, data: bytes) -> Task:
        """Return the task of an envelope. Raises ValueError, or KeyError for an unknown task."""
        message, _ = env.load(data, self.cipher)
        return self._registry.create_task(message)

    def spec_of(self, task: Task) -> dict[str, Any]:
        """Return what lib/insert takes for this job."""
        return self._spec(task, self.form_of(task))

    def _spec(self, task: Task, form: JobForm) -> dict[str, Any]:
        job_id = task.id
        if not FOREIGN.match(job_id if type(job_id) is str else str(job_id)):
            raise EngineError(f"the id {job_id!r} is refused: 1 to 64 of letters, digits and _.:-")
        spec = {"id": job_id, **form.spec}
        if form.described:
            self._describe(spec, task, type(task))
        running = RUNNING.get()
        if running:
            spec["by"] = running.id
        return spec

    def _describe(self, spec: dict[str, Any], task: Task, kind: Any) -> None:
        """Add what a job's arguments say of it: indexes, unique key, tags."""
        named = self._named(task)
        if getattr(kind, "index", ()):
            spec["ix"] = " ".join(digest(n, named[n]) for n in kind.index if n in named)
        if getattr(kind, "unique", None):
            spec["u"] = digest(spec["t"], kind.unique.format(**named))
        if getattr(kind, "tags", ()):
            spec["tg"] = " ".join(
                re.sub(r"\s+", "_", tag.format(**named))[:64] for tag in kind.tags
            )

    def due_of(self, task: Task) -> dt.datetime | None:
        """Return when a job may run, aware, or None for at once."""
        if task.eta is None:
            return None
        if task.eta.tzinfo is not None:
            return task.eta
        return task.eta.replace(tzinfo=dt.UTC) if self.utc else task.eta.astimezone()

    def enqueue(self, task: Any) -> Any:
        """Queue a job.

        Raises: Unreachable when Redis is away and nothing spilled it; NotSerializable; TooLarge.
        """
        if isinstance(task, SEVERAL) or self._immediate:
            return super().enqueue(task)
        self._queue(task)
        return self._handle(task)

    def _queue(self, task: Task) -> None:
        """Queue one job now; an attempt keeps its own follow-ups for its commit (attempts.py)."""
        self._add(task)

    def _handle(self, task: Task) -> Any:
        if not self.results:
            return None
        results = self._pipeline_results(task)
        return ResultGroup(results) if len(results) > 1 else results[0]

    def _add(self, task: Task) -> None:
        spec, data = self._row_of(task)
        try:
            status, job_id = self.storage.add_one((spec, data))
        except Unreachable:
            if not (self.spill and self.spill(task.id, data, self.due_of(task))):
                raise
            status, job_id = "new", task.id
        self._added(task, status, job_id)

    def _row_of(self, task: Task) -> tuple[dict[str, Any], bytes]:
        """Return what storage.add takes for a job."""
        if task.expires:
            task.resolve_expires(self.utc)
        form, due = self.form_of(task), self.due_of(task)
        spec = self._spec(task, form)
        if due is not None and not self.hop_delayed:
            spec["due"] = due_ms(due)
        return spec, self._envelope(task, form)

    def _added(self, task: Any, status: str, job_id: str) -> None:
        """Say that a job was added; where its unique key is held, the task becomes that job."""
        if status == "held":
            task.id, task.duplicate = job_id, True
        due = self.due_of(task)
        later = due is not None and not self.hop_delayed and due > dt.datetime.now(dt.UTC)
        self._emit(S.SIGNAL_SCHEDULED if later else S.SIGNAL_ENQUEUED, task)

    def enqueue_many(self, tasks: Sequence[Task]) -> list[Result]:
        """Queue many jobs in few calls, 200 to each.

        Raises as `enqueue`; some may be queued then. The same tasks queued once more add nothing twice,
        also of those that ran meanwhile.
        """
        if self._immediate:
            return [self.enqueue(task) for task in tasks]
        request = new_request()
        try:
            results = self._add_rows(tasks, (self._row_within(request, task) for task in tasks))
        except BaseException:
            for task in tasks:
                vars(task).setdefault("request", request)
            raise
        for task in tasks:
            if getattr(task, "request", None):
                del vars(task)["request"]
        return results

    def _row_within(self, request: str, task: Task) -> tuple[dict[str, Any], bytes]:
        """Return a task's row; one of a call that failed half way belongs to that call still."""
        spec, data = self._row_of(task)
        spec["rq"] = getattr(task, "request", None) or request
        return spec, data

    def _add_rows(self, tasks: Sequence[Task], rows: Iterable[tuple[dict[str, Any], bytes]]) -> list[Result]:  # fmt: skip
        """Queue jobs of which `rows` tells while Redis stores those before."""
        answers: list[tuple[str, str]] = []
        try:
            self.storage.add(rows, answers)
        except Unreachable:
            raise
        except Exception as exc:  # one of them cannot be written
            if answers:
                exc.add_note(_before(len(answers)))
            raise
        finally:
            for task, (status, job_id) in zip(tasks, answers, strict=False):
                self._added(task, status, job_id)
        return [Result(self, task) for task in tasks]

    def push(self, rows: Sequence[tuple[str, bytes, dt.datetime | None]]) -> list[Answered]:
        """Queue outbox rows, each (job id, envelope, due); pushed twice is one job.

        Raises: Unreachable; then nothing is known of any row: push them again.
        """
        specs = [(self._spec_of_row(job_id, data, due), data) for job_id, data, due in rows]
        answers = self.storage.add(specs)
        return [
            Answered(id=row[0], done=True, detail=f"{status} {job_id}")
            for row, (status, job_id) in zip(rows, answers, strict=True)
        ]

    def _spec_of_row(self, job_id: str, data: bytes, due: dt.datetime | None) -> dict[str, Any]:
        task = self._registry.create_task(env.load(data)[0])
        task.id = job_id
        spec = {**self.spec_of(task), "q": json.loads(data)["queue"], "mk": 1}
        if due is not None:
            spec["due"] = due_ms(due)
        return spec

    def add_schedule(self, task: Task) -> None:
        """Keep a job for its due time."""
        if self._immediate:  # nothing runs it: it is there to be looked at, as in Huey
            super().add_schedule(task)
            return
        spec = self.spec_of(task)
        due = self.due_of(task)
        self.storage.add(
            [({**spec, "due": due_ms(due) if due else 0, "hold": 1}, self.serialize_task(task))]
        )
        self._emit(S.SIGNAL_SCHEDULED, task)


def _before(many: int) -> str:
    return (
        f"the {many} tasks before it are queued, the rest is not: queue all of them again once it is"
        " mended, none is added twice"
    )
