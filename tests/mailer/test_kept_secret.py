"""Nothing is smuggled into a mail, and what is secret in it is readable nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from driving import run_one
from posting import Post, everything_kept
from scripted_smtp import ScriptedServer

from tasks import database as db
from tasks import emails, outbox
from tasks.mailer import models
from tasks.mailer.messages import BY_NAME


@pytest.mark.parametrize(
    "smuggled", ["Ada\r\nBcc: eve@example.org", "Ada\nX: y", "Ada\x00", "Ada\u2028Bcc: x"]
)
def test_a_header_cannot_be_smuggled_in(post: Post, smuggled: str) -> None:
    for options in (
        {"data": {"course": smuggled}}, {"data": {"name": smuggled}},
        {"to": f"{smuggled}@example.org"}, {"to": f"ada@example.org{smuggled[3:]}"},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            post.send(**options)
    assert post.count(models.EmailMessage) == post.count(outbox.OutboxRow) == 0


SECRETS = [
    ("verification_code", {"code": "Zq7Xw9Kd"}, "Zq7Xw9Kd"),
    ("password_reset", {"url": "https://academy.example/reset/Zq7Xw9Kd"}, "Zq7Xw9Kd"),
]
ENDS: dict[str, dict[str, str]] = {
    "waiting": {}, "sent": {}, "refused": {"rcpt": "550 5.1.1 nobody"},
    "deferred": {"rcpt": "451 4.2.1 not now"}, "lost": {"dot": "drop"},
}  # fmt: skip


@pytest.mark.parametrize(("type", "data", "secret"), SECRETS)
@pytest.mark.parametrize("end", ENDS)
def test_a_secret_is_readable_nowhere_but_in_the_mail(
    post: Post, smtp: ScriptedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    type: str, data: dict[str, str], secret: str, end: str,  # noqa: A002
) -> None:  # fmt: skip
    caplog.set_level("DEBUG")
    smtp.next(**ENDS[end])
    queued = post.send(type, data=data)
    if end != "waiting":
        run_one(post.huey)
    kept = everything_kept(post, tmp_path)
    assert any(b"ada@example.org" in blob for blob in kept)
    assert not any(secret.encode() in blob for blob in kept)
    job, mail = post.job(queued), post.mail(queued)
    shown = [
        repr(job),
        repr(vars(mail)),
        caplog.text,
        *(repr(vars(one)) for one in post.tries(queued)),
    ]
    assert secret not in "".join(shown)
    assert post.count(models.EmailBody) == 0
    if end == "sent":
        assert secret not in mail.subject
        assert secret.encode() in smtp.accepted[0].mail.replace(b"=\r\n", b"")


def test_a_secret_that_no_longer_fits_its_type_is_not_named(
    post: Post, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queued = post.send("verification_code")
    task = emails.deliver_email.s(queued.email_id, "verification_code", "ada@example.org", {},
                                  {"code": "Zq7Xw9Kd-no-code"})  # fmt: skip
    post.huey.dequeue()
    post.huey.enqueue(task)
    run_one(post.huey)
    error = post.huey.reads.job(task.id).error
    assert error.message.startswith("the mail cannot be rendered: code: ")
    assert not any(b"Zq7Xw9Kd" in blob for blob in everything_kept(post, tmp_path))
    assert "Zq7Xw9Kd" not in caplog.text
    assert (post.mail(queued).state, post.mail(queued).reason) == ("failed", "template")


def test_a_body_is_kept_of_types_without_secrets_alone(post: Post) -> None:
    for type in BY_NAME:  # noqa: A001
        queued = post.run(type)
        with db.reading() as session:
            body = models.body(session, queued.email_id)
        assert (body is not None) == (not BY_NAME[type].secret), type
