"""What people write, as a script may keep it."""

from __future__ import annotations

import re


def one_line(text: str) -> str:
    """Return what an operator wrote as a script may keep it: one line of at most 200 characters."""
    return re.sub(r"[\t\r\n]+", " ", text)[:200]


def cancelled_by(by: str, reason: str) -> str:
    """Return why a job is cancelled, as its page says it."""
    who = f"cancelled by {by}" if by else "cancelled"
    return one_line(f"{who}: {reason}" if reason else who)
