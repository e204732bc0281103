"""Static files are kept by a browser for as long as they hold what their address says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from browsing import Browser
from flask import Flask

ASKED = re.compile(r'(?:href|src)="(/static/[^"#]+)')


def test_each_file_of_a_page_is_kept_for_a_year_under_the_address_of_its_content(
    admin: Browser,
) -> None:
    found = set(ASKED.findall(admin.get("/").text))
    assert {address.partition("?")[0] for address in found} >= {
        "/static/app.css", "/static/app.js", "/static/icons.svg", "/static/favicon.svg",
        "/static/vendor/htmx.min.js", "/static/vendor/idiomorph-ext.min.js",
    }  # fmt: skip
    for address in found:
        with admin.get(address) as answer:
            assert answer.status_code == 200
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


def test_an_address_that_does_not_tell_the_content_is_asked_for_again(admin: Browser) -> None:
    for address in ("/static/app.css", "/static/app.css?v=000000000000", "/static/none.css?v="):
        with admin.get(address) as answer:
            assert "immutable" not in answer.headers.get("Cache-Control", ""), address


def test_another_content_has_another_address(
    admin: Browser, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: dict[str, Any] = app.extensions["assets"]
    before = admin.get("/").text
    assert f"/static/app.css?v={known['app.css']}" in before
    monkeypatch.setitem(known, "app.css", "0" * 12)
    assert "/static/app.css?v=000000000000" in admin.get("/").text
