"""What somebody meant who misspelt a field, a state, a task or a queue. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

ALIKE = 0.6  # of 1: errorr and error, delivr_emial and deliver_email


def closest(word: str, known: Iterable[str]) -> str:
    """Return the known word most like this one; "" where none is."""
    return next(iter(alike(word, {name: name for name in known}, 1)), "")


def alike(word: str, known: Mapping[str, str], most: int) -> list[str]:
    """Return what the words most like this one stand for, the likest first, each once.

    Args:
        known: what people may write, and what it stands for.
    """
    lower = {name.casefold(): meant for name, meant in known.items()}
    found = get_close_matches(word.casefold(), lower, most * 2, ALIKE)
    return list(dict.fromkeys(lower[name] for name in found))[:most]


def task_words(names: Iterable[str]) -> dict[str, str]:
    """Return what people may write for each task: its name without the first part, or its last part."""
    short = [name.removeprefix("tasks.") for name in names]
    return {name.rpartition(".")[2]: name for name in short} | {name: name for name in short}
