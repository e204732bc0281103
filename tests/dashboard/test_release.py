"""Held mails go after all, by page and by API, one or all that match."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from browsing import Browser
from driving import run_one
from flask import Flask
from sqlalchemy import event, update

from dashboard import auth
from tasks import database as db
from tasks.emails import Message, send
from tasks.engine import JobHuey, State
from tasks.mailer import models
from tasks.mailer.models import EmailMessage


@pytest.fixture
def hold(huey: JobHuey) -> Callable[[str], int]:
    """Queue a mail and leave it as a worker does whose connection broke after the final dot."""

    def held(to: str) -> int:
        queued = send(Message(type="welcome", to=to, data={"name": "Ada", "course": "Logic"}))
        with db.session() as session:
            mine = EmailMessage.id == queued.email_id
            session.execute(update(EmailMessage).where(mine).values(state="cancelled"))
        run_one(huey)  # skips it: its job has ended
        with db.session() as session:
            session.execute(update(EmailMessage).where(mine).values(state="held"))
        return queued.email_id

    return held


def mail(email_id: int) -> EmailMessage:
    with db.reading() as session:
        found = models.get(session, email_id)
    assert found is not None
    return found


@pytest.fixture
def ask(app: Flask, database: str) -> Callable[..., Any]:
    token, _ = auth.create_token("ci", "operator", "cli")

    def post(**body: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        return app.test_client().post("/api/emails/release", json=body, headers=headers)

    return post


def test_a_held_mail_is_released_on_its_page(
    enter: Callable[[str], Browser], hold: Any, huey: JobHuey
) -> None:
    held = hold("ada@example.org")
    assert (
        "Released, it goes under the same Message-ID" in enter("viewer").get(f"/emails/{held}").text
    )
    assert enter("viewer").post(f"/emails/{held}/release").status_code == 403
    operator = enter("operator")
    operator.post(f"/emails/{held}/release")
    assert mail(held).state == "queued"
    assert huey.reads.job(mail(held).job_id).state is State.WAITING
    operator.post(f"/emails/{held}/release")
    page = operator.get(f"/emails/{held}").text
    assert "1 mail goes after all" in page
    assert "is queued, not held" in page


def test_all_held_mails_that_the_log_shows_are_released(admin: Browser, hold: Any) -> None:
    ada, bob = hold("ada@example.org"), hold("bob@example.org")
    assert "Release the mail" in admin.get("/emails?state=held&to=ada").text
    assert "Release 2 mails" in admin.get("/emails?state=held").text
    admin.post("/emails/release", {"to": "ada@"})
    assert (mail(ada).state, mail(bob).state) == ("queued", "held")
    admin.post("/emails/release", {"type": "welcome"})
    assert mail(bob).state == "queued"
    admin.post("/emails/release", {})
    assert "No mail is held" in admin.get("/emails").text


def test_a_program_releases_by_id_and_is_told_of_each(ask: Any, hold: Any) -> None:
    held = hold("ada@example.org")
    answer = ask(ids=[held, 999])
    assert (answer.status_code, answer.json["matched"]) == (202, 2)
    assert [(i["email_id"], i["released"]) for i in answer.json["items"]] == [
        (held, True),
        (999, False),
    ]
    assert "there is no mail 999" in answer.json["items"][1]["detail"]
    assert ask(ids=[held]).status_code == 409


def test_where_redis_goes_away_meanwhile_it_is_said_which_went(
    ask: Any, hold: Any, huey: JobHuey, redis_server: Any
) -> None:
    first, second, third = (hold(f"{name}@example.org") for name in ("ada", "bob", "eve"))

    @event.listens_for(db.engine(), "commit")
    def away(connection: Any) -> None:  # while the second one is queued
        if states() == ["queued", "held", "held"]:
            redis_server.stop()

    def states() -> list[str]:
        return [mail(one).state for one in (first, second, third)]

    answer = ask(ids=[first, second, third])
    event.remove(db.engine(), "commit", away)
    assert answer.status_code == 202
    released = {item["email_id"]: item["released"] for item in answer.json["items"]}
    assert released == {first: True, second: False, third: False}
    assert "cannot be reached" in answer.json["items"][1]["detail"]
    assert states() == ["queued", "held", "held"]
    assert ask(ids=[second, third]).status_code == 503


def test_a_program_releases_by_address_or_type(ask: Any, hold: Any) -> None:
    held = hold("ada@example.org")
    assert ask(to="bob@example.org").json == {"matched": 0, "items": []}
    assert ask(to="ada@example.org", type="welcome").json["matched"] == 1
    assert mail(held).state == "queued"


@pytest.mark.parametrize(
    "body", [{}, {"ids": []}, {"ids": [1], "to": "a"}, {"type": "none"}, {"state": "held"}]
)
def test_a_wrong_body_releases_nothing(ask: Any, body: dict[str, Any]) -> None:
    assert ask(**body).status_code == 422


def test_of_several_that_release_a_mail_at_once_one_alone_does(hold: Any) -> None:
    """Where both read it as held, the second would hold it again while its job is on the way."""
    held = hold("ada@example.org")
    answers = []
    for _ in range(2):
        with db.session() as session:
            answers.append(models.unhold(session, held))
    assert answers == [True, False]
    assert mail(held).state == "queued"
