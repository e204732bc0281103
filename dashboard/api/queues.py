"""Queues, their health and figures; pauses of tasks and tags."""

from __future__ import annotations

from typing import Any

from flask import current_app, jsonify

from dashboard import answers, shapes
from dashboard.api.calls import act, body, call, query, queue_name, reads, task_name
from dashboard.health import as_json
from dashboard.problems import BadField
from tasks.engine import Unreachable


def _view() -> Any:
    return current_app.extensions["watch"].view()


# Queues


@call("GET", "/api/admin/queues", "viewer", "The queues with their options and counts")
def queues() -> Any:
    return jsonify({"items": [answers.queue_json(queue) for queue in reads().queues()]})


@call("GET", "/api/admin/queues/health", "viewer", "Whether anything is broken; 503 when unhealthy")
def health() -> Any:
    found = as_json(_view())
    return jsonify(found), 503 if found["status"] == "unhealthy" else 200


@call("GET", "/api/admin/queues/stats", "viewer", "Counts, ages, throughput and the five KPIs")
def stats() -> Any:
    view = _view()
    if view.snapshot is None or view.error:
        raise Unreachable(view.error)
    return jsonify(answers.stats_json(view.snapshot, view.kpis))


@call("GET", "/api/admin/queues/<queue>", "viewer", "One queue")
def queue(queue: str) -> Any:
    return jsonify(answers.queue_json(reads().queue(queue)))


@call(
    "PATCH",
    "/api/admin/queues/<queue>",
    "operator",
    "Live concurrency, rate and retention",
    body=shapes.Limits,
)
def patch_queue(queue: str) -> Any:
    given = body(shapes.Limits).model_dump(exclude_unset=True)
    if not given:
        raise BadField("body", "say at least one of concurrency, rate and retention")
    return jsonify(answers.queue_json(act("set_limits", queue, **given).value))


@call(
    "POST",
    "/api/admin/queues/<queue>/pause",
    "operator",
    "Take no more jobs",
    body=shapes.PauseBody,
)
def pause(queue: str) -> Any:
    given = body(shapes.PauseBody)
    return jsonify(
        answers.queue_json(act("pause", queue, reason=given.reason, until=given.until).value)
    )


@call("POST", "/api/admin/queues/<queue>/resume", "operator", "Take jobs again", body=shapes.Body)
def resume(queue: str) -> Any:
    body(shapes.Body)
    return jsonify(answers.queue_json(act("resume", queue).value))


# Pauses of tasks and tags


@call("GET", "/api/admin/pauses", "viewer", "The paused tasks and tags")
def pauses() -> Any:
    parts = reads().snapshot().paused_parts
    return jsonify({"items": [answers.paused_json(part) for part in parts]})


@call("POST", "/api/admin/<any(tasks, tags):of>/<name>/<any(pause, resume):verb>", "operator",
      "Start no more jobs of a task or a tag, or start them again", body=shapes.PauseBody)  # fmt: skip
def pause_part(of: str, name: str, verb: str) -> Any:
    kind = {"tasks": "task", "tags": "tag"}[of]
    if kind == "task":
        parts = reads().snapshot().paused_parts if verb == "resume" else ()
        name = task_name(
            name, {*reads().tasks(), *(part.name for part in parts if part.kind == kind)}
        )
    if verb == "resume":
        body(shapes.Body)
        act(f"resume_{kind}", name)
        return jsonify({"kind": kind, "name": name, "paused": False})
    given = body(shapes.PauseBody)
    done = act(f"pause_{kind}", name, reason=given.reason, until=given.until)
    return jsonify(answers.paused_json(done.value))


@call(
    "GET",
    "/api/admin/queues/<queue>/metrics",
    "viewer",
    "Counters of each minute, and percentiles",
    query=shapes.Minutes,
)
def metrics(queue: str) -> Any:
    minutes = query(shapes.Minutes).minutes
    name = queue_name(queue)
    if name:
        reads().queue(name)
    wait, run = (
        reads().wait_percentiles([name] if name else None, minutes),
        reads().run_percentiles(name, minutes),
    )
    found = reads().minutes(name, minutes)
    return jsonify({
        "queue": queue, "minutes": [answers.minute_json(minute) for minute in found],
        "wait_ms": _percentiles(wait), "run_ms": _percentiles(run),
    })  # fmt: skip


def _percentiles(found: Any) -> dict[str, Any]:
    return {"samples": found.samples, "p50": found.p50_ms, "p95": found.p95_ms, "p99": found.p99_ms}
