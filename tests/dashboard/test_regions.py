"""What a page asks for again and again: 304, what tabs share, long tables in parts."""

from __future__ import annotations

import re
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from browsing import Browser
from flask import Flask
from waiting import wait_until

from dashboard.rail import PAGES
from tasks.engine import JobHuey

FRAGMENT = {"HX-Request": "true"}


def etag(page: str) -> str:
    found = re.search(r'id="live"[^>]* data-etag="([0-9a-f]+)"', page)
    assert found, "the page has a polled region with its etag"
    return found[1]


def test_no_template_asks_for_its_region_in_another_way_than_the_macro(app: Flask) -> None:
    folder = Path(app.root_path) / "templates"
    for file in folder.glob("*.html"):
        text = file.read_text()
        assert "data-poll" not in text, file.name
        assert file.name == "_macros.html" or "hx-trigger" not in text, file.name


LIVE = ("/", "/queues", "/tasks", "/workers", "/periodic", "/operations", "/queues/email")


@pytest.mark.parametrize("address", LIVE)
def test_a_region_answers_304_while_its_figures_are_the_same(admin: Browser, address: str) -> None:
    whole = admin.get(address)
    part = admin.get(address, headers=FRAGMENT)
    assert "<html" in whole.text
    assert "<html" not in part.text
    assert 'id="live"' in part.text
    assert "HX-Request" in part.headers["Vary"]

    def asked_again() -> tuple[int, bytes]:
        tag = etag(admin.get(address, headers=FRAGMENT).text)
        again = admin.get(address, headers={**FRAGMENT, "If-None-Match": f'"{tag}"'})
        return again.status_code, again.data

    # A worker of an earlier test may beat between the two: that is a figure which changed.
    wait_until(lambda: asked_again() == (304, b""), what="an unchanged region answers 304")


def test_every_page_has_a_fragment_its_live_part_or_else_its_content(admin: Browser) -> None:
    for address in (*(page.address for page in PAGES), "/account", "/alerts/new", "/jobs/new"):
        part = admin.get(address, headers=FRAGMENT).text.partition('<div id="banners"')[0]
        assert "<html" not in part, address
        assert len(re.sub(r"<[^>]*>|\s", "", part)) > 20, f"{address} says nothing: {part}"


def test_a_whole_page_is_never_304(admin: Browser) -> None:
    tag = etag(admin.get("/queues").text)
    assert admin.get("/queues", headers={"If-None-Match": f'"{tag}"'}).status_code == 200


def test_a_region_answers_anew_when_a_figure_changed(admin: Browser, app: Flask, ends: Any) -> None:
    tag = etag(admin.get("/queues", headers=FRAGMENT).text)
    ends()
    app.extensions["watch"]._made = 0.0  # the next second
    answer = admin.get("/queues", headers={**FRAGMENT, "If-None-Match": f'"{tag}"'})
    assert answer.status_code == 200
    assert etag(answer.text) != tag


@pytest.mark.parametrize(
    "address", ["/", "/queues", "/queues/email", "/tasks", "/workers", "/periodic"]
)
def test_what_one_tab_has_read_another_does_not_read_again(
    admin: Browser, app: Flask, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    watch = app.extensions["watch"]
    monkeypatch.setattr(watch, "view", partial(watch.view, max_age_s=3600))
    assert ", 0 Redis calls" not in admin.get(address).text
    assert ", 0 Redis calls" in admin.get(address).text
    watch.forget()
    assert ", 0 Redis calls" not in admin.get(address).text


@pytest.mark.parametrize("address", ["/queues", "/tasks?sort=task"])
def test_a_long_table_is_shown_in_parts_that_keep_themselves_fresh(
    admin: Browser, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    kind = address.partition("?")[0]
    rows = re.compile(rf'<tr data-href="{kind}/([^"]+)"')
    every = rows.findall(admin.get(address).text)
    monkeypatch.setattr("dashboard.pages.ROWS", 2)
    met, at = [], address
    while at:
        page = admin.get(at).text
        part = rows.findall(page)
        assert 1 <= len(part) <= 2
        assert f"{len(met) + 1} to {len(met) + len(part)} of {len(every)}" in page
        fresh = re.search(rf'hx-get="([^"]*{kind}[^"]*)"', page)
        assert fresh
        assert rows.findall(admin.get(unescape(fresh[1]), headers=FRAGMENT).text) == part
        met += part
        older = re.search(r'rel="next" href="([^"]+)"', page)
        at = unescape(older[1]) if older else ""
    assert met == every
    assert rows.findall(admin.get(f"{kind}?sort=task&cursor=99999").text) == every[:2]


def test_of_many_queues_the_overview_shows_those_that_matter(
    admin: Browser, app: Flask, huey: JobHuey, monkeypatch: pytest.MonkeyPatch, ends: Any
) -> None:
    shown = re.compile(r'<td class="name-cell">\s*<a class="plain" href="/queues/([^"]+)"')
    every = shown.findall(admin.get("/").text)
    assert every == huey.reads.names()
    monkeypatch.setattr("dashboard.views.overview.QUEUES", 2)
    ends()
    huey.commands.pause(every[0], reason="looked at", by="ada")
    app.extensions["watch"].forget()
    assert shown.findall(admin.get("/").text) == [every[0], "maintenance"]


def test_the_table_stands_still_and_counts_what_is_new(admin: Browser, ends: Any) -> None:
    ends()
    page = admin.get("/jobs").text
    fresh = re.search(r'hx-get="(/jobs\?fresh=\d+)"', page)
    assert fresh
    assert "up to date" in admin.get(fresh[1], headers=FRAGMENT).text.lower()
    ends()
    ends()
    assert "2" in re.sub(r"<[^>]+>", "", admin.get(fresh[1], headers=FRAGMENT).text)
