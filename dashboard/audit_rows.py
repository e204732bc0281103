"""One line of the audit log for each act: who, what, how it went, and what it was told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import g, has_request_context, request

from dashboard.auth import Actor
from dashboard.models import AuditEntry
from tasks import emails
from tasks.database import session, utcnow
from tasks.engine import JobFilter
from tasks.engine.operating.freezing import frozen

NAMED = 50
MOST_TOLD = 4000
UNTOLD = ("password", "old", "token", "data", "args", "kwargs", "value")  # may be a secret


def audit(actor: Actor | None, action: str, target: str, outcome: str, message: str = "",
          params: Mapping[str, Any] | None = None, at: datetime | None = None) -> None:  # fmt: skip
    """Add one line to the audit log; `at` is when the act was asked for, None now."""
    shown = {
        n: _plain(v)
        for n, v in (params or {}).items()
        if v not in (None, "", ()) and n not in UNTOLD
    }
    with session() as db:
        db.add(AuditEntry(
            at=at or utcnow(), actor=actor.name if actor else "nobody", role=actor.role if actor else "", action=action,
            target=target[:200], outcome=outcome, detail=_detail(message, shown),
            reason=str((params or {}).get("reason", ""))[:300],
            request_id=g.get("request_id", "") if has_request_context() else "",
            address=(request.remote_addr or "")[:64] if has_request_context() else "cli",
        ))  # fmt: skip


def _detail(message: str, shown: Mapping[str, Any]) -> str:
    """Return what an act was told as JSON of bounded length: what does not fit is cut, and said so."""
    short = {name: str(value)[:200] for name, value in shown.items()}
    for told in (dict(shown), {**short, "cut": True}, {"cut": True}):
        text = json.dumps({"message": message[:2000], **told}, ensure_ascii=False, default=str)
        if len(text) <= MOST_TOLD:
            break
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, JobFilter):
        return frozen(value)
    if isinstance(value, Mapping):
        return {name: item for name, item in value.items() if name not in UNTOLD}
    if isinstance(value, emails.Message):
        return f"{value.type} to {value.to}"  # its data may hold a code or a link
    if isinstance(value, list | tuple):
        return [str(item) for item in value[:NAMED]]
    return str(value)
