"""Job payload <-> JSON: what is one job's own, and what it shares with others of its task; at most 64 KiB."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from huey.registry import Message

from tasks.engine.codec import decode, quoted
from tasks.engine.errors import NotSerializable, TooLarge
from tasks.engine.values import AS_IT_IS, ENCODE, Cipher, opened, pack, seal

ENVELOPE_LIMIT_BYTES = 64 * 1024
FIELDS = Message._fields
OWN = frozenset({"id", "args", "kwargs"})  # of one job; the rest is mostly its task's
NONE = (None,) * 6
USUAL = ("name", "retries", "retry_delay", "priority", "timeout", "retry_backoff")
NOTHING: tuple[Any, ...] = ({}, [])
BEFORE_OWN = b',"id":'  # in a text of an envelope it would be written with \\"
HEAD_MOST = 512  # bytes of what the envelopes of a task have in common


def dump(message: Message, *, queue: str, secrets: frozenset[str], names: tuple[str, ...],
         cipher: Cipher | None, first_delay: float | None = None) -> bytes:  # fmt: skip
    """Return a job's envelope.

    Args:
        names: the task's positional parameters in order, to find secrets among `args`.
        first_delay: the delay before the first retry, where `retry_delay` has grown since, s.
    Raises: NotSerializable naming task and argument; TooLarge over 64 KiB.
    """
    form = Form(message.name, _head(message, queue, first_delay), names, secrets)
    return form.dump(message.id, message.args, message.kwargs, cipher)


class Form(NamedTuple):
    """What the envelopes of a task's jobs have in common."""

    name: str
    head: str
    names: tuple[str, ...]
    secrets: frozenset[str]

    def dump(self, job_id: Any, args: Any, kwargs: Any, cipher: Cipher | None) -> bytes:
        """Return a job's envelope. Raises as the function `dump`."""
        if self.secrets or type(args) is not tuple or not AS_IT_IS.issuperset(map(type, args)):
            args = self._args(args, cipher)
        if kwargs and (self.secrets or not AS_IT_IS.issuperset(map(type, kwargs.values()))):
            kwargs = {n: self._argument(n, v, cipher) for n, v in kwargs.items()}
        own = quoted(job_id) if type(job_id) is str else ENCODE(job_id)
        named = ENCODE(kwargs) if kwargs else "{}"
        return self._encoded(f'{self.head},"id":{own},"args":{ENCODE(args)},"kwargs":{named}}}')

    def _args(self, args: Any, cipher: Cipher | None) -> Any:
        given = args if isinstance(args, tuple | list) else ()
        if args and not given:  # Huey lets schedule() pass something else by mistake
            return pack(args)
        positional = zip(self.names + ("",) * len(given), given, strict=False)
        return [self._argument(n, v, cipher) for n, v in positional]

    def _argument(self, name: str, value: Any, cipher: Cipher | None) -> Any:
        if type(value) in AS_IT_IS and name not in self.secrets:
            return value
        try:
            sealed = name in self.secrets and cipher is not None and value is not None
            return seal(value, cipher) if sealed else pack(value)  # type: ignore[arg-type]
        except NotSerializable as exc:
            said = f"argument {name or 'given'} of {self.name}: {exc}"
            raise NotSerializable(said) from exc
        except RecursionError as exc:
            raise NotSerializable(f"argument {name} of {self.name} is nested too deep") from exc

    def _encoded(self, text: str) -> bytes:
        try:
            data = text.encode()
        except UnicodeEncodeError as exc:  # half a letter
            raise NotSerializable(f"an argument of {self.name} has no JSON form: {exc}") from exc
        if len(data) > ENVELOPE_LIMIT_BYTES:
            raise TooLarge(
                f"the arguments of {self.name} take {len(data)} bytes; {ENVELOPE_LIMIT_BYTES} is the"
                " most: pass an id and read the data in the task"
            )
        return data


def _head(message: Message, queue: str, first_delay: float | None) -> str:
    """Return the envelope without id, arguments and last brace: mostly the same for all of a task."""
    m = message
    more = (m.eta, m.on_complete, m.on_error, m.expires, m.expires_resolved, m.chord_config)
    if more == NONE:
        return usual_head(queue, first_delay, m.name, m.retries, m.retry_delay, m.priority, m.timeout,
                          m.retry_backoff)  # fmt: skip
    fields = {n: v for n, v in zip(FIELDS, message, strict=True) if n not in OWN}
    return _written(queue, first_delay, fields)


@lru_cache(maxsize=256, typed=True)
def usual_head(queue: str, first_delay: float | None, *values: Any) -> str:
    """Return the head of an envelope that has no field beside USUAL, whose values are given."""
    return _written(queue, first_delay, dict(zip(USUAL, values, strict=True)))


def _written(queue: str, first_delay: float | None, fields: Mapping[str, Any]) -> str:
    form: dict[str, Any] = {"v": 1, "queue": queue}
    if first_delay is not None:
        form["first_delay"] = first_delay
    form.update({n: pack(v) for n, v in fields.items() if v is not None})
    return ENCODE(form)[:-1]


def load(data: bytes, cipher: Cipher | None = None) -> tuple[Message, str]:
    """Return the message and queue of an envelope, its secrets opened by `cipher`.

    Raises: ValueError when these are not the bytes of an envelope.
    """
    try:
        head, mark, rest = data.partition(BEFORE_OWN)
        shared = _shared(head) if mark and len(head) < HEAD_MOST else None
        return (shared and _usual(shared, rest, cipher)) or _whole(data, cipher)
    except (KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise ValueError(f"not an envelope: {exc!r}") from exc


@lru_cache(maxsize=256)
def _shared(head: bytes) -> tuple[Message, str] | None:
    """Return what an envelope shares with others of its task; None where that is more than plain values."""
    try:
        message, queue = _whole(head + b',"args":[]}', None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return (message, queue) if AS_IT_IS.issuperset(map(type, message[:6] + message[8:])) else None


def _usual(
    shared: tuple[Message, str], rest: bytes, cipher: Cipher | None
) -> tuple[Message, str] | None:
    """Return the message of an envelope of which only id and arguments are its own; None of another one."""
    own, of_task = decode('{"id":' + rest.decode()), shared[0]
    if len(own) != 3 or type(own["args"]) is not list or type(own["kwargs"]) is not dict:
        return None
    args, kwargs, job_id = own["args"], own["kwargs"], own["id"]
    if not AS_IT_IS.issuperset(map(type, args)):
        args = opened(args, cipher)
    if kwargs and not AS_IT_IS.issuperset(map(type, kwargs.values())):
        kwargs = opened(kwargs, cipher)
    if type(args) is not list or type(job_id) not in AS_IT_IS:
        return None
    return Message._make((job_id, *of_task[1:6], tuple(args), kwargs, *of_task[8:])), shared[1]


def _whole(data: bytes, cipher: Cipher | None) -> tuple[Message, str]:
    form = decode(data.decode())
    if form.get("v") != 1:
        raise ValueError(f"an envelope of version {form.get('v')!r}; this worker knows 1")
    queue = form.pop("queue")
    form.pop("first_delay", None)
    del form["v"]
    for name, value in form.items():
        if type(value) not in AS_IT_IS and value not in NOTHING:
            form[name] = opened(value, cipher)
    if isinstance(form["args"], list):
        form["args"] = tuple(form["args"])
    return Message(**form), queue


def first_delay(data: bytes) -> float:
    """Return the delay before an envelope's first retry, s; `retry_delay` may have grown since."""
    form = json.loads(data)
    return float(form.get("first_delay", form.get("retry_delay") or 0))
