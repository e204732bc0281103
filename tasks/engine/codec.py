"""JSON by the C encoder and scanner of the standard library, made once.

`json.dumps` and `json.loads` make theirs, or look for white space, in each call: twice the time for the
small texts that a job is made of.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json import encoder as _encoder
from json import scanner as _scanner
from typing import Any

Encode = Callable[[Any], str]
quoted: Callable[[str], str] = _encoder.encode_basestring  # a text as JSON
DECODER = json.JSONDecoder()
encoders: Any = _encoder
scanners: Any = _scanner


def _refuse(value: Any) -> Any:
    raise TypeError(f"a {type(value).__name__} has no JSON form")


def encoder(*, ascii_only: bool) -> Encode:
    """Return what writes a value of JSON's own types, without white space.

    It raises TypeError, ValueError or RecursionError for any other, also for one that holds itself.
    """
    if encoders.c_make_encoder is None:  # PyPy
        return json.JSONEncoder(separators=(",", ":"), ensure_ascii=ascii_only).encode
    escape = encoders.encode_basestring_ascii if ascii_only else encoders.encode_basestring
    chunks = encoders.c_make_encoder(None, _refuse, escape, None, ":", ",", False, False, True)
    join = "".join
    return lambda value: join(chunks(value, 0))


def decode(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError for anything else."""
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        return DECODER.decode(text)
    return value if end == len(text) else DECODER.decode(text)


_scan = scanners.make_scanner(DECODER)
