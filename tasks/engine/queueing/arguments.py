"""New arguments for a job that exists: checked against its task, sealed, with their indexes."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from huey.exceptions import HueyException
from huey.registry import Message

from tasks.engine import envelope as env
from tasks.engine.errors import EngineError
from tasks.engine.records import MASK

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey

PLAIN: Mapping[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (int, float), "bool": (bool,), "None": (type(None),),
    "dict": (dict,), "list": (list, tuple),
}  # fmt: skip


class Change(NamedTuple):
    """New arguments as the scripts take them, and the envelope that they were made from."""

    envelope: bytes
    sha: str
    indexes: str
    unique: str

    def figures(self) -> dict[str, str]:
        """Return what travels beside the envelope."""
        return {"sha": self.sha, "ix": self.indexes, "u": self.unique}


Edit = Callable[[Message], Message]


def change(huey: JobHuey, data: bytes, edit: Edit) -> Change | None:
    """Return an envelope with other arguments; None where `edit` changes nothing.

    Raises: EngineError when the task is not known here or the new arguments do not fit it.
    """
    try:
        before, _ = env.load(data, huey.cipher)
        after = edit(before)
        if after == before:
            return None
        task = huey._registry.create_task(after)
    except (HueyException, ValueError) as exc:
        raise EngineError(f"the job's arguments cannot be read here: {exc}") from exc
    _check(after, getattr(type(task), "job_signature", None))
    spec = huey.spec_of(task)
    sealed = huey.serialize_task(task, env.first_delay(data))
    return Change(sealed, hashlib.sha1(data, usedforsecurity=False).hexdigest(),
                  spec.get("ix", ""), spec.get("u", ""))  # fmt: skip


def called(
    huey: JobHuey, task: str, kwargs: Mapping[str, Any], copied: bytes = b""
) -> dict[str, Any]:
    """Return the arguments of a new call, checked; MASK takes the value that `copied` holds.

    Args:
        copied: the envelope of a job of the same task, or nothing.
    Raises: EngineError when the task is not known here or the arguments do not fit it.
    """
    signature = huey.signature(task)
    if signature is None:
        raise EngineError(f"there is no task {task!r} here")
    old = _named(signature, env.load(copied, huey.cipher)[0]) if copied else {}
    for name, value in kwargs.items():
        if value == MASK and name not in old:
            raise EngineError(f"{name} is masked and there is no job to take it from: give a value")
    given = {name: old[name] if value == MASK else value for name, value in kwargs.items()}
    made: Any = Message
    _check(made(id="", name=task, args=(), kwargs=given), signature)
    return given


def _named(signature: inspect.Signature, message: Message) -> dict[str, Any]:
    return dict(signature.bind_partial(*message.args, **(message.kwargs or {})).arguments)


def _check(message: Message, signature: inspect.Signature | None) -> None:
    """Raise EngineError where arguments do not fit a signature: names, number and plain types."""
    if signature is None:
        return
    try:
        bound = signature.bind(*message.args, **(message.kwargs or {}))
    except TypeError as exc:
        raise EngineError(f"these arguments do not fit {message.name}{signature}: {exc}") from exc
    for name, value in bound.arguments.items():
        said = signature.parameters[name]
        simple = said.kind not in (said.VAR_POSITIONAL, said.VAR_KEYWORD)
        if simple and not _is_a(value, said.annotation):
            raise EngineError(
                f"{name} of {message.name} is {_written(said.annotation)}; {type(value).__name__} was given"
            )


def _written(annotation: Any) -> str:
    """Return an annotation as it stands in the source."""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _is_a(value: Any, annotation: Any) -> bool:
    """Tell whether a value fits an annotation of plain types; any other fits."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    names = [name.strip() for name in text.split("|")]
    if not all(name in PLAIN for name in names):
        return True
    wanted = {kind for name in names for kind in PLAIN[name]}
    return bool in wanted if isinstance(value, bool) else isinstance(value, tuple(wanted))


def replaced(args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> Edit:
    """Return the edit that sets arguments anew; None keeps them, MASK keeps one as it was."""

    def edit(message: Message) -> Message:
        old_args, old_kwargs = tuple(message.args), dict(message.kwargs or {})
        new_args = old_args if args is None else tuple(
            old_args[n] if value == MASK and n < len(old_args) else value for n, value in enumerate(args)
        )  # fmt: skip
        new_kwargs = old_kwargs if kwargs is None else {
            name: old_kwargs.get(name) if value == MASK else value for name, value in kwargs.items()
        }  # fmt: skip
        return message._replace(args=new_args, kwargs=new_kwargs)

    return edit


def patched(path: str, value: Any, names: Callable[[str], Sequence[str]]) -> Edit:
    """Return the edit that sets one argument, or with dots a field inside one.

    Args:
        names: gives a task's parameters in order, to find those given by place.
    """
    name, _, inside = path.partition(".")

    def edit(message: Message) -> Message:
        known, args, kwargs = (
            names(message.name),
            list(message.args),
            dict(message.kwargs or {}),
        )
        place = known.index(name) if name in known else len(args)
        if place < len(args) and name not in kwargs:
            args[place] = _within(args[place], inside, value, path)
        else:
            kwargs[name] = _within(kwargs.get(name), inside, value, path)
        return message._replace(args=type(message.args)(args), kwargs=kwargs)

    return edit


def _within(old: Any, inside: str, value: Any, path: str) -> Any:
    """Return `value`, or `old` with `value` at the dotted place inside it."""
    if not inside:
        return value
    if not isinstance(old, Mapping):
        raise EngineError(f"{path}: there is nothing to set inside a {type(old).__name__}")
    name, _, rest = inside.partition(".")
    return {**old, name: _within(old.get(name), rest, value, path)}
