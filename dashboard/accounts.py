"""Operators as rows: who there is, what may change about them, the sessions of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from dashboard import auth
from dashboard.models import LoginSession, Operator
from tasks.database import reading, session, utcnow
from tasks.engine import EngineError


class UnknownOperator(EngineError):
    """There is no operator of that address or id."""


class LastAdmin(ValueError):
    """A change would leave nobody who may make operators."""


def operators() -> Sequence[Operator]:
    """Return the operators by address."""
    with reading() as db:
        return list(db.scalars(select(Operator).order_by(Operator.email)))


def by_id(operator_id: int) -> Operator:
    """Return an operator. Raises UnknownOperator."""
    with reading() as db:
        found = db.get(Operator, operator_id)
    if found is None:
        raise UnknownOperator(f"there is no operator {operator_id}")
    return found


def change(email: str, **values: Any) -> tuple[dict[str, Any], Operator]:
    """Change an operator and end every session that rests on the old state.

    Returns: what the changed fields were before, and the operator. Raises: UnknownOperator, LastAdmin.
    """
    with session() as db:
        found, had_admin = _locked(db, email), _admins(db) > 0
        before = {name: getattr(found, name) for name in values}
        for name, value in values.items():
            setattr(found, name, value)
        db.flush()
        if had_admin and not _admins(db):
            raise LastAdmin(f"{found.email} is the only admin; make another first")
        if values != before:
            db.execute(delete(LoginSession).where(LoginSession.operator_id == found.id))
    return before, found


def _locked(db: Session, email: str) -> Operator:
    """Return one operator while no other change of operators is under way. Raises UnknownOperator."""
    every = db.scalars(select(Operator).order_by(Operator.id).with_for_update()).all()
    found = next((one for one in every if one.email == email.strip().lower()), None)
    if found is None:
        raise UnknownOperator(f"there is no operator {email}")
    return found


def _admins(db: Session) -> int:
    left = (Operator.role == "admin", Operator.disabled_at.is_(None))
    return db.scalar(select(func.count()).select_from(Operator).where(*left)) or 0


def sessions(operator_id: int) -> Sequence[LoginSession]:
    """Return the sessions of an operator that still let somebody in, the last seen first."""
    now = utcnow()
    alive = (LoginSession.seen_at > now - auth.IDLE, LoginSession.created_at > now - auth.ABSOLUTE)
    query = select(LoginSession).where(LoginSession.operator_id == operator_id, *alive)
    with reading() as db:
        return list(db.scalars(query.order_by(LoginSession.seen_at.desc())))


def end_others(operator_id: int, token: str) -> int:
    """End every session of an operator but the one with this token. Returns: how many."""
    others = (
        LoginSession.operator_id == operator_id,
        LoginSession.token_hash != auth.digest(token),
    )
    with session() as db:
        return len(db.scalars(delete(LoginSession).where(*others).returning(LoginSession.id)).all())
