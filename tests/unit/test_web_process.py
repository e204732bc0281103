"""What gunicorn.conf.py does to a web process before its first page."""

from __future__ import annotations

import gc
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def collector() -> Iterator[None]:
    """Give the tests that follow the collector they had."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("collector")
def test_a_web_process_leaves_what_it_imported_to_no_collection_of_a_page() -> None:
    spec = importlib.util.spec_from_file_location("gunicorn_conf", ROOT / "gunicorn.conf.py")
    assert spec
    assert spec.loader
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    many = len(gc.get_objects())
    conf.post_worker_init(None)
    assert gc.get_freeze_count() > many / 2
    assert len(gc.get_objects()) < many / 10
