"""Job payload <-> JSON, never pickle: typed forms for what JSON lacks, size limits, secrets encrypted.

A typed value is an object with the key "$". Loading looks classes up among the modules already
loaded, imports nothing and runs no constructor.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from huey.registry import Message
from huey.utils import SKIPPED, ChordConfig, Error

from tasks.engine.codec import decode, encoder, quoted
from tasks.engine.errors import NotSerializable, TooLarge
from tasks.engine.records import MASK

ENVELOPE_LIMIT_BYTES = 64 * 1024
RESULT_LIMIT_BYTES = 16 * 1024
PLAIN = (str, int, bool, type(None))
FIELDS = Message._fields
OWN = frozenset({"id", "args", "kwargs"})  # of one job; the rest is mostly its task's
NONE = (None,) * 6
USUAL = ("name", "retries", "retry_delay", "priority", "timeout", "retry_backoff")
AS_IT_IS = frozenset(
    PLAIN
)  # looked up by type: quicker than isinstance for what nearly all values are
NOTHING: tuple[Any, ...] = ({}, [])
BEFORE_OWN = b',"id":'  # in a text of an envelope it would be written with \\"
HEAD_MOST = 512  # bytes of what the envelopes of a task have in common
ENCODE = encoder(ascii_only=False)


class Cipher(Protocol):
    """What encrypts secret arguments; tasks/keyring.py has one on Fernet."""

    def encrypt(self, data: bytes) -> bytes:
        """Return `data` encrypted."""

    def decrypt(self, token: bytes) -> bytes:
        """Return what `encrypt` was given; raises ValueError for a foreign token."""


class Masked:
    """A secret that stays closed: shown as MASK."""

    def __repr__(self) -> str:
        return MASK


def _qualified(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _loaded(name: str) -> Any:
    """Find a class among the modules already loaded; None when it is not there."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def _dict(value: Mapping[Any, Any]) -> Any:
    if "$" not in value and all(type(key) is str for key in value):
        return {key: pack(item) for key, item in value.items()}
    return {"$": "dict", "v": [[pack(key), pack(item)] for key, item in value.items()]}


def _exception(value: BaseException) -> Any:
    try:
        args = [pack(arg) for arg in value.args]
    except NotSerializable:
        args = [repr(arg) for arg in value.args]
    form = {"$": "exception", "t": _qualified(type(value)), "v": args}
    with contextlib.suppress(NotSerializable):
        form["d"] = pack({name: item for name, item in vars(value).items() if name[:2] != "__"})
    return form


def _message(value: Message) -> Any:
    fields = value._asdict()
    return {"$": "message", "v": {name: pack(v) for name, v in fields.items() if v is not None}}


# Order matters: a datetime is a date, a namedtuple is a tuple.
PACKERS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (Enum, lambda v: {"$": "enum", "t": _qualified(type(v)), "v": v.name}),
    (PLAIN, lambda v: v),
    (float, lambda v: v if v - v == 0 else {"$": "float", "v": str(v)}),
    (list, lambda v: [pack(item) for item in v]),
    (dict, _dict),
    (Message, _message),
    (Error, lambda v: {"$": "error", "v": pack(v.metadata)}),
    (ChordConfig, lambda v: {"$": "chord", "v": [pack(item) for item in v]}),
    (tuple, lambda v: {"$": "tuple", "v": [pack(item) for item in v]}),
    (frozenset, lambda v: {"$": "frozenset", "v": [pack(item) for item in v]}),
    (set, lambda v: {"$": "set", "v": [pack(item) for item in v]}),
    (datetime, lambda v: {"$": "datetime", "v": v.isoformat()}),
    (date, lambda v: {"$": "date", "v": v.isoformat()}),
    (
        timedelta,
        lambda v: {"$": "timedelta", "v": [v.days, v.seconds, v.microseconds]},
    ),
    (
        (bytes, bytearray),
        lambda v: {"$": "bytes", "v": base64.b64encode(v).decode()},
    ),
    (Decimal, lambda v: {"$": "decimal", "v": str(v)}),
    (UUID, lambda v: {"$": "uuid", "v": str(v)}),
    (BaseException, _exception),
)


def pack(value: Any) -> Any:
    """Return `value` as JSON's own types. Raises NotSerializable naming the type."""
    if type(value) in AS_IT_IS:
        return value
    if value is SKIPPED:
        return {"$": "skipped"}
    for types, packer in PACKERS:
        if isinstance(value, types):
            return packer(value)
    raise NotSerializable(f"a {_qualified(type(value))} has no JSON form")


def _unpack_enum(form: Mapping[str, Any]) -> Any:
    cls = _loaded(form["t"])
    if isinstance(cls, type) and issubclass(cls, Enum) and form["v"] in cls.__members__:
        return cls[form["v"]]
    return form["v"]


def _unpack_exception(form: Mapping[str, Any]) -> Any:
    args = tuple(unpack(arg) for arg in form["v"])
    cls = _loaded(form["t"])
    if not (isinstance(cls, type) and issubclass(cls, Exception)):
        return Exception(form["t"].rpartition(":")[2], *args)
    try:
        made = cls.__new__(cls, *args)  # sets args and runs no constructor
        made.__dict__.update(unpack(form.get("d", {})))
    except TypeError:
        return Exception(form["t"].rpartition(":")[2], *args)
    return made


