"""Jobs: lists, one whole, and the acts on one."""

from __future__ import annotations

from typing import Any

from flask import jsonify

from dashboard import actions, answers, shapes
from dashboard.api.calls import act, body, call, query, queue_name, reads
from tasks import outbox
from tasks.database import reading
from tasks.engine import Job, UnknownJob
from tasks.mailer import models as mail


def _mails(jobs: list[Job]) -> dict[str, mail.EmailMessage]:
    ids = [job.id for job in jobs if job.task.endswith("deliver_email")]
    if not ids:
        return {}
    with reading() as db:
        return mail.by_jobs(db, ids)


def whole(queue: str, job_id: str) -> tuple[Job, mail.EmailMessage | None]:
    """Return a job of a queue with its mail. Raises UnknownJob, also for another queue's job."""
    job = reads().job(job_id)
    if queue not in ("all", job.queue):
        raise UnknownJob(
            f"job {job_id} is in queue {job.queue}: /api/admin/queues/{job.queue}/job/{job_id}"
        )
    return job, _mails([job]).get(job_id)


# Jobs


@call(
    "GET",
    "/api/admin/queues/<queue>/jobs",
    "viewer",
    "Jobs, the newest change first",
    query=shapes.Listing,
)
def jobs(queue: str) -> Any:
    asked = query(shapes.Listing)
    page = reads().jobs(
        asked.filter(queue_name(queue)), asked.cursor, asked.limit, asked.sort == "-changed"
    )
    mails = _mails(list(page.items))
    return jsonify({
        "items": [answers.job_json(job, mails.get(job.id)) for job in reads().explained(page.items)], "next": page.next,
        "previous": page.previous, "total": page.total, "searched": page.searched, "of": page.of,
    })  # fmt: skip


@call("GET", "/api/admin/queues/<queue>/job/<job_id>", "viewer", "One job, whole")
def job(queue: str, job_id: str) -> Any:
    return job_answer(queue, job_id)


def job_answer(queue: str, job_id: str, status: int = 200) -> Any:
    """Answer with a job, from its outbox row while Redis does not have it."""
    row = outbox.row(job_id)
    if row is not None and (row.pushed_at is None or not reads().is_reachable()):
        with reading() as db:
            return jsonify(
                answers.waiting_row(row, actions.huey(), mail.by_job(db, job_id))
            ), status
    found, its_mail = whole(queue, job_id)
    return jsonify(answers.job_json(found, its_mail)), status


@call("GET", "/api/admin/queues/<queue>/job/<job_id>/logs", "viewer", "A job's log lines")
def job_logs(queue: str, job_id: str) -> Any:
    whole(queue, job_id)
    return jsonify(
        {"items": [{"at": answers.when(e.at), "text": e.text} for e in reads().logs(job_id)]}
    )


@call(
    "POST",
    "/api/admin/queues/<queue>/job/<job_id>/retry",
    "operator",
    "Run a job again",
    body=shapes.Retry,
    status=202,
)
def retry(queue: str, job_id: str) -> Any:
    given = body(shapes.Retry)
    whole(queue, job_id)
    if given.args is not None or given.kwargs is not None:
        act("edit_retry", job_id, args=given.args, kwargs=given.kwargs, delay_s=given.delay)
    else:
        act("retry", job_id, delay_s=given.delay)
    return job_answer(queue, job_id, 202)


@call(
    "POST",
    "/api/admin/queues/<queue>/job/<job_id>/cancel",
    "operator",
    "Cancel a job",
    body=shapes.Reason,
    status=202,
)
def cancel(queue: str, job_id: str) -> Any:
    given = body(shapes.Reason)
    if outbox.row(job_id) is None:
        whole(queue, job_id)
    act("cancel", job_id, reason=given.reason)
    try:
        return job_answer(queue, job_id, 202)
    except UnknownJob:
        return jsonify({"id": job_id, "state": "cancelled"}), 202


@call(
    "POST",
    "/api/admin/queues/<queue>/job/<job_id>/run-now",
    "operator",
    "Make a scheduled job ready",
    body=shapes.Body,
    status=202,
)
def run_now(queue: str, job_id: str) -> Any:
    body(shapes.Body)
    whole(queue, job_id)
    act("run_now", job_id)
    return job_answer(queue, job_id, 202)


@call(
    "DELETE", "/api/admin/queues/<queue>/job/<job_id>", "operator", "Remove a final job", status=204
)
def delete_job(queue: str, job_id: str) -> Any:
    whole(queue, job_id)
    act("delete", job_id)
    return "", 204
