"""In a real browser regions are asked for again and again, and stand still under somebody's hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from tasks.database import utcnow
from tasks.engine import JobHuey

pytestmark = pytest.mark.browser


def test_the_overview_shows_a_new_job_by_itself(
    page: Page, app: Flask, cancelled: Callable[[int], list[str]], hasten: Callable[[], None]
) -> None:
    page.goto("/")
    counter = page.locator(".counter", has_text="cancelled").locator("b")
    expect(counter).to_have_text("0")
    cancelled(1)
    app.extensions["watch"].forget()
    hasten()
    expect(counter).to_have_text("1")


def test_a_pause_is_counted_down_to_the_minute(
    page: Page, huey: JobHuey, hasten: Callable[[], None]
) -> None:
    until = utcnow() + timedelta(hours=1, minutes=40)
    huey.commands.pause("sync", by="ada@example.org", reason="moodle moves", until=until)
    page.goto("/audit")
    left = page.locator(".banner time[data-age]")
    expect(left).to_have_text(re.compile(r"^in 1 h 3\d min$"))
    hasten()  # the script writes it anew
    assert re.fullmatch(r"in 1 h 3\d min", left.inner_text())


def test_a_ticked_box_is_counted_and_holds_everything_still(
    page: Page, cancelled: Callable[[int], list[str]]
) -> None:
    cancelled(5)
    page.goto("/jobs?status=cancelled")
    boxes = page.locator("tbody input[type=checkbox]")
    boxes.nth(0).click()
    boxes.nth(3).click(modifiers=["Shift"])
    expect(page.locator(".selected")).to_have_text("4 ticked on this page")
    expect(page.locator("[data-verb=Retry]")).to_have_text("Retry 4 ticked")
    expect(page.get_by_role("link", name="Retry all 5 that match")).to_be_visible()
    expect(page.locator(".live")).to_have_text("Paused")
    page.locator("[data-select-all]").click()
    expect(page.locator(".selected")).to_have_text("5 ticked on this page")
    page.locator("[data-select-all]").click()
    expect(page.locator(".matching")).to_be_visible()
    expect(page.locator(".live")).to_have_text("Live")


def test_a_table_that_follows_shows_what_comes_but_not_under_the_hand(
    page: Page, cancelled: Callable[[int], list[str]], hasten: Callable[[], None]
) -> None:
    cancelled(2)
    page.goto("/jobs?status=cancelled")
    page.keyboard.press(".")
    expect(page.locator(".fresh-line")).to_contain_text("Following")
    page.wait_for_load_state()
    rows = page.locator("tbody tr")
    page.keyboard.press("j")  # somebody is at a row: it stands still
    cancelled(1)
    hasten()
    expect(page.locator(".live")).to_have_text("Paused")
    expect(rows).to_have_count(2)
    page.keyboard.press("Escape")
    hasten()
    expect(rows).to_have_count(3)
    page.keyboard.press(".")
    expect(page.locator(".fresh-line")).to_contain_text("stands still")


def test_a_page_without_an_answer_says_so_and_takes_its_acts_away(
    page: Page, hasten: Callable[[], None]
) -> None:
    page.goto("/queues/email")
    off = "each => Boolean(each.closest('[inert]'))"
    page.locator("#rate").focus()
    page.context.set_offline(True)
    hasten()
    expect(page.locator(".live")).to_have_text("Stale")
    expect(page.locator("[data-when-stale]")).to_be_visible()
    for act in (".main form button", ".main a[data-key=p]", "text=Move all to", "#reason"):
        assert page.locator(act).first.evaluate(off), act
    assert not page.locator("#rate").evaluate(off), "somebody fills that form in"
    expect(page.locator("[data-when-off]").first).to_have_text("Off until fresh figures come.")
    page.locator("body").press("p")
    assert not page.url.endswith("#pause"), "nor by its key"
    page.evaluate("document.getSelection().selectAllChildren(document.querySelector('.counters'))")
    hasten()
    expect(page.locator(".live")).to_have_text("Stale")
    assert page.locator("text=Move all to").evaluate(off), "who reads has old figures all the same"
    page.evaluate("document.getSelection().removeAllRanges()")
    page.context.set_offline(False)
    hasten()
    expect(page.locator(".live")).to_have_text("Live")
    expect(page.locator("[data-when-stale]")).to_be_hidden()
    expect(page.locator("[data-when-off], .main [inert]")).to_have_count(0)


def test_a_page_with_old_figures_asks_soon_whatever_the_server_wished(
    page: Page, hasten: Callable[[], None]
) -> None:
    page.goto("/queues")
    old = '<div id="live" hx-get="/queues" hx-trigger="due" hx-swap="morph:outerHTML" data-stale>Old</div>'

    def answer_late(route: Any) -> None:
        route.fulfill(status=200, body=old, headers={"Retry-After": "53"}, content_type="text/html")

    page.route("**/queues", answer_late)
    hasten()
    expect(page.locator(".live")).to_have_text("Stale")
    page.unroute("**/queues")
    with page.expect_response("**/queues"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".live")).to_have_text("Live")
    page.route("**/queues", answer_late)
    hasten()
    expect(page.locator(".live")).to_have_text("Stale")
    page.unroute("**/queues")
    hasten()
    expect(page.locator(".live")).to_have_text("Live")

    def load_old(route: Any) -> None:
        body = route.fetch().text().replace("data-etag=", "data-stale data-etag=", 1)
        route.fulfill(status=200, body=body, content_type="text/html")

    page.route("**/queues", load_old)
    page.reload()
    assert page.locator(".main form button").first.evaluate("button => button.inert"), (
        "from the start"
    )


def test_a_region_that_did_not_change_costs_no_body(page: Page, hasten: Callable[[], None]) -> None:
    page.goto("/queues")
    with page.expect_response(lambda answer: answer.status == 304) as found:
        hasten()
    assert found.value.request.headers["if-none-match"]


def test_an_open_menu_or_selected_text_holds_a_region_still(
    page: Page, hasten: Callable[[], None]
) -> None:
    page.goto("/queues")
    page.locator(".name-cell a").first.evaluate("node => getSelection().selectAllChildren(node)")
    hasten()
    expect(page.locator(".live")).to_have_text("Paused")
    page.evaluate("getSelection().removeAllRanges()")
    hasten()
    expect(page.locator(".live")).to_have_text("Live")
