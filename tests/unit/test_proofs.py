"""docs/proofs.md names tests, drills and benchmarks that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMES = re.compile(r"`([a-z0-9_-]+)`")


def found(pattern: str, *files: str) -> set[str]:
    """Return what a pattern names in files."""
    paths = [path for one in files for path in ROOT.glob(one)]
    return {name for path in paths for name in re.findall(pattern, path.read_text())}


def test_each_proof_that_is_named_is_there() -> None:
    lines = (ROOT / "docs" / "proofs.md").read_text().splitlines()
    rows = [line.split("|")[2] for line in lines if line.startswith("| ")]
    named = {name for row in rows for name in NAMES.findall(row)}
    tests = found(r"def test_(\w+)", "tests/*/test_*.py")
    drills = found(r"def (\w+)\(stage: Stage", "benchmarks/drills/*.py")
    benchmarks = found(r'"([a-z0-9-]+)":', "benchmarks/__main__.py")
    assert len(named) > 100
    assert named - tests - drills - benchmarks == set()
