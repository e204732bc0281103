"""Every page in light and dark, looked at by axe: WCAG 2.2 AA and good practice, nothing found."""

from __future__ import annotations

from typing import Any

import pytest
from alerting import make_mail, make_rule
from axe_playwright_python.base import AXE_SCRIPT
from driving import fire_due, run_all
from flask import Flask
from playwright.sync_api import Page, expect

from dashboard.rail import PAGES
from tasks import database, emails, reminders
from tasks.alerts.evaluation import settle
from tasks.alerts.measures import Seen
from tasks.database import utcnow
from tasks.engine import JobFilter, JobHuey, Permanent
from tasks.mailer import models as mail_models

pytestmark = pytest.mark.browser
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
    "rules": {"color-contrast": {"enabled": False}},  # by COLOURS, in both themes
}
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast"]}, "resultTypes": ["violations"]}
WIDTHS = (320, 390, 640, 720, 960, 2560, 1280)  # 640 is 1280 at 200 %; the last one stays
PARTS = 3  # so that three workers share the pages
_tasks: dict[str, Any] = {}


@pytest.fixture
def addresses(huey: JobHuey) -> list[str]:
    """Fill the dashboard with one of each thing; return every page's address."""
    if not _tasks:

        @huey.task(name="demo.breaks", queue="maintenance")
        def breaks(course: str, seats: int = 1) -> str:
            raise Permanent(f"there is no course {course}")

        _tasks["breaks"] = breaks
    breaks = _tasks["breaks"]
    failed, other = (str(breaks(name, seats=3).id) for name in ("logic", "algebra"))
    batch = huey.batch([breaks.s("greek")], callback=breaks.s(), name="import", by="ada")
    run_all(huey)
    data = {"name": "Ada", "course": "Logic"}
    mail = emails.send(emails.Message(type="welcome", to="ada@example.org", data=data))
    operation = huey.commands.start_operation("retry", ids=[other], by="ada@example.org")
    search = huey.commands.start_operation("search", filter=JobFilter(text="logic"), by="ada")
    huey.commands.step_operations()
    run_all(huey)  # what was retried fails again
    huey.commands.pause("sync", by="ada@example.org", reason="Moodle upgrade")
    fire_due(huey, huey.reads.now_ms() - 3_600_000)  # an hour with no worker: missed ticks
    rule = make_rule(
        "waiting", name="Backlog", threshold=10, for_minutes=0, channels=[make_mail().id]
    )
    with database.session() as session:
        settle(session, rule.id, Seen(11), utcnow())
        mail_models.suppress(
            session, f"{'bob.' * 12}b@example.org", "hard", "550 5.1.1 no such user"
        )
    make_rule("failed_share", name="Jobs fail", severity="critical")
    groups = [f"/errors/{group.id}" for group in huey.reads.error_groups().items][:1]
    return [
        *(page.address for page in PAGES), *groups, "/help", "/jobs?status=failed", f"/jobs/{failed}",
        f"/jobs/{failed}/edit", "/jobs/new", f"/jobs/new?from={failed}",
        f"/jobs/compare?a={failed}&b={other}", "/queues/email", "/queues/sync", "/queues/maintenance/empty", "/tasks/tasks.emails.deliver_email",
        f"/tasks/{huey.reads.job(failed).task}", "/kpis?range=1h", "/periodic/tasks.reminders.scan", f"/batches/{batch}", f"/emails/{mail.email_id}",
        f"/operations/{operation.id}", "/operations/new?kind=retry&status=failed",
        "/alerts/new", "/alerts/new?measure=failed_share", f"/alerts/{rule.id}", f"/alerts/{rule.id}/delete",
        "/alerts/history", "/alerts/channels/new?kind=webhook", "/alerts/channels/1",
        f"/operations/{search.id}", f"/jobs/{failed}?at=1&in=status%3Dfailed", "/account", "/operators/1", "/people/ada@example.org",
    ]  # fmt: skip


# Asked for what it found alone, not for all that it looked at.
RUN = """async ([where, rules]) => (await axe.run(where, rules)).violations.flatMap(
  (fault) => fault.nodes.slice(0, 3).map(
    (node) => `${fault.id}: ${node.target} ${(node.failureSummary ?? "").slice(0, 160)}`))"""


