"""Saved views: searches with a name, shared by all operators."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from dashboard.models import SavedView
from tasks.database import reading, session

MOST = 100
BY_NAME = select(SavedView).order_by(SavedView.name)  # each look at the jobs asks it


def views() -> Sequence[SavedView]:
    """Return the saved views by name."""
    with reading() as db:
        return list(db.scalars(BY_NAME))


def save(name: str, text: str, columns: str, owner: str) -> str:
    """Keep a view, in place of one of the same name and owner. Returns: why not, or ""."""
    with session() as db:
        known = db.scalars(select(SavedView)).all()
        same = next((view for view in known if view.name == name), None)
        if same is not None and same.owner != owner:
            return f"there is a view {name} of {same.owner} already"
        if same is None and len(known) >= MOST:
            return f"there are {MOST} views already; delete one first"
        if same is None:
            db.add(SavedView(name=name, query=text, columns=columns, owner=owner))
        else:
            same.query, same.columns = text, columns
    return ""


def get(view_id: int) -> SavedView | None:
    """Return one view."""
    with reading() as db:
        return db.get(SavedView, view_id)


def delete(view_id: int) -> None:
    """Take a view away; one that is gone stays gone."""
    with session() as db:
        found = db.get(SavedView, view_id)
        if found is not None:
            db.delete(found)
