"""A figure as people read it: number, share, duration. Used by pages and by notices alike."""

from __future__ import annotations

THIN = "\u2009"


def number(value: float | None) -> str:
    """Return 1 284, with thin spaces; a dash for None."""
    return "–" if value is None else f"{value:,.0f}".replace(",", THIN)


def duration(seconds: float | None) -> str:
    """Return 0.84 s, 41 s, 15 min, 3 min 18 s, 2 h 04 min or 3 d 4 h."""
    if seconds is None:
        return "–"
    seconds = max(0.0, seconds)
    if seconds < 10:
        return (
            f"{seconds:.2f} s".replace(".00 ", " ")
            if seconds < 1
            else f"{seconds:.1f} s".replace(".0 ", " ")
        )
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s".removesuffix(" 00 s")
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min".removesuffix(" 00 min")
    return f"{hours // 24} d {hours % 24} h"


def share(value: float | None) -> str:
    """Return 97.9 %."""
    return "–" if value is None else f"{value * 100:.1f}".removesuffix(".0") + f"{THIN}%"
