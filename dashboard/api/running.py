"""What runs: workers, periodic tasks, batches."""

from __future__ import annotations

from typing import Any

from flask import jsonify

from dashboard import answers, shapes
from dashboard.api.calls import act, body, call, query, reads, task_name

# Workers and accounts


@call("GET", "/api/admin/workers", "viewer", "Worker processes")
def workers() -> Any:
    return jsonify({"items": [answers.worker_json(worker) for worker in reads().workers()]})


@call(
    "POST",
    "/api/admin/workers/<worker_id>/<any(quiet, resume):verb>",
    "operator",
    "Quiet or resume a worker",
    body=shapes.Body,
)
def worker_act(worker_id: str, verb: str) -> Any:
    body(shapes.Body)
    name = "wake" if verb == "resume" else verb
    return jsonify(answers.worker_json(act(name, worker_id).value))


@call(
    "POST",
    "/api/admin/workers/<worker_id>/stop",
    "operator",
    "Stop a worker after what it runs, or now",
    body=shapes.Stop,
)
def stop_worker(worker_id: str) -> Any:
    name = "stop_now" if body(shapes.Stop).now else "stop"
    return jsonify(answers.worker_json(act(name, worker_id).value))


# Batches


@call("GET", "/api/admin/batches", "viewer", "The newest batches", query=shapes.Newest)
def batches() -> Any:
    found = reads().batches(query(shapes.Newest).limit)
    called = reads().callbacks(found)
    return jsonify({"items": [answers.batch_json(batch, called.get(batch.id)) for batch in found]})


@call("GET", "/api/admin/batches/<batch_id>", "viewer", "One batch with its members by state")
def batch(batch_id: str) -> Any:
    found = reads().batch(batch_id)
    return jsonify(answers.batch_json(found, reads().callbacks([found]).get(batch_id)))


# Periodic tasks


@call("GET", "/api/admin/periodic", "viewer", "The periodic tasks with their last thirty ticks")
def periodic() -> Any:
    return jsonify({"items": [answers.periodic_json(task) for task in reads().periodic()]})


@call("GET", "/api/admin/periodic/<task>", "viewer", "One periodic task, with its next ten ticks")
def periodic_task(task: str) -> Any:
    return jsonify(answers.periodic_json(reads().periodic_task(_named(task))))


def _named(task: str) -> str:
    return task_name(task, reads().tasks())


@call(
    "POST",
    "/api/admin/periodic/<task>/run",
    "operator",
    "Run a periodic task now",
    body=shapes.Body,
    status=202,
)
def run_periodic(task: str) -> Any:
    body(shapes.Body)
    name = _named(task)
    return jsonify({"task": name, "job": act("run_periodic", name).value}), 202


@call(
    "POST",
    "/api/admin/periodic/<task>/disable",
    "operator",
    "Fire no more ticks",
    body=shapes.PauseBody,
)
def disable_periodic(task: str) -> Any:
    given = body(shapes.PauseBody)
    act("disable_periodic", _named(task), reason=given.reason, until=given.until)
    return periodic_task(task)


@call("POST", "/api/admin/periodic/<task>/enable", "operator", "Fire ticks again", body=shapes.Body)
def enable_periodic(task: str) -> Any:
    body(shapes.Body)
    act("enable_periodic", _named(task))
    return periodic_task(task)
