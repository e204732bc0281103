"""What others wrote and we ship is exactly what they published."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

STATIC = Path(__file__).resolve().parents[2] / "dashboard" / "static"
VENDOR = STATIC / "vendor"
ROWS = json.loads((VENDOR / "VENDOR.json").read_text())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_a_vendored_file_has_the_recorded_hash_and_its_licence(row: dict[str, str]) -> None:
    found = (VENDOR / row["file"]).read_bytes()
    assert hashlib.sha256(found).hexdigest() == row["sha256"]
    assert (VENDOR / row["licence_file"]).stat().st_size > 100
    assert re.fullmatch(r"\d+\.\d+\.\d+", row["version"])


def test_nothing_is_vendored_without_a_row() -> None:
    known = {row["file"] for row in ROWS} | {row["licence_file"] for row in ROWS} | {"VENDOR.json"}
    assert {file.name for file in VENDOR.iterdir()} == known


def test_the_style_sheet_loads_nothing_from_elsewhere() -> None:
    sheet = (STATIC / "app.css").read_text()
    assert "@import" not in sheet
    assert not re.search(r"url\(\s*['\"]?(?!data:|#)", sheet)
    assert "http" not in re.sub(r"http://www\.w3\.org/\S+", "", sheet)


def test_every_icon_that_a_template_names_is_in_the_sprite() -> None:
    drawn = set(re.findall(r'<symbol id="([a-z-]+)"', (STATIC / "icons.svg").read_text()))
    templates = STATIC.parent / "templates"
    named = {
        name
        for file in templates.glob("*.html")
        for name in re.findall(r'm\.icon\("([a-z-]+)"', file.read_text())
    }
    from dashboard.rail import PAGES

    named |= {page.icon for page in PAGES}
    assert named - drawn == set()


def test_both_themes_define_the_same_tokens() -> None:
    sheet = (STATIC / "app.css").read_text()
    blocks = re.findall(r"(:root|\[data-theme=.?dark.?\])[^{}]*\{([^{}]*)\}", sheet)
    tokens = [set(re.findall(r"--([a-z0-9-]+):", body)) for _, body in blocks if "--bg" in body]
    assert len(tokens) == 3, "light, dark by choice, dark by the system"
    assert tokens[1] == tokens[2]
    assert tokens[1] <= tokens[0]
