"""What app.js does in a real browser: regions are polled, tables stand still, keys and boxes work."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from waiting import wait_until

from tasks.database import utcnow
from tasks.engine import JobHuey

pytestmark = pytest.mark.browser


@pytest.fixture
def cancelled(huey: JobHuey) -> Callable[[int], list[str]]:
    """Make so many cancelled jobs, which can be ticked."""
    from tasks.maintenance import clean_up

    def make(many: int) -> list[str]:
        ids = [clean_up.schedule(delay=3600).id for _ in range(many)]
        huey.commands.cancel(ids)
        return ids

    return make


@pytest.fixture
def hasten(page: Page) -> Callable[[], None]:
    """Let some seconds of the page's clock pass, in which each region is asked for."""
    page.clock.install()
    return lambda: page.clock.run_for(8000)


def test_the_overview_shows_a_new_job_by_itself(
    page: Page, cancelled: Callable[[int], list[str]], hasten: Callable[[], None]
) -> None:
    page.goto("/")
    counter = page.locator(".counter", has_text="cancelled").locator("b")
    expect(counter).to_have_text("0")
    cancelled(1)
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


def test_buttons_for_ticked_jobs_are_off_until_one_is_ticked(
    page: Page, cancelled: Callable[[int], list[str]]
) -> None:
    cancelled(1)
    page.goto("/jobs?status=cancelled")
    button = page.locator("[data-selected-only]").first
    expect(button).to_be_disabled()
    page.locator("tbody input[type=checkbox]").click()
    expect(button).to_be_enabled()


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


def test_the_theme_changes_at_once_and_stays(page: Page) -> None:
    page.goto("/")
    with page.expect_response("**/theme"):
        page.locator("[data-theme-toggle]").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


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


def test_y_copies_the_id_of_a_job(page: Page, cancelled: Callable[[int], list[str]]) -> None:
    (job_id,) = cancelled(1)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"/jobs/{job_id}")
    page.keyboard.press("y")
    wait_until(lambda: page.evaluate("navigator.clipboard.readText()") == job_id)
