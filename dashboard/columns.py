"""The columns of a job table: which there are, which somebody chose, which say something here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from flask import request

from tasks.engine import JobFilter, State

COOKIE = "columns"
DENSITY = "density"  # its cookie
DENSITIES = {"dense": "Compact", "": "Normal", "roomy": "Roomy"}  # by the class of the table
WITH_ERROR = (None, State.FAILED, State.RETRYING, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `look` is its class, `usual` tells whether it is shown where nothing was chosen."""

    name: str
    title: str
    look: str = ""
    usual: bool = True


COLUMNS = (
    Column("state", "State"),
    Column("args", "Arguments"),
    Column("queue", "Queue", "mid-only"),
    Column("error", "Error"),
    Column("attempt", "Attempt", "num"),
    Column("wait", "Wait", "num wide-only"),
    Column("run", "Run", "num wide-only"),
    Column("id", "Id", usual=False),
    Column("priority", "Priority", "num", usual=False),
    Column("tags", "Tags", usual=False),
    Column("worker", "Worker", usual=False),
    Column("queued", "Queued", "num", usual=False),
)
USUAL = tuple(column.name for column in COLUMNS if column.usual)


def read(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the names that are columns, in the order of the table."""
    given = set(names)
    return tuple(column.name for column in COLUMNS if column.name in given)


def named() -> str:
    """Return the columns that this address names, as it should have named them; "" where it names none."""
    text = request.args.get(COOKIE, "")
    return ".".join(read(text.split("."))) if text else ""


def chosen() -> tuple[str, ...]:
    """Return the columns of this address, else of this browser's cookie, else the usual ones."""
    text = named() or request.cookies.get(COOKIE)
    return USUAL if text is None else read(text.split("."))


def density() -> str:
    """Return how high this browser's rows are, as the class of a table; "" for the usual height."""
    text = request.cookies.get(DENSITY, "")
    return text if text in DENSITIES else ""


def kept() -> str:
    """Return the chosen columns as an address names them; "" for the usual ones."""
    return "" if chosen() == USUAL else ".".join(chosen())


def within(address: str, names: str) -> str:
    """Return an address of ours that names these columns, or none."""
    parts = urlsplit(address)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if name != COOKIE]
    return parts._replace(query=urlencode([*kept, *([(COOKIE, names)] if names else [])])).geturl()


def shown(wanted: JobFilter | None = None) -> Sequence[Column]:
    """Return the chosen columns but those whose value the query fixes."""
    state, queue = (wanted.state, wanted.queue) if wanted else (None, None)
    fixed = {
        "state" if state else "",
        "queue" if queue else "",
        "" if state in WITH_ERROR else "error",
    }
    names = set(chosen()) - fixed
    return [column for column in COLUMNS if column.name in names]
