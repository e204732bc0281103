"""Channels of alerts: made, tested, sealed, deleted, and what is wrong in one told."""

from __future__ import annotations

import re

import pytest
from alerting import audit, make_hook, make_rule, notices, rule_of, text
from browsing import Browser
from driving import run_all
from waiting import PATIENCE_S

from tasks import database as db
from tasks import outbox
from tasks.alerts import models
from tasks.engine import JobFilter, JobHuey


def test_a_mail_channel_is_made_tested_and_deleted(admin: Browser, huey: JobHuey) -> None:
    assert "One a line" in admin.get("/alerts/channels/new?kind=mail").text
    form = {
        "kind": "mail",
        "name": "On call",
        "addresses": "ops@example.org, boss@example.org\nops@example.org",
    }
    answer = admin.post("/alerts/channels/new", form)
    assert answer.status_code == 303
    with db.reading() as session:
        (channel,) = models.channels(session)
    assert channel.to == ["ops@example.org", "boss@example.org"]
    admin.post(f"/alerts/channels/{channel.id}/test")
    (notice,) = notices()
    assert (notice.event, notice.kind) == ("test", "mail")
    assert outbox.settle(PATIENCE_S)
    waiting = huey.reads.jobs(JobFilter(queue="email")).items
    assert sorted(str(job.args[2]) for job in waiting) == ["boss@example.org", "ops@example.org"]
    assert "is on its way" in admin.get(f"/alerts/channels/{channel.id}").text
    rule = make_rule("waiting", name="Backlog", channels=[channel.id])
    assert (
        "1 rule will tell one channel less: Backlog"
        in admin.get(f"/alerts/channels/{channel.id}/delete").text
    )
    admin.post(f"/alerts/channels/{channel.id}/delete")
    assert rule_of(rule).channels == []


def test_a_webhooks_url_and_secret_are_sealed_masked_and_kept(admin: Browser) -> None:
    form = {
        "kind": "webhook",
        "name": "Chat",
        "url": "https://hooks.example.org/T0/secret-path",
        "secret": "",
    }
    page = admin.post("/alerts/channels/new", form).text
    made = re.search(r'value="(whsec_[^"]+)"', page)
    assert made, "a secret that is made here is shown once"
    with db.reading() as session:
        (channel,) = models.channels(session)
    assert "secret-path" not in channel.sealed
    page = admin.get(f"/alerts/channels/{channel.id}").text
    assert "https://hooks.example.org/••••" in page
    assert "secret-path" not in page
    assert made[1] not in page
    admin.post(
        f"/alerts/channels/{channel.id}",
        form | {"name": "Team", "url": channel.host, "secret": "••••"},
    )
    from tasks.alerts.opening import opened

    with db.reading() as session:
        (channel,) = models.channels(session)
    assert channel.name == "Team"
    assert opened(channel) == {"url": form["url"], "secret": made[1]}
    assert all("secret-path" not in str(row) and made[1] not in str(row) for row in audit())


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"kind": "mail", "addresses": ""}, "at least one address"),
        ({"kind": "mail", "addresses": "nobody"}, "is no address"),
        ({"kind": "webhook", "url": "ftp://x.example"}, "begins https"),
        ({"kind": "webhook", "url": "https://a:b@x.example/"}, "without a name and password"),
        (
            {"kind": "webhook", "url": "https://x.example/", "secret": "short"},
            "at least 16 characters",
        ),
    ],
)
def test_a_channel_that_cannot_be_is_told_why(
    admin: Browser, form: dict[str, str], said: str
) -> None:
    answer = admin.post("/alerts/channels/new", {"name": "Chat", **form})
    assert answer.status_code == 422
    assert said in answer.text


def test_a_test_that_fails_says_what_the_server_said(admin: Browser, huey: JobHuey) -> None:
    channel = make_hook("http://127.0.0.1:1/hook")
    admin.post(f"/alerts/channels/{channel.id}/test")
    run_all(huey)
    page = admin.get(f"/alerts/channels/{channel.id}").text
    assert "not public" in page
    assert "failed" in text(admin.get("/alerts").text)
