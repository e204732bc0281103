"""The JSON API of bulk actions: each starts an operation, which has its own addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import jsonify

from dashboard import actions, answers, auth, exporting, shapes
from dashboard.api.calls import act, body, call, query, reads
from dashboard.problems import BadField
from tasks.engine import FINAL, State

QUEUE = "/api/admin/queues/<queue>"
ONE = "/api/admin/operations/<operation_id>"


def _start(kind: str, queue: str, asked: shapes.Bulk, given: Mapping[str, Any] | None = None,
           older_than_s: float | None = None) -> Any:  # fmt: skip
    """Start an operation on ids or on a query; an empty body is refused."""
    if asked.ids is None and asked.status is None:
        raise BadField("status", "say ids or at least status")
    wanted = None if asked.ids else asked.filter(None if queue == "all" else queue)
    if wanted and wanted.queue:
        reads().queue(wanted.queue)
    plan = asked.plan() if isinstance(asked, shapes.Paced) else {}
    operation = actions.start_bulk(
        actions.huey(), auth.actor(), kind, filter=wanted, ids=asked.ids, reason=asked.reason,
        plan=plan, given=given, older_than_s=older_than_s,
    ).operation  # fmt: skip
    return _started(operation)


def _started(operation: Any) -> Any:
    return jsonify({"operation": operation.id, "matched": operation.matched}), 202


@call("POST", f"{QUEUE}/retry", "operator", "Retry many, as an operation", body=shapes.BulkRetry,
      status=202)  # fmt: skip
def bulk_retry(queue: str) -> Any:
    asked = body(shapes.BulkRetry)
    if asked.ids is None and asked.status is None and asked.model_fields_set - {"reason"}:
        asked = asked.model_copy(update={"status": State.FAILED})
    return _start("retry", queue, asked, {"delay_s": asked.delay})


@call("POST", f"{QUEUE}/run-now", "operator", "Make many ready, as an operation",
      body=shapes.BulkRun, status=202)  # fmt: skip
def bulk_run_now(queue: str) -> Any:
    return _start("run_now", queue, body(shapes.BulkRun))


@call("POST", f"{QUEUE}/cancel", "operator", "Cancel many, as an operation", body=shapes.Paced,
      status=202)  # fmt: skip
def bulk_cancel(queue: str) -> Any:
    return _start("cancel", queue, body(shapes.Paced))


@call("POST", f"{QUEUE}/clean", "operator", "Remove final jobs, as an operation",
      body=shapes.Clean, status=202)  # fmt: skip
def bulk_clean(queue: str) -> Any:
    asked = body(shapes.Clean)
    if asked.status is not None and asked.status not in FINAL:
        raise BadField(
            "status",
            f"{asked.status.value} jobs are not cleaned; completed, failed or cancelled are",
        )
    return _start("delete", queue, asked, older_than_s=asked.older_than)


@call("POST", f"{QUEUE}/move", "operator", "Move many to another queue, as an operation",
      body=shapes.BulkMove, status=202)  # fmt: skip
def bulk_move(queue: str) -> Any:
    asked = body(shapes.BulkMove)
    return _start("move", queue, asked, {"queue": asked.to})


@call("POST", f"{QUEUE}/reschedule", "operator", "Set when many run, as an operation",
      body=shapes.BulkReschedule, status=202)  # fmt: skip
def bulk_reschedule(queue: str) -> Any:
    asked = body(shapes.BulkReschedule)
    if (asked.at is None) == (asked.delay is None):
        raise BadField("at", "say at or delay, one of them")
    return _start("reschedule", queue, asked, {"at": asked.at, "delay_s": asked.delay})


@call("POST", f"{QUEUE}/priority", "operator", "Set the priority of many, as an operation",
      body=shapes.BulkPriority, status=202)  # fmt: skip
def bulk_priority(queue: str) -> Any:
    asked = body(shapes.BulkPriority)
    return _start("priority", queue, asked, {"priority": asked.priority})


@call("POST", f"{QUEUE}/<any(tag, untag):kind>", "operator", "Tag or untag many, as an operation",
      body=shapes.BulkTag, status=202)  # fmt: skip
def bulk_tag(queue: str, kind: str) -> Any:
    asked = body(shapes.BulkTag)
    return _start(kind, queue, asked, {"tags": asked.tags})


@call("POST", f"{QUEUE}/patch", "admin", "Change one argument of many, as an operation",
      body=shapes.BulkPatch, status=202)  # fmt: skip
def bulk_patch(queue: str) -> Any:
    asked = body(shapes.BulkPatch)
    return _start("patch", queue, asked, {"name": asked.name, "value": asked.value})


@call("POST", f"{QUEUE}/export", "viewer", "Freeze a query to download its jobs", body=shapes.Bulk,
      status=202)  # fmt: skip
def bulk_export(queue: str) -> Any:
    asked = body(shapes.Bulk)
    if asked.ids is not None:
        raise BadField("ids", "an export takes the filters of a listing")
    return _start("export", queue, asked)


@call("POST", f"{QUEUE}/search", "viewer", "Look at every job for a query; what it finds is kept",
      body=shapes.Bulk, status=202)  # fmt: skip
def bulk_search(queue: str) -> Any:
    asked = body(shapes.Bulk)
    if asked.ids is not None:
        raise BadField("ids", "a search takes the filters of a listing")
    wanted = asked.filter(None if queue == "all" else queue)
    found = actions.start_bulk(
        actions.huey(), auth.actor(), "search", filter=wanted, reason=asked.reason
    )
    return _started(found.operation)


@call("POST", f"{QUEUE}/empty", "admin", "Remove every waiting job; the body names the queue",
      body=shapes.Empty, status=202)  # fmt: skip
def empty_queue(queue: str) -> Any:
    asked = body(shapes.Empty)
    reads().queue(queue)
    if asked.name != queue:
        raise BadField("name", f"{queue} is expected, to be sure")
    return _started(act("empty", queue, typed=asked.name, reason=asked.reason).operation)


@call("GET", "/api/admin/operations", "viewer", "The newest operations")
def operations() -> Any:
    return jsonify({"items": [answers.operation_json(one) for one in reads().operations(100)]})


@call("GET", ONE, "viewer", "A bulk operation's progress")
def operation(operation_id: str) -> Any:
    found = answers.operation_json(reads().operation(operation_id))
    events = reads().operation_events(operation_id)
    return jsonify(
        {**found, "events": [{"at": answers.when(e.at), "text": e.text} for e in events]}
    )


@call("GET", f"{ONE}/outcomes", "viewer", "What it did to each job", query=shapes.Outcomes)
def operation_outcomes(operation_id: str) -> Any:
    asked = query(shapes.Outcomes)
    reads().operation(operation_id)
    found = reads().operation_outcomes(operation_id, asked.limit, asked.start, asked.which)
    more = asked.start + asked.limit if len(found) == asked.limit else None
    return jsonify({"items": [answers.outcome_json(one) for one in found], "next": more})


@call(
    "GET",
    f"{ONE}/jobs",
    "viewer",
    "The jobs that a search found, as they are now",
    query=shapes.Found,
)
def operation_jobs(operation_id: str) -> Any:
    asked = query(shapes.Found)
    reads().operation(operation_id)
    ids = reads().operation_found(operation_id, asked.limit, asked.start)
    jobs = reads().explained(list(reads().some(ids).values()))
    more = asked.start + asked.limit if len(ids) == asked.limit else None
    return jsonify({"items": [answers.job_json(job) for job in jobs], "next": more})


@call("GET", f"{ONE}/download", "viewer", "The jobs of an export", query=shapes.Download)
def operation_download(operation_id: str) -> Any:
    asked = query(shapes.Download)
    found = act("download_export", operation_id, format=asked.format).value
    return exporting.send(actions.huey(), found, asked.format)


@call("POST", f"{ONE}/<any(cancel, pause, resume):verb>", "operator",
      "Stop after the current chunk, pause, or go on", body=shapes.Body)  # fmt: skip
def operation_act(operation_id: str, verb: str) -> Any:
    body(shapes.Body)
    reads().operation(operation_id)
    name = {"cancel": "stop"}.get(verb, verb)
    done = act(f"{name}_operation", operation_id).operation
    return jsonify(answers.operation_json(done))  # type: ignore[arg-type]


@call("POST", f"{ONE}/undo", "operator", "Take back what it did, where that is possible",
      body=shapes.Body, status=202)  # fmt: skip
def operation_undo(operation_id: str) -> Any:
    body(shapes.Body)
    return _started(act("undo_operation", operation_id).operation)
