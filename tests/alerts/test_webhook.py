"""Webhooks: signed and bounded, to a checked public address alone, tried again only where it may help."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from alerting import Hook, deliver, make_hook, make_rule, notices
from driving import Span, run_one
from waiting import PATIENCE_S

from tasks import database as db
from tasks import settings
from tasks.alerts import evaluation, models, sending, webhook
from tasks.alerts.measures import Seen
from tasks.alerts.webhook import NotSent
from tasks.database import utcnow
from tasks.engine import JobHuey, State

SECRET = "a secret of some length"


def fire(channel: models.AlertChannel) -> models.AlertNotice:
    """Let a rule fire that tells a channel."""
    rule = make_rule("waiting", threshold=10, for_minutes=0, channels=[channel.id])
    with db.session() as session:
        evaluation.settle(session, rule.id, Seen(11), utcnow().replace(second=0, microsecond=0))
    return notices()[-1]


def again(huey: JobHuey, notice: models.AlertNotice) -> None:
    """Run a notice's job that waits for its next try."""
    assert huey.commands.run_now([notice.job_id])[0].done
    run_one(huey)


# What is sent


def test_a_notice_is_signed_json_that_the_receiver_can_check(huey: JobHuey, hook: Hook) -> None:
    notice = fire(make_hook(hook.url, SECRET))
    deliver(huey)
    head, body = hook.got[0]
    expected = hmac.new(
        SECRET.encode(), head["X-Jobdeck-Timestamp"].encode() + b"." + body, hashlib.sha256
    )
    assert head["X-Jobdeck-Signature"] == f"sha256={expected.hexdigest()}"
    assert (head["X-Jobdeck-Event"], head["Content-Type"]) == ("fired", "application/json")
    assert head["Idempotency-Key"] == f"jobdeck-alert-{notice.id}"
    assert head["Host"] == hook.url.split("/")[2]
    found = json.loads(body)
    assert set(found) == {"id", "event", "sent_at", "text", "url", "incident"}
    assert found["incident"]["unit"] == "jobs"
    assert found["text"].startswith("Firing: waiting rule. Waiting jobs: 11 jobs, over 10 jobs")
    assert SECRET not in body.decode()


def test_no_secret_of_a_channel_is_in_redis_or_in_sql_as_it_is(huey: JobHuey, hook: Hook) -> None:
    notice = fire(make_hook(hook.url, SECRET))
    deliver(huey)
    assert list(huey.reads.job(notice.job_id).args) == [notice.id]
    with db.reading() as session:
        (channel,) = models.channels(session)
    assert SECRET not in channel.sealed
    assert "secret-path" not in channel.sealed + channel.host


# Tries


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_what_may_be_answered_otherwise_later_is_tried_again_with_the_same_key(
    huey: JobHuey, hook: Hook, status: int
) -> None:
    hook.answers = [(status, {"Retry-After": "7"}), (204, {})]
    notice = fire(make_hook(hook.url))
    with Span() as span:
        deliver(huey)
    job = huey.reads.job(notice.job_id)
    assert job.state is State.RETRYING
    assert (notices()[0].state, notices()[0].detail[:3]) == ("queued", str(status))
    assert span.ahead(job.scheduled_for, 3, 7)
    again(huey, notice)
    assert notices()[0].state == "sent"
    assert len({head["Idempotency-Key"] for head, _ in hook.got}) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_what_no_try_mends_ends_at_once(huey: JobHuey, hook: Hook, status: int) -> None:
    hook.answers = [(status, {})]
    notice = fire(make_hook(hook.url))
    deliver(huey)
    assert huey.reads.job(notice.job_id).state is State.FAILED
    assert (notices()[0].state, notices()[0].attempts) == ("failed", 1)
    assert str(status) in notices()[0].detail


def test_after_five_tries_it_is_given_up(huey: JobHuey, hook: Hook) -> None:
    hook.answers = [(503, {})]
    notice = fire(make_hook(hook.url))
    deliver(huey)
    for _ in range(4):
        again(huey, notice)
    assert huey.reads.job(notice.job_id).state is State.FAILED
    assert (notices()[0].state, notices()[0].attempts, len(hook.got)) == ("failed", 5, 5)


def test_a_redirect_is_not_followed(huey: JobHuey, hook: Hook) -> None:
    hook.answers = [(302, {"Location": "http://169.254.169.254/latest/meta-data"})]
    fire(make_hook(hook.url))
    deliver(huey)
    assert len(hook.got) == 1
    assert "a redirect is not followed" in notices()[0].detail


def test_a_job_that_runs_twice_sends_once(huey: JobHuey, hook: Hook) -> None:
    notice = fire(make_hook(hook.url))
    deliver(huey)
    huey.commands.retry([notice.job_id])
    run_one(huey)
    assert len(hook.got) == 1


def test_a_channel_that_is_gone_is_told_nothing(huey: JobHuey, hook: Hook) -> None:
    notice = fire(make_hook(hook.url))
    with db.session() as session:
        session.delete(session.get(models.AlertChannel, notice.channel_id))
    deliver(huey)
    assert hook.got == []
    assert huey.reads.job(notice.job_id).state is State.COMPLETED


def test_a_test_says_that_it_is_one(huey: JobHuey, hook: Hook) -> None:
    channel = make_hook(hook.url)
    with db.session() as session:
        found = session.get(models.AlertChannel, channel.id)
        assert found is not None
        sending.test(session, found)
        sending.test(session, found)
    deliver(huey)
    assert [(body["event"], body["incident"]) for body in hook.bodies()] == [("test", None)] * 2
    with db.reading() as session:
        assert models.tests(session)[channel.id].state == "sent"


