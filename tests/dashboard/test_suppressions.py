"""Several suppressed addresses are lifted at once, by page and by API, each with its line in the audit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from browsing import Browser, audit
from flask import Flask
from sqlalchemy import select

from dashboard import auth
from dashboard.models import AuditEntry
from dashboard.views import emails
from tasks import database as db
from tasks.mailer import models

PEOPLE = ("ada@example.org", "bob@example.org", "eve@example.org")


@pytest.fixture
def suppressed(database: str) -> None:
    with db.session() as session:
        for address in PEOPLE:
            models.suppress(session, address, "hard", "550 5.1.1 no such user")


def left() -> Sequence[str]:
    with db.reading() as session:
        return sorted(row.address for row in models.suppressions(session))


def test_the_ticked_addresses_are_lifted_with_a_reason(admin: Browser, suppressed: None) -> None:
    page = admin.get("/emails/suppressions").text
    assert page.count('type="checkbox" name="address"') == 3
    admin.post("/emails/suppressions/lift", {"address": [*PEOPLE[:2], "gone@example.org"], "reason": "new server"})  # fmt: skip
    assert left() == ["eve@example.org"]
    assert "2 addresses get mail again; 1 could not" in admin.get("/emails/suppressions").text
    assert audit() == [("lift", PEOPLE[0], "done"), ("lift", PEOPLE[1], "done"), ("lift", "gone@example.org", "failed")]  # fmt: skip
    with db.reading() as session:
        assert set(session.scalars(select(AuditEntry.reason))) == {"new server"}


def test_without_a_tick_nothing_is_lifted(admin: Browser, suppressed: None) -> None:
    admin.get("/emails/suppressions")
    admin.post("/emails/suppressions/lift", {"reason": "none of them"})
    assert "Nothing lifted: no address is ticked" in admin.get("/emails/suppressions").text
    assert (len(left()), audit()) == (3, [])


def test_a_viewer_lifts_none(enter: Callable[[str], Browser], suppressed: None) -> None:
    viewer = enter("viewer")
    assert 'disabled title="needs the role operator">Lift ticked<' in " ".join(
        viewer.get("/emails/suppressions").text.split()
    )
    refused = viewer.post("/emails/suppressions/lift", {"address": list(PEOPLE)})
    assert (refused.status_code, len(left())) == (403, 3)
    assert audit() == [("lift", PEOPLE[0], "refused")]


def test_a_list_that_is_longer_than_its_page_says_so(
    admin: Browser, suppressed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there are more" not in admin.get("/emails/suppressions").text
    monkeypatch.setattr(emails, "LISTED", 2)
    page = admin.get("/emails/suppressions").text
    assert ("the newest; there are more" in page, page.count('name="address" value=')) == (True, 4)


def test_a_program_lifts_several_and_is_told_of_each(app: Flask, suppressed: None) -> None:
    def lift(role: str, addresses: Sequence[str]) -> Any:
        token, _ = auth.create_token(role, role, "cli")
        headers = {"Authorization": f"Bearer {token}"}
        body = {"addresses": addresses, "reason": "new server"}
        return app.test_client().post("/api/emails/suppressions/lift", json=body, headers=headers)

    assert lift("viewer", PEOPLE).status_code == 403
    answer = lift("operator", [PEOPLE[0], PEOPLE[1], " Bob@Example.org ", "", "gone@example.org"])
    assert [(one["address"], one["lifted"]) for one in answer.json["items"]] == [
        (PEOPLE[0], True), ("Bob@Example.org", True), ("gone@example.org", False)
    ]  # fmt: skip
    assert (answer.json["matched"], left()) == (3, ["eve@example.org"])
    assert lift("operator", ["gone@example.org"]).status_code == 409
    assert lift("operator", []).status_code == 422
