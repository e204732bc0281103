"""Bytes from the scripts -> records; the inverse of lua/lib/move.lua and record.lua."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from tasks.engine import envelope as env
from tasks.engine import values
from tasks.engine.instance import Breaker, Pause
from tasks.engine.keys import FIGURES
from tasks.engine.queues import Queue
from tasks.engine.records import Attempt, Job, JobError, Progress, State

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(ms: str | float | None) -> datetime | None:
    """Return Unix milliseconds as an aware instant; empty is None."""
    return datetime.fromtimestamp(float(ms) / 1000, UTC) if ms not in (None, "", "0") else None


def micros(score: str | bytes | float) -> datetime:
    """Return a score (microseconds) as an aware instant."""
    return EPOCH + timedelta(microseconds=int(float(score)))


def score(at: datetime) -> int:
    """Return an aware instant as a score (microseconds); the inverse of `micros`, exact."""
    return (at - EPOCH) // timedelta(microseconds=1)


def first_score(reply: Sequence[Any]) -> int:
    """Return the first score of a WITHSCORES reply, flat or in pairs; 0 for an empty one."""
    if not reply:
        return 0
    return int(float(reply[0][1] if isinstance(reply[0], list | tuple) else reply[1]))


def flat(row: Any) -> dict[str, str]:
    """Return a flat reply, or a map, as a dict of text."""
    pairs = dict(row) if isinstance(row, Mapping) else dict(zip(row[::2], row[1::2], strict=True))
    return {key.decode(): value.decode(errors="replace") for key, value in pairs.items()}


def parse_final(text: bytes) -> tuple[dict[str, str], bytes, bytes]:
    """Return the figures, the envelope and the result of a final job's string."""
    line, _, body = text.partition(b"\n")
    parts = line.decode(errors="replace").split("\t")
    figures = {"s": parts[1], **dict(zip(FIGURES, parts[3:], strict=False))}
    size = int(parts[2])
    return {name: value for name, value in figures.items() if value}, body[:size], body[size:]


def read_envelope(data: bytes) -> tuple[list[Any], dict[str, Any], Any]:
    """Return (args, kwargs, message) for people, secrets masked; bytes of others as text."""
    try:
        message, _ = env.load(data)
    except ValueError:
        return [data[:2000].decode(errors="replace")], {}, None
    return values.shown(list(message.args)), values.shown(dict(message.kwargs or {})), message


def queue_of(envelope: bytes) -> str:
    """Return the queue an envelope names; empty for bytes of others."""
    return str(_json(envelope).get("queue", ""))


def parse_attempt(data: bytes) -> Attempt:
    """Return one attempt of the list that record.lua writes."""
    line, _, blob = data.partition(b"\n")
    parts = [*line.decode().split("\t"), "", ""]
    outcome, number, run, begun, ended, wait, worker = parts[:7]
    note = _json(blob)
    started, finished = instant(begun), instant(ended)
    error = None
    if note.get("type"):
        error = JobError(type=note["type"], message=note.get("message", ""),
                         traceback=note.get("traceback", ""),
                         fingerprint=note.get("fingerprint", ""))  # fmt: skip
    return Attempt(
        number=int(number), run=int(run), started_at=started or finished or micros(0),
        finished_at=finished, worker=worker, outcome=outcome,
        wait_ms=int(wait) if wait else None,
        run_ms=_ms(started, finished), error=error, reason=note.get("reason", ""),
    )  # fmt: skip