def test_a_key_that_is_gone_is_said_and_not_tried_again(
    huey: JobHuey, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.keyring import new_key

    fire(make_hook(hook.url))
    monkeypatch.setenv("JOB_ENCRYPTION_KEYS", new_key())
    settings.reset()
    deliver(huey)
    assert notices()[0].state == "failed"
    assert "no key of JOB_ENCRYPTION_KEYS" in notices()[0].detail


# Where it may go

PRIVATE = ["127.0.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
           "255.255.255.255", "192.0.2.1", "::1", "::", "fc00::1", "fe80::1", "fe80::1%eth0", "ff02::1", "::ffff:127.0.0.1",
           "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:5ef5:79fd::80ff:fffe", "2002:a00:1::1", "64:ff9b::a9fe:a9fe"]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_public_is_told_apart(address: str) -> None:
    assert not webhook.is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::101:101"]
)
def test_what_is_public_is_let_through(address: str) -> None:
    assert webhook.is_public(address)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]"],
)
def test_no_name_or_spelling_of_this_machine_is_reached(
    huey: JobHuey, hook: Hook, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("ALERT_PRIVATE_WEBHOOKS", "0")
    settings.reset()
    port = hook.url.split(":")[2].split("/")[0]
    fire(make_hook(f"http://{host}:{port}/x"))
    deliver(huey)
    assert hook.got == []
    assert notices()[0].state == "failed"
    assert "not public" in notices()[0].detail


def test_a_name_with_one_private_address_among_public_ones_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers(monkeypatch, ["93.184.215.14", "10.0.0.1"])
    with pytest.raises(
        NotSent, match=r"rebind.example is 10.0.0.1, an address that is not public"
    ) as seen:
        webhook.post("https://rebind.example/", b"{}", {})
    assert not seen.value.again


def test_a_name_is_resolved_once_and_the_checked_address_is_the_connected_one(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answers(monkeypatch, ["127.0.0.1"], ["10.9.9.9"])
    port = hook.url.split(":")[2].split("/")[0]
    assert webhook.post(f"http://rebind.example:{port}/", b"{}", {}, private=True) == "200 OK"
    assert asked == ["rebind.example"]
    assert hook.got[0][0]["Host"] == f"rebind.example:{port}"


def answers(monkeypatch: pytest.MonkeyPatch, *turns: list[str]) -> list[str]:
    """Let names resolve to these addresses, in turn. Returns: the names that were asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if not str(host).endswith(".example"):
            return real(host, port, *args, **options)
        asked.append(host)
        found = turns[min(len(asked), len(turns)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "begins https"), ("hooks.example.org", "begins https"), ("ftp://x.example/", "begins https"),
        ("file:///etc/passwd", "begins https"), ("https:///x", "begins https"), ("gopher://x.example", "begins https"),
        ("https://me:pass@x.example/", "without a name and password"), ("https://@x.example/", "without a name"),
        ("https://x.example:99999/", "this is no URL"), ("https://x.example:0/", "host name and port"),
        ("https://x.example/a b", "plain characters"), ("https://x.example/\r\nX: y", "plain characters"),
        ("https://x.example\\@127.0.0.1/", "plain characters"), ("https://ex ample/", "plain characters"),
        ("https://ä.example/", "plain characters"), ("https://x.example/" + "a" * 1000, "at most 1000"),
        ("https://x..example-/", "host name"), ("https://[::1", "this is no URL"), ("https://a%41.example/", "host name"),
    ],
)  # fmt: skip
def test_an_url_that_cannot_be_is_told_why(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        webhook.parse(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [("https://hooks.example.org/T0/B1/xyz", "https://hooks.example.org/••••"), ("https://x.example", "https://x.example/"),
     ("http://x.example:8080/?token=1", "http://x.example:8080/••••"), ("https://[2606:4700::1]/a", "https://[2606:4700::1]/••••")],
)  # fmt: skip
def test_of_an_url_only_the_host_is_shown(url: str, shown: str) -> None:
    assert webhook.shown(url) == shown


# Servers that misbehave


@pytest.fixture
def rude() -> Iterator[str]:
    """Give a server that takes one connection and answers a byte now and then, to the test's end."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(PATIENCE_S)  # who waits in accept is not woken by a close
    stop = threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError):  # who asked has gone
            found, _ = listener.accept()
            with found:
                while not stop.wait(0.05):
                    found.sendall(b"H")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    stop.set()
    thread.join()
    listener.close()


def test_a_server_that_answers_a_byte_at_a_time_is_cut(
    rude: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "WHOLE_S", 0.5)
    with pytest.raises(NotSent) as seen:
        webhook.post(rude, b"{}", {}, private=True)
    assert seen.value.again


def test_nobody_there_is_tried_again(huey: JobHuey) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # nobody else comes to listen there meanwhile
        notice = fire(make_hook(f"http://127.0.0.1:{deaf.getsockname()[1]}/"))
        deliver(huey)
    assert huey.reads.job(notice.job_id).state is State.RETRYING
    assert "refused" in notices()[0].detail


def test_https_is_checked_against_the_hosts_own_name(hook: Hook) -> None:
    with pytest.raises(NotSent, match="SSL|TLS|ssl|wrong version|record"):
        webhook.post(hook.url.replace("http:", "https:"), b"{}", {}, private=True)
