"""How a task is registered: its queue, unique key, secrets and indexes, checked at once."""

from __future__ import annotations

import inspect
import re
import string
from collections.abc import Callable, Sequence
from typing import Any

from huey.api import Huey, PeriodicTask, Task, TaskWrapper
from huey.exceptions import HueyException

from tasks.engine import values
from tasks.engine.errors import EngineError, UnknownQueue
from tasks.engine.ids import new_id
from tasks.engine.queues import Queue
from tasks.engine.ticking.periodic import MISSED
from tasks.engine.ticking.schedules import schedule

CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class JobTask(Task):
    """A call of a task, with a time-ordered id."""

    # What most tasks do not declare; to look for what is not there costs more than to find it.
    index: Sequence[str] = ()
    secret: Sequence[str] = ()
    tags: Sequence[str] = ()
    unique: str | None = None
    request: str | None = None  # the call of enqueue_many that failed half way with it
    forms: dict[Any, Any] | None = None  # what its jobs have in common (Enqueueing.form_of)

    def create_id(self) -> str:
        """Make the id that is the job's only one."""
        return new_id()


class JobPeriodicTask(JobTask, PeriodicTask):
    """A call of a periodic task."""


class JobTaskWrapper(TaskWrapper):
    """A registered task with its queue, unique key, secrets and indexes."""

    def __init__(self, huey: Registering, func: Callable[..., Any], **settings: Any) -> None:
        base = settings.pop("task_base", None)
        kind = JobPeriodicTask if base is PeriodicTask or base is JobPeriodicTask else JobTask
        settings.setdefault("queue", huey.default_queue)
        huey.check_settings(func, settings)
        settings["forms"] = {}
        settings["job_signature"] = signature = inspect.signature(func)
        settings["job_names"] = tuple(signature.parameters)
        settings["job_defaults"] = _defaults(signature)
        super().__init__(huey, func, task_base=kind, **settings)


def _defaults(signature: inspect.Signature) -> dict[str, Any] | None:
    """Return the defaults of a function whose arguments are all given by place or by name, else None."""
    found = signature.parameters.values()
    if any(parameter.kind is not parameter.POSITIONAL_OR_KEYWORD for parameter in found):
        return None
    return {p.name: p.default for p in found if p.default is not p.empty}


def _check_name(name: str) -> None:
    if CONTROL.search(name):  # a job is told of in lines whose values tabs part
        raise EngineError(
            f"a task is named {name!r}: choose a name without tab, newline or other control characters"
        )


class Registering(Huey):
    """The registering part of JobHuey."""

    declared: dict[str, Queue]
    default_queue: str
    cipher: values.Cipher | None

    def get_task_wrapper_class(self) -> type[TaskWrapper]:
        """Return the wrapper that knows queues and secrets."""
        return JobTaskWrapper

    def task(self, *args: Any, **settings: Any) -> Callable[[Callable[..., Any]], Any]:
        """Register a task; `queue`, `unique`, `secret`, `index`, `tags` beside Huey's own settings."""
        return super().task(*args, **settings)

    def periodic_task(
        self, validate_datetime: Any, *args: Any, **settings: Any
    ) -> Callable[[Callable[..., Any]], Any]:
        """Register a periodic task; `missed` (skip, latest or all) says what becomes of lost ticks.

        Raises: EngineError for a policy it does not know.
        """
        settings["schedule"] = found = schedule(validate_datetime)
        settings.setdefault("expression", found.expression)
        if settings.get("missed", MISSED[0]) not in MISSED:
            raise EngineError(
                f"missed={settings['missed']!r} is no policy; there are {', '.join(MISSED)}"
            )
        return super().periodic_task(validate_datetime, *args, **settings)

    def check_settings(self, func: Callable[..., Any], settings: dict[str, Any]) -> None:
        """Refuse a task that could never run right. Raises UnknownQueue or EngineError."""
        _check_name(settings.get("name") or func.__name__)
        if settings["queue"] not in self.declared:
            raise UnknownQueue(
                f"task {func.__name__} names queue {settings['queue']!r}; there are"
                f" {', '.join(self.declared)}"
            )
        secret = set(settings.get("secret", ()))
        shown = set(settings.get("index", ()))
        for text in (settings.get("unique") or "", *settings.get("tags", ())):
            shown |= {n for _, n, _, _ in string.Formatter().parse(text) if n}
        if secret and self.cipher is None:
            raise EngineError(f"task {func.__name__} has secret arguments; give JobHuey a cipher")
        if secret & shown:
            raise EngineError(
                f"task {func.__name__}: {', '.join(secret & shown)} is secret and cannot be in"
                " index, unique or tags"
            )

    def parameters(self, task: str) -> tuple[str, ...]:
        """Return the names of a task's parameters; none where this process does not know it."""
        try:
            return tuple(getattr(self._registry.string_to_task(task), "job_names", ()))
        except HueyException:
            return ()

    def signature(self, task: str) -> inspect.Signature | None:
        """Return a task's signature; None where this process does not know the task."""
        try:
            found = self._registry.string_to_task(task)
        except HueyException:
            return None
        signature: inspect.Signature | None = getattr(found, "job_signature", None)
        return signature

    def secrets(self, task: str) -> frozenset[str]:
        """Return the names of a task's secret parameters; none where it is not known here."""
        try:
            return frozenset(getattr(self._registry.string_to_task(task), "secret", ()))
        except HueyException:
            return frozenset()

    def queue_of(self, task: Task) -> str:
        """Return the queue a job of this task goes to."""
        return getattr(task, "queue", None) or self.default_queue

    def _named(self, task: Task) -> dict[str, Any]:
        """Return a job's arguments by name; those that do not bind are left out."""
        kind: Any = type(task)
        args, kwargs = task.args, task.kwargs
        signature, defaults = (
            getattr(kind, "job_signature", None),
            getattr(kind, "job_defaults", None),
        )
        if signature is None:
            return {}
        if defaults is not None and type(args) is tuple:
            names = kind.job_names  # what the signature does with them takes ten times as long
            if len(args) <= len(names) and kwargs.keys() <= set(names[len(args) :]):
                return {**defaults, **dict(zip(names, args, strict=False)), **kwargs}
        try:
            bound = signature.bind_partial(*args, **kwargs)
        except TypeError:
            return dict(task.kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)
