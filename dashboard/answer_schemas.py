"""What each call of the API answers, as JSON Schema: written short, read by the OpenAPI document.

A shape is `field:type` words. A type is s, i, n, b (string, integer, number, boolean), t (an instant),
x (anything), a shape's name, [type] for a list, {type} for an object of such values; a `?` after it
means that it may be null, a `*` before the field that it may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PLAIN: Mapping[str, dict[str, Any]] = {
    "s": {"type": "string"}, "i": {"type": "integer"}, "n": {"type": "number"}, "b": {"type": "boolean"},
    "t": {"type": "string", "format": "date-time"}, "x": {},
}  # fmt: skip
SHAPES: Mapping[str, str] = {
    "Progress": "percent:n? message:s?",
    "Error": "type:s message:s traceback:s? fingerprint:s?",
    "Attempt": "number:i run:i started_at:t? finished_at:t? worker:s? outcome:s? wait_ms:n? run_ms:n? reason:s? error:Error?",
    "Smtp": "phase:s code:i? enhanced:s text:s",
    "MailOfJob": "email_id:i to:s type:s state:s reason:s possible_duplicate:b message_id:s smtp:Smtp?",
    "Job": "id:s queue:s task:s state:s priority:i args:[x] kwargs:{x} tags:[s] progress:Progress attempts_made:i"
           " max_attempts:i created_at:t? scheduled_for:t? started_at:t? finished_at:t? wait_ms:n? run_ms:n? result:x"
           " error:Error? attempts:[Attempt] unique_key:s? batch_id:s? enqueued_by:s? worker:s? why_waiting:s?"
           " deferred_reason:s? reason:s? cancel_requested_at:t? recovered:i kept_until:t? *mail:MailOfJob",
    "QueuedJob": "id:s state:s *why_waiting:s",
    "Jobs": "items:[Job] next:s? previous:s? total:i? searched:i of:i",
    "Line": "at:t text:s",
    "Lines": "items:[Line]",
    "Mail": "id:i email_id:i job_id:s to:s type:s state:s reason:s subject:s ref:s? attempts:i message_id:s"
            " possible_duplicate:b smtp:Smtp? created_at:t due_at:t? expires_at:t sent_at:t? resent_of:i?"
            " remote_queue_id:s size_bytes:i? duration_ms:i?",
    "Mails": "items:[Mail] next:i?",
    "MailAttempt": "number:i started_at:t phase:s outcome:s code:i? enhanced:s text:s duration_ms:i server:s",
    "MailWhole": "Mail tries:[MailAttempt]",
    "Released": "email_id:i released:b detail:s",
    "Releases": "matched:i items:[Released]",
    "Lifted": "address:s lifted:b detail:s",
    "Lifts": "matched:i items:[Lifted]",
    "Suppression": "address:s reason:s source:s created_at:t",
    "Suppressions": "items:[Suppression]",
    "Address": "address:s",
    "Pause": "until:t? reason:s by:s at:t?",
    "Breaker": "state:s since:t? next_probe_at:t? reason:s",
    "Queue": "name:s paused:b pause:Pause? breaker:Breaker? counts:{i} oldest_waiting_s:n? concurrency:i? rate:s?"
             " retention:{s} per_minute:{n} failed_rate:n? forecast:s? rate_holds:b",
    "Queues": "items:[Queue]",
    "Kpi": "value:n? target:n? ok:b?",
    "Stats": "queues:[Queue] totals:{i} kpis:{Kpi} generated_at:t",
    "Check": "name:s status:s detail:s value:x",
    "Health": "status:s checks:[Check]",
    "Minute": "at:t enqueued:i completed:i failed:i retried:i cancelled:i",
    "Percentiles": "samples:i p50:n? p95:n? p99:n?",
    "Metrics": "queue:s minutes:[Minute] wait_ms:Percentiles run_ms:Percentiles",
    "PausedPart": "kind:s name:s paused:b *held:i *pause:Pause",
    "PausedParts": "items:[PausedPart]",
    "WorkerJob": "id:s task:s queue:s started_at:t? progress:Progress",
    "RecoveredJob": "id:s state:s?",
    "Worker": "id:s host:s pid:i kind:s queues:[s] slots:i busy:i state:s started_at:t? seen_at:t? version:s outdated:b"
              " memory_bytes:i? jobs:[WorkerJob] died_at:t? gone:s? recovered:[RecoveredJob]",
    "Workers": "items:[Worker]",
    "Batch": "id:s name:s by:s total:i counts:{i} progress:n adding:b closed_at:t? callback:s? callback_job:s? callback_state:s?"
             " callback_error:Error? created_at:t? finished_at:t?",
    "Batches": "items:[Batch]",
    "Tick": "at:t state:s job:s? run_ms:n? ended_at:t? by_hand:b",
    "Periodic": "task:s when:s expression:s? timezone:s? missed:s queue:s last_at:t? last_job:s? next_at:t? late_since:t?"
                " off:Pause? running:x ticks:[Tick] upcoming:[t]",
    "Periodics": "items:[Periodic]",
    "PeriodicRun": "task:s job:s",
    "Started": "operation:s matched:i",
    "Operation": "id:s kind:s state:s matched:i done:i skipped:i failed:i progress:n by:s reason:s query:x created_at:t"
                 " finished_at:t? exact:b changed:i options:{x} pace:n? canary:i canary_share:i trying:x why:s? ends:{i} left_s:n?",
    "OperationWhole": "Operation events:[Line]",
    "Operations": "items:[Operation]",
    "Outcome": "id:s done:b failed:b detail:s state:s? at:t?",
    "OutcomeList": "items:[Outcome] next:x",
    "FoundJobs": "items:[Job] next:x",
    "ErrorGroup": "id:s type:s message:s pattern:s place:s state:s since:t? muted_until:t? returned_after_s:n? first_at:t?"
                  " last_at:t? times:i jobs:{i} tasks:{i} last_job:s? by:s? note:s? noted_by:s? noted_at:t? hours:[x]",
    "ErrorGroupWhole": "ErrorGroup minutes:[x]",
    "ErrorGroups": "items:[ErrorGroup] counts:{i}",
    "Operator": "id:i email:s role:s disabled:b created_at:t",
    "Operators": "items:[Operator]",
    "Token": "id:i name:s prefix:s role:s owner:s created_at:t last_used_at:t? revoked_at:t? *token:s",
    "Tokens": "items:[Token]",
    "AlertRule": "id:i name:s measure:s target:s? over_minutes:i comparison:s threshold:n unit:s? for_minutes:i"
                 " least_samples:i severity:s enabled:b channels:[i] says:s state:s since:t? value:n? samples:i? note:s"
                 " evaluated_at:t? fired_at:t? muted_until:t? owner:s",
    "AlertRules": "items:[AlertRule] firing:i",
    "AlertMeasure": "name:s label:s meaning:s unit:s? scopes:[s] over_minutes:i comparison:s threshold:n for_minutes:i"
                    " least_samples:i samples:s?",
    "AlertMeasures": "items:[AlertMeasure]",
    "Firing": "at:t until:t? worst:n?",
    "Now": "value:n? samples:i? note:s",
    "AlertPreview": "firings:[Firing] times:i? now:Now? holds:b? since:t? why:s note:s unit:s?",
    "AlertNotice": "id:i channel:s kind:s event:s state:s detail:s attempts:i job:s? created_at:t",
    "AlertIncident": "id:i rule:i? name:s severity:s measure:s target:s? says:s value:n? worst:n? samples:i? unit:s?"
                     " began_at:t opened_at:t closed_at:t? ended:s? muted_by:s? acknowledged_at:t? acknowledged_by:s?"
                     " notices:[AlertNotice]",
    "AlertIncidents": "items:[AlertIncident] next:i?",
    "AlertChannel": "id:i name:s kind:s addresses:[s] url:s? secret:s?",
    "AlertChannels": "items:[AlertChannel]",
}  # fmt: skip
ANSWERS: Mapping[str, str] = {
    "operators": "Operators", "create_operator": "Operator", "change_operator": "Operator",
    "tokens": "Tokens", "create_token": "Token",
    "alerts": "AlertRules", "alert_measures": "AlertMeasures", "create_alert": "AlertRule", "preview_alert": "AlertPreview",
    "alert": "AlertRule", "change_alert": "AlertRule", "mute_alert": "AlertRule", "unmute_alert": "AlertRule",
    "turn_alert": "AlertRule", "alert_incidents": "AlertIncidents", "acknowledge_alert": "AlertIncident",
    "alert_channels": "AlertChannels", "create_alert_channel": "AlertChannel", "change_alert_channel": "AlertChannel",
    "test_alert_channel": "AlertNotice",
    **dict.fromkeys(("bulk_retry", "bulk_run_now", "bulk_cancel", "bulk_clean", "bulk_move", "bulk_reschedule",
                     "bulk_priority", "bulk_tag", "bulk_patch", "bulk_export", "bulk_search", "empty_queue",
                     "operation_undo"), "Started"),
    "operations": "Operations", "operation": "OperationWhole", "operation_act": "Operation",
    "operation_outcomes": "OutcomeList", "operation_jobs": "FoundJobs",
    "errors": "ErrorGroups", "error_group": "ErrorGroupWhole",
    **dict.fromkeys(("mute_group", "resolve_group", "reopen_group", "note_group"), "ErrorGroup"),
    "jobs": "Jobs", "job": "Job", "job_logs": "Lines", "retry": "Job", "run_now": "Job",
    "cancel": "Job or QueuedJob", "send_email": "Job or QueuedJob", "resend": "Job or QueuedJob",
    "mail_log": "Mails", "one_mail": "MailWhole", "release": "Releases", "suppressions": "Suppressions",
    "suppress": "Address", "lift_many": "Lifts",
    "queues": "Queues", "health": "Health", "stats": "Stats", "queue": "Queue", "patch_queue": "Queue",
    "pause": "Queue", "resume": "Queue", "pauses": "PausedParts", "pause_part": "PausedPart", "metrics": "Metrics",
    "workers": "Workers", "worker_act": "Worker", "stop_worker": "Worker", "batches": "Batches", "batch": "Batch",
    "periodic": "Periodics", "periodic_task": "Periodic", "run_periodic": "PeriodicRun",
    "disable_periodic": "Periodic", "enable_periodic": "Periodic",
}  # fmt: skip
FILES: Mapping[str, str] = {"operation_download": "application/x-ndjson"}  # what is no JSON


def schemas() -> dict[str, Any]:
    """Return every shape as JSON Schema, by name."""
    return {name: _shape(text) for name, text in SHAPES.items()}


def answer(name: str) -> dict[str, Any] | None:
    """Return the schema of what a call answers; None for one without a body, or with a file."""
    if name not in ANSWERS:
        return None
    choices = [_type(choice) for choice in ANSWERS[name].split(" or ")]
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


def _shape(text: str) -> dict[str, Any]:
    fields = [word.partition(":") for word in text.split() if ":" in word]
    found: dict[str, Any] = {
        "type": "object",
        "properties": {name.lstrip("*"): _type(kind) for name, _, kind in fields},
        "required": [name for name, _, _ in fields if not name.startswith("*")],
    }
    bases = [_type(word) for word in text.split() if ":" not in word]
    return {"allOf": [*bases, found]} if bases else found


def _type(text: str) -> dict[str, Any]:
    if text.endswith("?"):
        return {"anyOf": [_type(text[:-1]), {"type": "null"}]}
    if text.startswith("["):
        return {"type": "array", "items": _type(text[1:-1])}
    if text.startswith("{"):
        return {"type": "object", "additionalProperties": _type(text[1:-1])}
    return dict(PLAIN[text]) if text in PLAIN else {"$ref": f"#/components/schemas/{text}"}