FORMS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "skipped": lambda form: SKIPPED,
    "secret": lambda form: Masked(),
    "enum": _unpack_enum,
    "exception": _unpack_exception,
}
UNPACKERS: Mapping[str, Callable[[Any], Any]] = {
    "dict": lambda v: {unpack(key): unpack(item) for key, item in v},
    "message": lambda v: Message(**{name: unpack(item) for name, item in v.items()}),
    "error": lambda v: Error(unpack(v)),
    "chord": lambda v: ChordConfig(*[unpack(item) for item in v]),
    "tuple": lambda v: tuple(unpack(item) for item in v),
    "frozenset": lambda v: frozenset(unpack(item) for item in v),
    "set": lambda v: {unpack(item) for item in v},
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "timedelta": lambda v: timedelta(*v),
    "bytes": base64.b64decode,
    "decimal": Decimal,
    "uuid": UUID,
    "float": float,
    "cut": lambda v: v,
}


def unpack(value: Any) -> Any:
    """Return what `pack` was given; a secret becomes Masked (open_secrets opens them)."""
    if isinstance(value, list):
        return [unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("$")
    if kind is None:
        return {key: unpack(item) for key, item in value.items()}
    if kind in FORMS:
        return FORMS[kind](value)
    if kind not in UNPACKERS:
        raise ValueError(f"unknown typed value {kind!r}")
    return UNPACKERS[kind](value["v"])


def dumps(value: Any) -> bytes:
    """Return any value as JSON bytes. Raises NotSerializable."""
    try:
        return ENCODE(pack(value)).encode()
    except RecursionError as exc:
        raise NotSerializable("a value nested too deep has no JSON form") from exc
    except (UnicodeEncodeError, ValueError) as exc:
        raise NotSerializable(f"a value has no JSON form: {exc}") from exc


def loads(data: bytes) -> Any:
    """Return the value of JSON bytes. Raises ValueError for anything else."""
    try:
        return unpack(decode(data.decode()))
    except RecursionError as exc:
        raise ValueError("nested too deep") from exc
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"not a value of ours: {exc!r}") from exc


class JsonSerializer:
    """Huey's serializer, in JSON."""

    def serialize(self, data: Any) -> bytes:
        """Return `data` as JSON bytes. Raises NotSerializable."""
        return dumps(data)

    def deserialize(self, data: bytes) -> Any:
        """Return the value of JSON bytes. Raises ValueError."""
        return loads(data)


def result_bytes(value: Any) -> bytes:
    """Return a result as bytes, cut with a mark over RESULT_LIMIT_BYTES, text when JSON lacks it."""
    try:
        data = dumps(value)
    except NotSerializable:
        data = json.dumps({"$": "cut", "v": repr(value)[:RESULT_LIMIT_BYTES]}).encode()
    if len(data) <= RESULT_LIMIT_BYTES:
        return data
    text = data[: RESULT_LIMIT_BYTES // 2].decode(errors="ignore")
    note = f"{text}… (cut: {len(data)} bytes, {RESULT_LIMIT_BYTES} are kept)"
    return json.dumps({"$": "cut", "v": note}, ensure_ascii=False).encode()


def seal(value: Any, cipher: Cipher) -> Any:
    """Return a secret value encrypted, in its JSON form."""
    return {"$": "secret", "v": cipher.encrypt(dumps(value)).decode()}


def unseal(form: Any, cipher: Cipher | None) -> Any:
    """Return what `seal` or `pack` was given."""
    return _opened(form, cipher)


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
        args = _opened(args, cipher)
    if kwargs and not AS_IT_IS.issuperset(map(type, kwargs.values())):
        kwargs = _opened(kwargs, cipher)
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
            form[name] = _opened(value, cipher)
    if isinstance(form["args"], list):
        form["args"] = tuple(form["args"])
    return Message(**form), queue


def first_delay(data: bytes) -> float:
    """Return the delay before an envelope's first retry, s; `retry_delay` may have grown since."""
    form = json.loads(data)
    return float(form.get("first_delay", form.get("retry_delay") or 0))


def _opened(value: Any, cipher: Cipher | None) -> Any:
    if type(value) in AS_IT_IS:
        return value
    if isinstance(value, dict) and value.get("$") == "secret" and cipher:
        return loads(cipher.decrypt(value["v"].encode()))
    if isinstance(value, dict) and "$" not in value:
        return {key: _opened(item, cipher) for key, item in value.items()}
    if isinstance(value, list):
        return [item if type(item) in AS_IT_IS else _opened(item, cipher) for item in value]
    return unpack(value)


def shown(value: Any) -> Any:
    """Return a loaded value in JSON's own types for people: secrets masked, types as text."""
    if isinstance(value, Masked):
        return MASK
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # JSON has no NaN
    if type(value) in PLAIN:
        return value
    if isinstance(value, Mapping):
        return {str(key): shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [shown(item) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Error):
        return shown(value.metadata)
    return str(value)
