"""Periodic clean-up of what the platform keeps in SQL; the engine trims its jobs by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import delete

from tasks.database import session, utcnow
from tasks.domain import Proof
from tasks.engine import crontab
from tasks.mailer.models import EmailBody
from tasks.queues import huey

BODIES_KEPT = timedelta(days=30)
PROOFS_KEPT = timedelta(days=7)


@huey.periodic_task(crontab(minute="17", hour="3"), queue="maintenance", name="clean_up", missed="latest",
                    expression="17 3 * * *")  # fmt: skip
def clean_up() -> str:
    """Delete mail bodies after 30 days, and used or expired codes after 7."""
    now = utcnow()
    with session() as db:
        bodies: Any = db.execute(delete(EmailBody).where(EmailBody.created_at < now - BODIES_KEPT))
        proofs: Any = db.execute(delete(Proof).where(Proof.expires_at < now - PROOFS_KEPT))
        return f"{bodies.rowcount} bodies, {proofs.rowcount} codes deleted"
