"""The operator's ten questions, each asked in a real browser and answered within two clicks or keys.

Typing what one looks for is not counted, Enter is; an act counts the clicks that it takes itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from driving import run_one
from flask import Flask
from playwright.sync_api import Locator, Page, expect

from dashboard.health import Watch
from tasks import database as db
from tasks.emails import Message, send
from tasks.engine import JobHuey, Permanent, State
from tasks.mailer.models import EmailMessage

pytestmark = pytest.mark.browser
ADA = "ada@example.org"


class Operator:
    """Somebody at the page, whose clicks and keys are counted."""

    def __init__(self, page: Page, watch: Watch) -> None:
        self.page, self.watch, self.moves = page, watch, 0

    def begin(self) -> None:
        """Open the overview, with figures of now."""
        self.watch.forget()
        self.page.goto("/")

    def click(self, what: Locator) -> None:
        self.moves += 1
        what.click()

    def press(self, key: str) -> None:
        self.moves += 1
        self.page.keyboard.press(key)

    def look_for(self, text: str) -> None:
        """Search for something from wherever one is: `/`, type, Enter."""
        self.press("/")
        self.page.keyboard.insert_text(text)
        self.press("Enter")

    def sees(self, text: str | re.Pattern[str]) -> None:
        expect(self.page.locator("main")).to_contain_text(text)


@pytest.fixture
def operator(page: Page, app: Flask) -> Iterator[Operator]:
    """Return somebody on the overview; a question that took more than two moves fails."""
    found = Operator(page, app.extensions["watch"])
    found.begin()
    yield found
    assert found.moves <= 2, f"{found.moves} clicks and keys"


@pytest.fixture
def breaks(huey: JobHuey) -> Iterator[Callable[[int], list[str]]]:
    """Let so many jobs fail for one reason."""

    @huey.task(name="ten.sync", queue="sync")
    def sync(number: int) -> None:
        raise Permanent("Moodle answers 503")

    def make(many: int) -> list[str]:
        ids = [sync(number).id for number in range(many)]
        for _ in ids:
            run_one(huey)
        return ids

    yield make
    huey._registry.unregister(sync.task_class)


def failed_mail() -> str:
    """Make a mail to Ada whose server refused it. Returns: its job's id."""
    queued = send(Message(type="welcome", to=ADA, data={"name": "Ada", "course": "Logic"}))
    with db.session() as session:
        mail = session.query(EmailMessage).filter_by(job_id=queued.job_id).one()
        mail.state, mail.smtp_code, mail.smtp_text = "failed", 550, "5.1.1 no such user here"
    return queued.job_id


def test_1_is_anything_broken_right_now(operator: Operator, huey: JobHuey) -> None:
    huey.commands.pause("email", by="eve", reason="the provider is down")
    operator.begin()
    status = operator.page.get_by_role("status").first
    expect(status).to_be_visible()
    operator.sees("the provider is down")


def test_2_did_the_mail_go_out(operator: Operator) -> None:
    failed_mail()
    operator.look_for(ADA)
    operator.sees(ADA)
    operator.sees(re.compile("failed", re.IGNORECASE))


def test_3_why_did_it_fail(operator: Operator, breaks: Callable[[int], list[str]]) -> None:
    breaks(3)
    operator.begin()
    operator.click(operator.page.get_by_role("link", name="Permanent").first)
    operator.sees("Moodle answers 503")
    operator.sees("raise Permanent")


def test_4_send_it_again_to_the_right_address(operator: Operator) -> None:
    failed_mail()
    with db.reading() as session:
        mail_id = session.query(EmailMessage).one().id
    operator.page.goto(f"/emails/{mail_id}")
    operator.page.get_by_label("To", exact=True).fill("ada@example.com")
    operator.click(operator.page.get_by_role("button", name="Send a new copy"))
    operator.sees("ada@example.com")
    with db.reading() as session:
        assert session.query(EmailMessage).filter_by(to_addr="ada@example.com").count() == 1


def test_5_retry_all_of_that_outage_and_only_those(
    operator: Operator, breaks: Callable[[int], list[str]], huey: JobHuey
) -> None:
    ids = breaks(3)
    group = huey.reads.error_groups().items[0]
    operator.page.goto(f"/errors/{group.id}")
    operator.click(operator.page.get_by_role("link", name="Retry 3 jobs"))
    operator.click(operator.page.get_by_role("button", name=re.compile("Retry 3")))
    operator.sees("Retry")
    while huey.commands.step_operations():
        pass
    assert {huey.reads.job(job_id).state for job_id in ids} == {State.WAITING}


def test_6_stop_the_storm_until_a_time(operator: Operator, huey: JobHuey) -> None:
    operator.click(operator.page.locator("main").get_by_role("link", name="email", exact=True))
    operator.click(operator.page.get_by_role("button", name="Pause email"))
    operator.sees("it ends by itself")
    assert huey.reads.queue("email").pause.until is not None


def test_7_what_is_new_since_yesterday(
    operator: Operator, breaks: Callable[[int], list[str]]
) -> None:
    breaks(1)
    operator.begin()
    operator.press("g")
    operator.press("r")
    expect(operator.page.get_by_role("heading", level=1)).to_have_text("Errors")
    expect(operator.page.locator("tbody .tag", has_text="new")).to_be_visible()


def test_8_what_runs_next_and_what_should_have_run(operator: Operator) -> None:
    expect(operator.page.get_by_role("heading", name="Next to run")).to_be_visible()
    operator.press("g")
    operator.press("s")
    expect(operator.page.get_by_role("heading", level=1)).to_have_text("Periodic tasks")
    expect(operator.page.get_by_role("columnheader", name="Last 30 ticks")).to_be_visible()


def test_9_which_worker_is_stuck_and_out_with_it(operator: Operator, huey: JobHuey) -> None:
    from tasks.maintenance import clean_up

    clean_up()
    huey.lease.start()
    task = huey.dequeue()
    assert task is not None
    huey.lease.beat()
    operator.click(operator.page.locator(".rail a[data-key=w]"))
    expect(operator.page.get_by_role("cell", name="clean_up")).to_be_visible()
    operator.click(operator.page.get_by_role("button", name="Stop after current"))
    operator.sees("stopping")
    assert huey.reads.job(task.id).state is State.ACTIVE, "nothing is lost"
    huey.execute(task)


def test_10_who_did_what_to_this_queue_when_and_why(operator: Operator) -> None:
    operator.page.goto("/queues/email")
    operator.page.get_by_label("Reason").fill("the provider is down")
    operator.page.get_by_role("button", name="Pause email").click()
    operator.begin()
    operator.click(operator.page.locator("main").get_by_role("link", name="email", exact=True))
    acts = operator.page.locator(
        "section", has=operator.page.get_by_role("heading", name="Who did what")
    )
    expect(acts).to_contain_text("admin@example.org")
    expect(acts).to_contain_text("the provider is down")
    operator.click(acts.get_by_role("link", name="Audit"))
    operator.sees("the provider is down")
