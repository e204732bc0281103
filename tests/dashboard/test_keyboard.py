"""In a real browser keys go to pages, walk rows and jobs, and act."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from waiting import wait_until

from tasks.engine import JobHuey

pytestmark = pytest.mark.browser


def test_a_row_is_retried_by_keyboard_beside_its_time_and_stays_as_high(
    page: Page, cancelled: Callable[[int], list[str]]
) -> None:
    cancelled(1)
    page.goto("/jobs?status=cancelled")
    row, act = page.locator("tbody tr"), page.locator(".row-actions")
    height = "row => row.getBoundingClientRect().height"
    before = row.evaluate(height)
    expect(act).to_be_hidden()
    page.locator("tbody input[type=checkbox]").focus()
    expect(act).to_be_visible()
    assert row.evaluate(height) == before
    assert act.evaluate(
        "act => act.getBoundingClientRect().right"
        " <= act.parentNode.querySelector('time').getBoundingClientRect().left"
    )
    act.locator("button", has_text="Retry").press("Enter")
    expect(page.locator(".toast")).to_be_visible()
    expect(page).to_have_url("/jobs?status=cancelled")
    expect(row).to_have_count(0)


def test_keys_walk_the_rows_tick_some_look_into_one_act_and_open_it(
    page: Page, cancelled: Callable[[int], list[str]], huey: JobHuey
) -> None:
    ids = cancelled(4)
    page.goto("/jobs?status=cancelled")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("tbody input[type=checkbox]").nth(1)).to_be_checked()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Shift+X")
    expect(page.locator(".selected")).to_have_text("3 ticked on this page")
    page.keyboard.press("a")
    expect(page.locator("tbody input:checked")).to_have_count(4)
    page.keyboard.press("a")
    page.keyboard.press("o")
    expect(page.locator(".glance")).to_contain_text(ids[0])  # the oldest stands last
    page.keyboard.press("o")
    expect(page.locator(".glance")).to_have_count(0)
    page.keyboard.press("r")
    expect(page.locator(".toast")).to_contain_text("retried")
    assert huey.reads.job(ids[0]).state.value == "waiting"
    page.wait_for_load_state()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")


def test_keys_walk_from_job_to_job_along_the_list(
    page: Page, cancelled: Callable[[int], list[str]]
) -> None:
    cancelled(3)
    page.goto("/jobs?status=cancelled")
    page.locator("tbody tr a").first.click()
    for key, place in (("", "1 of 3"), ("j", "2 of 3"), ("n", "3 of 3"), ("k", "2 of 3")):
        if key:
            page.keyboard.press(key)
        expect(page.locator(".along")).to_contain_text(place)
        page.wait_for_load_state()  # the script listens from here on


def test_g_and_a_letter_go_to_a_page_and_slash_to_the_search(page: Page) -> None:
    page.goto("/")
    page.keyboard.type("gq")
    page.wait_for_url("**/queues")
    page.keyboard.press("/")
    page.keyboard.type("g q")
    expect(page.locator("#search")).to_have_value("g q")


def test_single_keys_can_be_switched_off_and_stay_off(page: Page) -> None:
    page.goto("/help")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("?")
    with page.expect_event("load"):  # before it the script hears no key
        page.get_by_role("button", name="Switch single keys off").click()
    expect(page.get_by_text("Single keys are off")).to_be_visible()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("#search")).not_to_be_focused()
    page.goto("/queues/email")
    page.keyboard.press("p")
    assert not page.url.endswith("#pause")
    page.locator("#reason").fill("the provider works")
    with page.expect_event("load"):
        page.keyboard.press("Control+Enter")  # not a single key: it sends the form
    expect(page.locator(".toast")).to_contain_text("email is paused")
    page.goto("/help")
    with page.expect_event("load"):
        page.get_by_role("button", name="Switch single keys on").click()
    expect(page.get_by_text("They work wherever")).to_be_visible()
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()


def test_a_letter_acts_on_the_job_of_the_page(
    page: Page, cancelled: Callable[[int], list[str]], huey: JobHuey
) -> None:
    job = cancelled(1)[0]
    page.goto(f"/jobs/{job}")
    page.keyboard.press("r")
    expect(page.locator(".toast")).to_contain_text("retried")
    expect(page.locator(".badge").first).to_have_text("Waiting")
    assert huey.reads.job(job).state.value == "waiting"
    page.keyboard.press("c")
    expect(page.locator(".badge").first).to_have_text("Cancelled")


def test_y_copies_the_id_of_a_job(page: Page, cancelled: Callable[[int], list[str]]) -> None:
    (job_id,) = cancelled(1)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"/jobs/{job_id}")
    page.keyboard.press("y")
    wait_until(lambda: page.evaluate("navigator.clipboard.readText()") == job_id)
