"""A traceback as text -> its frames, ours told from the libraries'."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])
PLACE = re.compile(r'^  File "(?P<path>.+)", line (?P<line>\d+), in (?P<name>.+)$')
PACKAGE = re.compile(r"(?:(?:site|dist)-packages|/tasks(?=/engine))/([^/.]+)")
LIBRARY = re.compile(r"(?:site|dist)-packages/|/lib/python\d|/tasks/engine/|^<")
MARKS = re.compile(r"^[\s^~]+$")


@dataclass(frozen=True, slots=True)
class Frame:
    """A place in a traceback; `code` is the line that ran there."""

    path: str
    line: int
    name: str
    code: str
    own: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """The last exception of a traceback: all frames, its own, and what was left out, in words."""

    own: tuple[Frame, ...]
    left_out: str
    frames: tuple[Frame, ...] = ()


def read(text: str) -> Trace:
    """Return the frames of the last exception in a traceback, outermost first."""
    frames: list[Frame] = []
    lines = text.rpartition("Traceback (most recent call last):")[2].splitlines()
    for number, line in enumerate(lines):
        if found := PLACE.match(line):
            frames.append(_frame(found, lines[number + 1 : number + 2]))
    others = Counter(_library(frame.path) for frame in frames if not frame.own)
    own = tuple(frame for frame in frames if frame.own)
    return Trace(own, _left_out(others), tuple(frames))


def _frame(found: re.Match[str], after: list[str]) -> Frame:
    code = after[0].strip() if after and not PLACE.match(after[0]) and not MARKS.match(after[0]) else ""  # fmt: skip
    path = found["path"]
    return Frame(path.removeprefix(ROOT + "/"), int(found["line"]), found["name"], code,
                 not LIBRARY.search(path))  # fmt: skip


def _library(path: str) -> str:
    package = PACKAGE.search(path)
    return package[1] if package else Path(path).stem.strip("<>")


def _left_out(others: Counter[str]) -> str:
    total = others.total()
    if not total:
        return ""
    each = ", ".join(f"{name} {count}" for name, count in others.most_common(4))
    return f"{total} library frame{'' if total == 1 else 's'} left out: {each}"
