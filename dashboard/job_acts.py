"""What an operator does to one job. Joined to ACTIONS by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dashboard.asking import Ask, Refused, Result
from dashboard.audit_rows import audit
from tasks import emails, outbox, queues
from tasks.database import session
from tasks.engine import Outcome, UnknownJob


def _one(outcomes: Sequence[Outcome], verb: str) -> Result:
    """Turn one job's outcome into a sentence. Raises UnknownJob."""
    outcome = outcomes[0]
    if not outcome.done and outcome.state is None:
        raise UnknownJob(f"there is no job {outcome.id}: it never was, or its retention is over")
    if not outcome.done:
        raise Refused(f"Nothing {verb}: {outcome.detail}")
    return Result(message=f"Job {outcome.id} {verb}", outcomes=outcomes)


def _changed(result: Result, name: str, before: Any, after: Any) -> Result:
    """Note for the audit what a thing was before an act and is after it."""
    return replace(result, noted={"before": {name: before}, "after": {name: after}})


def _retry(ask: Ask) -> Result:
    emails.reopen(ask.target)
    outcomes = ask.huey.commands.retry(
        [ask.target], by=ask.actor.name, delay_s=ask.params.get("delay_s")
    )
    return _one(outcomes, "retried")


def _edit_retry(ask: Ask) -> Result:
    emails.reopen(ask.target)
    outcomes = ask.huey.commands.retry(
        [ask.target], by=ask.actor.name, args=ask.params.get("args"), kwargs=ask.params.get("kwargs"),
        delay_s=ask.params.get("delay_s"),
    )  # fmt: skip
    return _one(outcomes, "retried with other arguments")


def _queue_job(ask: Ask) -> Result:
    params = ask.params
    job_id = ask.huey.commands.queue_job(
        ask.target, params.get("kwargs") or {}, job_id=params["job_id"],
        copy_of=params.get("copy_of", ""), delay_s=params.get("delay_s"),
    )  # fmt: skip
    if job_id != params["job_id"]:
        raise Refused(f"Nothing queued: job {job_id} holds the same unique key")
    if params.get("copy_of"):
        said = f"Queued again as job {job_id}"
        audit(ask.actor, "duplicate", params["copy_of"], "done", said, {"copied_as": job_id})
    return Result(message=f"Job {job_id} of {ask.target} queued", target=job_id, value=job_id)


def _reveal(ask: Ask) -> Result:
    return Result(message="Secret arguments shown", value=ask.huey.reads.revealed(ask.target))


def _run_now(ask: Ask) -> Result:
    with session() as db:
        released = outbox.release(db, ask.target)
    if released:
        return Result(message=f"Job {ask.target} goes to Redis once more")
    return _one(ask.huey.commands.run_now([ask.target], by=ask.actor.name), "made ready")


def _cancel(ask: Ask) -> Result:
    reason = str(ask.params.get("reason", ""))
    if ask.huey is queues.huey:
        outcome = emails.cancel(ask.target, by=ask.actor.name, reason=reason)
    else:  # another app's Huey: it has no mail log
        outcome = ask.huey.commands.cancel([ask.target], by=ask.actor.name, reason=reason)[0]
    if outcome.done and outcome.state == "active":
        return Result(message="Asked to stop: the job sees it at its next step", outcomes=[outcome])
    return _one([outcome], "cancelled")


def _reschedule(ask: Ask) -> Result:
    before = ask.huey.reads.job(ask.target).scheduled_for
    outcomes = ask.huey.commands.reschedule(
        [ask.target], at=ask.params.get("at"), delay_s=ask.params.get("delay_s")
    )
    after = ask.huey.reads.job(ask.target).scheduled_for
    return _changed(_one(outcomes, "rescheduled"), "due", before, after)


def _set_priority(ask: Ask) -> Result:
    priority = int(ask.params["priority"])
    before = ask.huey.reads.job(ask.target).priority
    done = _one(ask.huey.commands.set_priority([ask.target], priority), f"has priority {priority}")
    return _changed(done, "priority", before, priority)


def _move(ask: Ask) -> Result:
    queue = str(ask.params["queue"])
    before = ask.huey.reads.job(ask.target).queue
    done = _one(ask.huey.commands.move([ask.target], queue), f"moved to {queue}")
    return _changed(done, "queue", before, queue)


def _tag(method: str, word: str) -> Callable[[Ask], Result]:
    def do(ask: Ask) -> Result:
        return _one(getattr(ask.huey.commands, method)([ask.target], *ask.params["tags"]), word)

    return do


def _patch(ask: Ask) -> Result:
    name = str(ask.params["name"])
    return _one(ask.huey.commands.patch([ask.target], name, ask.params["value"]), f"has another {name}")  # fmt: skip


DO: Mapping[str, Callable[[Ask], Result]] = {
    "retry": _retry, "edit_retry": _edit_retry, "cancel": _cancel, "run_now": _run_now,
    "reschedule": _reschedule, "set_priority": _set_priority, "move": _move, "patch": _patch,
    "tag": _tag("tag", "tagged"), "untag": _tag("untag", "untagged"),
    "queue_job": _queue_job, "queue_secret_job": _queue_job, "reveal": _reveal,
    "delete": lambda ask: _one(ask.huey.commands.delete([ask.target], by=ask.actor.name), "deleted"),
}  # fmt: skip