def _json(blob: bytes) -> dict[str, Any]:
    try:
        found = json.loads(blob or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _ms(start: datetime | None, end: datetime | None) -> int | None:
    return round((end - start) / timedelta(milliseconds=1)) if start and end else None


def parse_progress(data: bytes) -> Progress:
    """Return the progress a job said."""
    if not data:
        return Progress()
    percent, _, message = data.decode(errors="replace").partition("\t")
    return Progress(percent=int(percent), message=message)


def result_of(data: bytes) -> Any:
    """Return a result for people; None where there is none."""
    if not data:
        return None
    try:
        return values.shown(values.loads(data))
    except ValueError:
        return data[:2000].decode(errors="replace")


class Row(NamedTuple):
    """One job as the scripts answer it; `text` is a final job's string, else empty.

    `attempts` may be only the last (lists) or all of them (the job's page).
    """

    id: str
    score: float
    figures: Sequence[bytes]
    text: bytes
    envelope: bytes
    attempts: Sequence[bytes]
    progress: bytes


def job_of(row: Row) -> Job:
    """Return one job."""
    found, envelope, result = flat(row.figures), row.envelope, b""
    if row.text:
        found, envelope, result = parse_final(row.text)
    args, kwargs, message = read_envelope(envelope)
    state = State(found.get("s", "failed"))
    tries = [parse_attempt(item) for item in row.attempts if item]
    begun, ended = instant(found.get("b")), instant(found.get("f"))
    last_error = next((a.error for a in reversed(tries) if a.error), None)
    live_retry = state in (State.SCHEDULED, State.RETRYING)
    return Job(
        id=row.id, queue=found.get("q", ""), task=found.get("t", ""), state=state,
        priority=int(found.get("p", 0)), args=args, kwargs=kwargs,
        tags=tuple(found.get("tg", "").split()), progress=parse_progress(row.progress),
        attempts_made=_made(state, found), max_attempts=int(found.get("m", 1)),
        run=int(found.get("rn", 1)), created_at=instant(found.get("c")), changed_at=micros(row.score),
        scheduled_for=instant(found.get("d")), started_at=begun, finished_at=ended,
        wait_ms=_wait_ms(found), run_ms=_ms(begun, ended),
        result=result_of(result) if state is State.COMPLETED else None,
        error=last_error if state is not State.COMPLETED else None, attempts=tuple(tries),
        unique_key=found.get("u"), enqueued_by=found.get("by"), worker=found.get("o"),
        deferred_reason=found.get("why") if live_retry else None,
        reason=found.get("why") if state in (State.CANCELLED, State.FAILED, State.COMPLETED) else None,
        cancel_requested_at=instant(found.get("cr")), recovered=int(found.get("k", 0)),
        group=found.get("eg"), batch_id=found.get("bt"), then_id=_follower(message, "on_complete"),
        else_id=_follower(message, "on_error"),
    )  # fmt: skip


def _follower(message: Any, name: str) -> str | None:
    """Return the id of the job that a message names to come after it."""
    follower = getattr(message, name, None)
    return str(follower.id) if follower is not None else None


def _wait_ms(found: Mapping[str, str]) -> int | None:
    """Return how long a job waited for the start of its last attempt."""
    if found.get("w"):
        return int(found["w"])
    return int(found["b"]) - int(found["ra"]) if found.get("b") and found.get("ra") else None


def _made(state: State, found: Mapping[str, str]) -> int:
    """Count the attempts used up, and the one that runs now."""
    used = int(found.get("n", 0))
    return used + 1 if state is State.ACTIVE else used


def pause_of(options: Mapping[str, str], at: datetime) -> Pause | None:
    """Return why a queue takes no jobs; None while it does."""
    if "pa" not in options:
        return None
    until = instant(options.get("pu"))
    if until and until <= at:
        return None
    return Pause(at=instant(options["pa"]) or at, by=options.get("pb", ""),
                 reason=options.get("pr", ""), until=until)  # fmt: skip


def retention_of(options: Mapping[str, str], declared: Queue | None) -> dict[str, str]:
    """Return how long a queue keeps its final jobs, as `age/count`: the live value wins."""
    if declared is None:
        return {}
    return {
        "completed": options.get("kept") or declared.retention,
        "failed": options.get("fkept") or declared.retention_failed,
    }


def breaker_of(options: Mapping[str, str]) -> Breaker | None:
    """Return a queue's breaker; None while it has none or it never opened."""
    if "bs" not in options:
        return None
    return Breaker(state=options["bs"], since=instant(options.get("bo")),
                   next_probe_at=instant(options.get("bp")), reason=options.get("br", ""),
                   faults=int(options.get("bf", 0)))  # fmt: skip