def faults(page: Page, rules: dict[str, Any], where: str = "html") -> list[str]:
    """Return what axe finds on the page as it stands, one line a node."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found: list[str] = page.evaluate(RUN, [where, rules])
    return found


def opened(page: Page, path: str) -> None:
    answer = page.goto(path)
    assert answer is not None
    assert answer.status < 400, path


CUT = """() => [...document.querySelectorAll("#main td.lead a")].filter(
  (link) => link.getBoundingClientRect().right > innerWidth).map((link) => link.textContent.trim())"""


def scrolls_sideways(page: Page) -> list[str]:
    """Return the widths at which the page is wider than its window, or what names a row is cut off."""
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        needs = page.evaluate("document.documentElement.scrollWidth")
        found += [f"{width} wide: scrolls sideways, it needs {needs}"] if needs > width else []
        found += [f"{width} wide: {name} is cut off" for name in page.evaluate(CUT)]
    return found


@pytest.mark.slow(reason="axe takes half a second a page")
@pytest.mark.parametrize("part", range(PARTS))
def test_every_page_is_well_in_light_and_dark_and_at_any_width(
    page: Page, addresses: list[str], part: int
) -> None:
    """The frame around a page is the same everywhere: its colours are looked at once."""
    page.add_init_script(AXE_SCRIPT)  # sent to the browser once
    page.emulate_media(reduced_motion="reduce")
    found: dict[str, list[str]] = {}
    for path in addresses[part::PARTS]:
        page.emulate_media(color_scheme="light")
        opened(page, path)
        seen, where = faults(page, RULES), "html" if path == addresses[part] else "#main"
        for scheme in ("light", "dark"):  # the same page: only its colours differ
            page.emulate_media(color_scheme=scheme)
            seen += [f"{scheme}: {fault}" for fault in faults(page, COLOURS, where)]
        if seen := seen + scrolls_sideways(page):
            found[path] = seen
    assert found == {}


def test_what_is_wrong_is_found(page: Page) -> None:
    page.goto("/queues")
    page.evaluate("""document.querySelector("#main").insertAdjacentHTML("beforeend",
      "<img src=/x><p id=pale>pale</p>");
      document.body.insertAdjacentHTML("beforeend", "<i id=wide></i>");
      pale.style.color = "var(--bg)";
      Object.assign(wide.style, {position: "absolute", top: 0, left: 0, width: "3000px", height: "9px"})""")
    rules = [line.partition(":")[0] for line in faults(page, RULES)]
    assert rules == ["image-alt"]
    assert len(faults(page, COLOURS, "#main")) == 1
    assert len(scrolls_sideways(page)) == len(WIDTHS)


def test_axe_finds_nothing_on_the_pages_that_stand_alone(
    chromium: Any, address: str, page: Page
) -> None:
    context = chromium.new_context(base_url=address)
    alone = context.new_page()
    for path in ("/login", "/setup/none"):
        alone.goto(path)
        assert faults(alone, RULES) + faults(alone, COLOURS) == [], path
    context.close()


def test_every_page_is_reached_and_used_by_keyboard_alone(page: Page, huey: JobHuey) -> None:
    page.goto("/queues")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == "Pause":
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "2px"
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_contain_text("is paused")


def test_nothing_moves_for_those_who_ask_for_stillness(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.goto("/")
    moving = page.evaluate(
        "[...document.querySelectorAll('*')].filter(n => {const s = getComputedStyle(n);"
        " return s.animationName !== 'none' || parseFloat(s.transitionDuration) > 0}).length"
    )
    assert moving == 0


def test_on_a_phone_the_menu_of_a_job_opens_within_the_screen(
    page: Page, addresses: list[str]
) -> None:
    job = next(path for path in addresses if path.startswith("/jobs/0"))
    for width in (320, 390):
        page.set_viewport_size({"width": width, "height": 844})
        page.goto(job)
        page.locator(".job-head .menu > summary").click()
        box = page.locator(".job-head .menu-list").bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 844


def test_22_rows_fit_1080_pixels_also_under_a_banner(page: Page, huey: JobHuey, app: Flask) -> None:
    huey.enqueue_many([reminders.scan.s() for _ in range(30)])
    page.set_viewport_size({"width": 1920, "height": 1080})

    def rows() -> int:
        within = (
            "rows => rows.filter((row) => row.getBoundingClientRect().bottom <= innerHeight).length"
        )
        return int(page.locator("tbody tr[data-href]").evaluate_all(within))

    page.goto("/jobs")
    assert rows() >= 22
    huey.commands.pause("sync", by="ada", reason="Moodle upgrade")
    app.extensions["watch"].forget()
    page.goto("/jobs")
    expect(page.locator(".banner:visible")).to_have_count(1)
    assert rows() >= 22
