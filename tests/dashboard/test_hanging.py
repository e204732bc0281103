"""A Redis that takes connections and answers nothing: every address answers, and says so."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from addresses import rules
from browsing import Browser
from flask import Flask
from waiting import PATIENCE_S

from tasks.emails import Message, send
from tasks.engine import JobHuey

SILENT = ("/emails/1/body", "/emails/preview/body", "/jobs/suggest")  # from SQL, or from nothing
SAID = ("Redis unreachable since", "Redis cannot be reached", "Redis does not answer")
ALSO = ("/jobs?q=args.to:x&status=failed", "/jobs?fresh=0", "/operations/new?kind=retry&status=failed",
        "/jobs/new?task=demo", "/jobs/suggest?q=task:", "/alerts/new?measure=waiting")  # fmt: skip


@pytest.fixture
def hangs(admin: Browser, app: Flask, huey: JobHuey, redis_server: Any) -> Iterator[list[int]]:
    """Stop the server in its tracks; return a list that grows with each wait for an answer."""
    send(Message(type="welcome", to="a@example.org", data={"name": "Ada", "course": "Logic"}))
    admin.get("/")
    waits: list[int] = []
    scripts, pool = huey.storage.scripts, huey.storage.client.connection_pool
    noted, rest_s, timeout = scripts.note_away, scripts.rest_s, pool.connection_kwargs["socket_timeout"]  # fmt: skip

    def note_away() -> None:
        waits.append(1)
        noted()

    pool.reset()
    pool.connection_kwargs["socket_timeout"] = 0.02  # it never answers, however long one waits
    scripts.rest_s, scripts.note_away = PATIENCE_S * 10, note_away  # type: ignore[method-assign]
    redis_server.process.send_signal(signal.SIGSTOP)
    yield waits
    redis_server.process.send_signal(signal.SIGCONT)
    pool.reset()
    pool.connection_kwargs["socket_timeout"] = timeout
    scripts.rest_s, scripts.note_away = rest_s, noted  # type: ignore[method-assign]
    scripts._away_until = 0.0


def test_every_address_waits_once_for_a_redis_that_hangs_and_says_so(
    hangs: list[int], app: Flask, admin: Browser, huey: JobHuey
) -> None:
    addresses = [
        address for _, address in rules(app, "GET") if not address.startswith("/api/academy")
    ]
    found = {}
    for address in [*addresses, *ALSO]:
        huey.storage.scripts._away_until, app.extensions["watch"]._made = 0.0, 0.0
        hangs.clear()
        answer = admin.get(address)
        page = answer.mimetype == "text/html" and answer.status_code in (200, 503)
        told = address in SILENT or not page or any(word in answer.text for word in SAID)
        if answer.status_code not in (200, 303, 302, 400, 404, 503) or len(hangs) > 1 or not told:
            found[address] = (answer.status_code, len(hangs), told)
    assert found == {}
    assert len(addresses) > 80
