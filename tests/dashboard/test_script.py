"""What app.js does in a real browser beside regions, keys and search boxes: acts, and how a page looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tasks.engine import JobHuey

pytestmark = pytest.mark.browser


def test_buttons_for_ticked_jobs_are_off_until_one_is_ticked(
    page: Page, cancelled: Callable[[int], list[str]]
) -> None:
    cancelled(1)
    page.goto("/jobs?status=cancelled")
    button = page.locator("[data-selected-only]").first
    expect(button).to_be_disabled()
    page.locator("tbody input[type=checkbox]").click()
    expect(button).to_be_enabled()


def test_a_drag_along_the_strip_narrows_the_search_to_that_time(
    page: Page, cancelled: Callable[[int], list[str]]
) -> None:
    cancelled(3)
    page.goto("/jobs?status=cancelled")
    box = page.locator("[data-brush]").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"], box["y"] + 10)
    page.mouse.up()
    page.wait_for_url("**since=**")
    expect(page.locator(".matching b")).to_have_text("3")
    expect(page.locator(".chip")).to_have_count(2)
    assert "until" not in page.url


def test_the_theme_changes_at_once_and_stays(page: Page) -> None:
    page.goto("/")
    with page.expect_response("**/theme"):
        page.locator("[data-theme-toggle]").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_an_act_shows_its_toast_and_the_change_without_leaving_the_page(
    page: Page, huey: JobHuey
) -> None:
    page.goto("/queues")
    page.evaluate("window.same = true")
    page.locator("tr", has_text="email").get_by_role("button", name="Pause").click()
    expect(page.locator(".toast")).to_contain_text("email is paused")
    page.locator(".toast").hover()  # it stays as long as somebody points at it
    expect(page.locator("tr", has_text="email")).to_contain_text("paused by admin@example.org")
    expect(page.locator(".banner", has_text="email is paused")).to_be_visible()
    assert page.evaluate("window.same")
    assert huey.reads.queue("email").paused
    page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(page.locator(".toast")).to_contain_text("email runs again")
    expect(page.locator(".banner", has_text="email is paused")).to_have_count(0)
    assert page.evaluate("window.same")
    assert not huey.reads.queue("email").paused


def test_an_answer_whose_form_has_left_the_page_replaces_the_main_part(page: Page) -> None:
    page.goto("/queues")
    page.evaluate("""() => {
        const form = document.querySelector("form[action$='/queues/email/pause']");
        form.querySelector("button").click();
        form.remove();  // as a fresh region does that comes first
    }""")
    expect(page.locator(".toast")).to_contain_text("email is paused")
    expect(page.locator("main")).to_have_count(1)
    expect(page.locator("tr", has_text="email")).to_contain_text("paused by admin@example.org")


def test_what_the_server_refuses_stays_on_the_screen_as_a_sentence(
    page: Page, cancelled: Callable[[int], list[str]], huey: JobHuey
) -> None:
    job = cancelled(1)[0]
    page.goto(f"/jobs/{job}")
    huey.commands.delete([job])
    page.get_by_role("button", name="Retry", exact=True).click()
    toast = page.locator(".toast[data-kind=bad]")
    expect(toast).to_contain_text("there is no job")
    toast.get_by_role("button", name="Close").click()
    expect(toast).to_have_count(0)


def test_the_environment_is_a_line_of_its_own_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/")
    strip = page.locator(".env.strip")
    expect(strip).to_have_css("height", "24px")
    expect(strip).to_have_css("color", "rgb(255, 255, 255)")


def test_a_phone_reaches_every_page_without_script(chromium: Any, page: Page, address: str) -> None:
    page.goto("/")
    context = chromium.new_context(
        base_url=address, java_script_enabled=False, viewport={"width": 390, "height": 800},
        storage_state=page.context.storage_state(),
    )  # fmt: skip
    small = context.new_page()
    small.goto("/")
    small.click(".open-rail")
    small.click(".rail a[title=Queues]")
    expect(small.locator("h1")).to_have_text("Queues")
    context.close()


def test_a_time_that_is_pointed_at_says_when_that_is_where_the_reader_is(
    chromium: Any, page: Page, address: str
) -> None:
    page.goto("/account")
    context = chromium.new_context(
        base_url=address, timezone_id="Asia/Tokyo", storage_state=page.context.storage_state()
    )
    there = context.new_page()
    there.goto("/account")
    time = there.locator(".main time[title$=UTC]").first
    time.hover()
    expect(there.locator(".main time[title*='UTC; '][title$='Asia/Tokyo']")).to_have_count(1)
    context.close()
