"""Any value <-> JSON, never pickle: typed forms for what JSON lacks, secrets encrypted, results cut to size.

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
from typing import Any, Protocol
from uuid import UUID

from huey.registry import Message
from huey.utils import SKIPPED, ChordConfig, Error

from tasks.engine.codec import decode, encoder
from tasks.engine.errors import NotSerializable
from tasks.engine.records import MASK

RESULT_LIMIT_BYTES = 16 * 1024
PLAIN = (str, int, bool, type(None))
AS_IT_IS = frozenset(
    PLAIN
)  # looked up by type: quicker than isinstance for what nearly all values are
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


def opened(value: Any, cipher: Cipher | None) -> Any:
    """Return what `pack` or `seal` was given, as deep as it is nested."""
    if type(value) in AS_IT_IS:
        return value
    if isinstance(value, dict) and value.get("$") == "secret" and cipher:
        return loads(cipher.decrypt(value["v"].encode()))
    if isinstance(value, dict) and "$" not in value:
        return {key: opened(item, cipher) for key, item in value.items()}
    if isinstance(value, list):
        return [item if type(item) in AS_IT_IS else opened(item, cipher) for item in value]
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
