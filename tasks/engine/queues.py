"""A queue's options, and how they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)\Z")
RATE = re.compile(r"\s*(\d{1,9})\s*/\s*(\S+)\s*\Z")
LONGEST_D = 1_000_000  # a date that is so far ahead can still be written


def seconds(text: str) -> float:
    """Return a duration such as `30s` or `7d` in seconds. Raises ValueError."""
    match = DURATION.match(text.strip())
    found = float(match[1]) * UNITS_S[match[2]] if match else LONGEST_D * UNITS_S["d"] + 1
    if found > LONGEST_D * UNITS_S["d"]:
        raise ValueError(
            f"{text!r} is no duration: write 200ms, 30s, 15m, 24h or 7d, up to {LONGEST_D}d"
        )
    return found


def rate_of(text: str | None) -> tuple[int, int] | None:
    """Return `20/s` or `100/15m` as (tokens, period in ms), neither of them 0. Raises ValueError."""
    if not text:
        return None
    match = RATE.match(text)
    many, period = (int(match[1]), match[2]) if match else (0, "s")
    period_ms = round(seconds(period if period[0].isdigit() else f"1{period}") * 1000)
    if not many or not period_ms:
        raise ValueError(f"{text!r} is no rate: write 20/s or 100/15m")
    return many, period_ms


def left_of(options: Mapping[str, str], now_ms: float) -> float | None:
    """Return how many starts a rate lets go now, by lib/take.lua; None without one."""
    most, period = float(options.get("rl") or 0), float(options.get("rp") or 0)
    if not most or not period:
        return None
    since = now_ms - float(options.get("rs") or now_ms)
    return min(most, float(options.get("rt") or most) + since * most / period)


def retention_of(text: str) -> tuple[int, int]:
    """Return `7d/100000` as (age in ms, most jobs). Raises ValueError."""
    age, slash, many = text.partition("/")
    if not slash or not many.strip().isdigit():
        raise ValueError(f"{text!r} is no retention: write 7d/100000 (age/count)")
    return round(seconds(age) * 1000), int(many)


@dataclass(frozen=True, slots=True)
class Queue:
    """A named lane of jobs.

    Args:
        concurrency: most jobs running at once over all workers; None is no limit.
        rate: most starts a period, as `20/s`.
        retention: how long completed and cancelled jobs are kept, as `age/count`.
        retention_failed: the same for failed ones.
        breaker: what the queue's circuit breaker is called on screen, such as `SMTP`; None: none.
    """

    name: str
    concurrency: int | None = None
    rate: str | None = None
    retention: str = "7d/100000"
    retention_failed: str = "30d/100000"
    breaker: str | None = None

    def __post_init__(self) -> None:
        rate_of(self.rate)
        retention_of(self.retention)
        retention_of(self.retention_failed)
        if not re.match(r"[A-Za-z0-9_.-]{1,64}\Z", self.name):
            raise ValueError(f"{self.name!r} is no queue name: 1 to 64 of letters, digits and _.-")

    def options(self) -> dict[str, int]:
        """Return the options as the scripts read them from q:<queue>."""
        age, keep = retention_of(self.retention)
        failed_age, failed_keep = retention_of(self.retention_failed)
        found = {"age": age, "keep": keep, "fage": failed_age, "fkeep": failed_keep}
        rate = rate_of(self.rate)
        if rate:
            found["rl"], found["rp"] = rate
        if self.concurrency:
            found["cc"] = self.concurrency
        return found
