"""In a real browser a search box offers what may be written next."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


def test_a_menu_that_was_left_does_not_come_back_by_itself(
    page: Page, hasten: Callable[[], None]
) -> None:
    page.goto("/jobs")
    page.locator("#q").focus()
    page.keyboard.insert_text("state:")
    hasten()
    expect(page.locator(".suggest a")).not_to_have_count(0)
    page.keyboard.press("ArrowDown")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.keyboard.press("Escape")
    expect(page.locator("#q")).to_be_focused()
    hasten()
    assert [url for url in asked if "/suggest" in url] == []
    expect(page.locator(".suggest")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator("#q")).not_to_be_focused()
    expect(page.locator("#q")).to_have_value("state:")
    page.locator("#q").focus()
    with page.expect_request("**/suggest?**"):
        page.keyboard.insert_text("can")
        hasten()


@pytest.mark.parametrize(("start", "box"), [("/jobs", "#q"), ("/help", "#search")])
def test_a_search_box_offers_fields_then_values_by_keyboard(
    page: Page, cancelled: Callable[[int], list[str]], start: str, box: str
) -> None:
    cancelled(2)
    page.goto(start)
    page.locator("h1").press("/")
    page.keyboard.insert_text("sta")  # at once: typed letters may be answered one by one
    offers = page.locator(".suggest :is(a, button)")  # those of an empty box may come first
    expect(offers.first).to_have_attribute("data-complete", "state:")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(box)).to_have_value("state:")
    value = page.locator(".suggest a", has_text="state:cancelled")
    expect(value).to_contain_text("2 jobs")
    page.keyboard.press("Escape")
    expect(value).to_have_count(0)
    page.keyboard.insert_text("can")
    expect(page.locator(".suggest a").first).to_contain_text("state:cancelled")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(".chip")).to_contain_text("state:cancelled")
    expect(page.locator(".matching b")).to_have_text("2")


def test_a_late_answer_does_not_take_the_menu_from_who_chooses_in_it(page: Page) -> None:
    page.goto("/jobs")
    page.locator("h1").press("/")
    page.keyboard.insert_text("sta")
    offers = page.locator(".suggest :is(a, button)")
    expect(offers.first).to_have_attribute("data-complete", "state:")
    page.keyboard.press("ArrowDown")
    expect(offers.first).to_be_focused()
    page.evaluate("htmx.ajax('GET', '/jobs/suggest?q=', '#suggestions')")
    expect(offers.first).to_be_focused()
    expect(offers.first).to_have_attribute("data-complete", "state:")
