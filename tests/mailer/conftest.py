"""A scripted SMTP server, and the one Huey on a real Redis that sends to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from posting import Post
from scripted_smtp import ScriptedServer

from tasks import settings
from tasks.engine import JobHuey
from tasks.mailer import delivery


@pytest.fixture
def smtp() -> Iterator[ScriptedServer]:
    server = ScriptedServer().start()
    yield server
    server.stop()


@pytest.fixture
def mail_to(
    smtp: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Send mail to the scripted server, and wait so long for each of its replies."""

    def patience(timeout: str) -> None:
        delivery.pool().close()
        delivery.pool.cache_clear()
        monkeypatch.setenv("MAIL_TIMEOUT", timeout)
        settings.reset()

    monkeypatch.setenv("MAIL_SERVER", "127.0.0.1")
    monkeypatch.setenv("MAIL_PORT", str(smtp.port))
    delivery.pool.cache_clear()
    patience("60s")
    yield patience
    delivery.pool().close()
    delivery.pool.cache_clear()


@pytest.fixture
def huey(platform_huey: JobHuey, mail_to: Callable[[str], None]) -> JobHuey:
    """Return the platform's own Huey, whose mail goes to the scripted server."""
    return platform_huey


@pytest.fixture
def post(huey: JobHuey, smtp: ScriptedServer) -> Post:
    return Post(huey, smtp)
