"""An export: the jobs of a frozen query or of ids, read as the file is sent, so that nothing large is kept."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from flask import Response, current_app, stream_with_context

from dashboard import answers
from tasks.engine import Job, JobFilter, JobHuey
from tasks.engine.operating.freezing import thaw
from tasks.engine.operations import Operation

PAGE = 200
COLUMNS = ("id", "queue", "task", "state", "priority", "tags", "attempts_made", "created_at", "scheduled_for",
           "started_at", "finished_at", "error_type", "error_message", "args", "kwargs", "result")  # fmt: skip
TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


def jobs(huey: JobHuey, wanted: JobFilter) -> Iterator[Job]:
    """Yield every job of a query, the newest change first, page by page."""
    cursor = None
    while True:
        page = huey.reads.jobs(wanted, cursor, PAGE)
        yield from huey.reads.explained(page.items)
        cursor = page.next
        if cursor is None:
            return


def chosen(huey: JobHuey, operation: Operation) -> Iterator[Job]:
    """Yield the jobs of an export: those of its query that have not changed since, or its ids that are kept."""
    if operation.query:
        yield from jobs(huey, thaw(operation.query))
        return
    ids = huey.reads.operation_found(operation.id)
    for start in range(0, len(ids), PAGE):
        some = huey.reads.some(ids[start : start + PAGE])
        yield from huey.reads.explained(list(some.values()))


def send(huey: JobHuey, operation: Operation, form: str) -> Response:
    """Answer with an export as it is read."""
    return stream(lines(chosen(huey, operation), form), "jobs", operation.created_at, form)


def stream(text: Iterator[str], name: str, at: datetime, form: str) -> Response:
    """Answer with a file as it is read."""
    response = current_app.response_class(stream_with_context(text), content_type=TYPES[form])
    file = f"{name}-{at:%Y%m%d-%H%M%S}.{form}"
    response.headers["Content-Disposition"] = f'attachment; filename="{file}"'
    return response


def lines(found: Iterator[Job], form: str) -> Iterator[str]:
    """Yield the file's text line by line; secret arguments are masked, as everywhere."""
    if form == "ndjson":
        for job in found:
            yield json.dumps(answers.job_json(job), ensure_ascii=False, default=str) + "\n"
        return
    yield row(COLUMNS)
    for job in found:
        yield row(_cells(job))


def _cells(job: Job) -> list[Any]:
    whole = answers.job_json(job)
    whole["tags"] = " ".join(job.tags)
    whole["error_type"] = job.error.type if job.error else ""
    whole["error_message"] = job.error.message if job.error else ""
    for name in ("args", "kwargs", "result"):
        if whole[name] is not None:
            whole[name] = json.dumps(whole[name], ensure_ascii=False, default=str)
    return [whole[name] for name in COLUMNS]


def safe(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


def row(cells: Iterable[Any]) -> str:
    """Return one line of comma-separated values, each safe."""
    text = io.StringIO()
    csv.writer(text).writerow([safe(cell) for cell in cells])
    return text.getvalue()
