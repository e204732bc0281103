"""What `make run` says: few lines, each with the part it is about in front."""

from __future__ import annotations

import contextlib
import os
import sys

GREY, BOLD, GREEN, YELLOW, CYAN = "2", "1", "32", "33", "36"
COLOURS = {"redis": CYAN, "web": CYAN, "worker": CYAN, "inbox": CYAN, "traffic": CYAN, "data": CYAN}


class Stop(Exception):
    """`make run` cannot go on; the text is the sentence for the person who started it."""


def paint(text: str, code: str) -> str:
    """Return `text` in a colour where the terminal shows one and nobody asked for none."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{code}m{text}\033[0m"


def say(part: str, text: str) -> None:
    """Print one line of a part."""
    plain(f"{paint(f'{part:<9}', COLOURS.get(part, GREY))}{text}")


def warn(part: str, text: str) -> None:
    """Print one line that asks for a look."""
    plain(f"{paint(f'{part:<9}', YELLOW)}{text}")


def plain(text: str = "") -> None:
    """Print a line of nobody's. A terminal that is gone must not keep the parts from stopping."""
    with contextlib.suppress(OSError):
        print(f"  {text}".rstrip(), flush=True)
