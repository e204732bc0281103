"""The demo's data and traffic: made through the services, with every kind of mail in it."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import make_server

from demo import traffic as module
from demo.seed import COURSES, PEOPLE, seed
from tasks import settings
from tasks.domain import Course, Payment, User


@pytest.fixture
def web(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    monkeypatch.setenv("PORT", str(server.port))
    settings.reset()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_seed_makes_courses_and_people_once(platform: Any) -> None:
    first = seed()
    assert (first.courses, first.people) == (len(COURSES), len(PEOPLE))
    assert seed() == first
    assert platform.mails() == []
    assert {course.currency for course in platform.all(Course)} == {"EUR"}


@pytest.mark.slow(reason="a hundred steps of people, each with a commit")
def test_traffic_makes_every_kind_of_mail_but_reminders(
    platform: Any, web: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEARNS_FOR", timedelta(0))
    seed()
    traffic = module.Traffic(random.Random(7))
    for _ in range(120):
        traffic.step()
    assert {mail.type for mail in platform.mails()} == {
        "verification_code", "password_reset", "welcome", "payment_receipt", "course_completion",
    }  # fmt: skip
    assert len([user for user in platform.all(User) if user.state == "active"]) > len(PEOPLE)
    assert {"succeeded"} < {payment.state for payment in platform.all(Payment)}


def test_traffic_goes_on_when_the_web_is_away(
    platform: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PORT", "9")
    settings.reset()
    traffic = module.Traffic(random.Random(7))
    traffic.do(traffic.register)
    assert "register: <urlopen error" in caplog.text
