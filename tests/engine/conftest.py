"""What several files of the engine's tests share."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from consumers import Consumers

from tasks.engine import new_id


@pytest.fixture
def consumers(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Consumers]:
    monkeypatch.setenv("APP_NAME", f"app-{new_id()}")
    monkeypatch.setenv("APP_REDIS", redis_url)
    sys.modules.pop("apps.crashing", None)  # a Huey of its own for each test
    found = Consumers(importlib.import_module("apps.crashing"), tmp_path)
    yield found
    found.end()
    found.huey.lease.close()
    found.huey.storage.flush_all()
    found.huey.storage.close()
