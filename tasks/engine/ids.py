"""Job ids: 26 characters, time first, so that they sort by the moment they were made (ULID)."""

from __future__ import annotations

import os
import re
import struct
import time
from functools import lru_cache

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PAIRS = [high + low for high in ALPHABET for low in ALPHABET]  # two letters at once are quicker
EIGHT = struct.Struct("8H").unpack
FOREIGN = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")


def new_id() -> str:
    """Make an id: 48 bits of milliseconds, 80 random bits, Crockford's base 32."""
    first, pairs = _first(time.time_ns() // 1_000_000), PAIRS
    a, b, c, d, e, f, g, h = EIGHT(os.urandom(16))  # ten bits of each are taken
    return (
        f"{first}{pairs[a & 1023]}{pairs[b & 1023]}{pairs[c & 1023]}{pairs[d & 1023]}"
        f"{pairs[e & 1023]}{pairs[f & 1023]}{pairs[g & 1023]}{pairs[h & 1023]}"
    )


@lru_cache(maxsize=8)
def _first(ms: int) -> str:
    return "".join([PAIRS[ms >> shift & 1023] for shift in range(40, -1, -10)])


def is_id(text: str) -> bool:
    """Tell whether `text` may be a job's id: ours or a foreign one."""
    return bool(FOREIGN.match(text))
