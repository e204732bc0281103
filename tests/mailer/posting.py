"""Short ways to send mails, to let a worker die, and to look what became of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from email import message_from_bytes
from pathlib import Path
from typing import Any

from driving import run_all, run_one
from scripted_smtp import ScriptedServer
from sqlalchemy import func, select
from waiting import PATIENCE_S

from tasks import database as db
from tasks import outbox, settings
from tasks.engine import CurrentJob, Job, JobHuey
from tasks.engine.current import RUNNING
from tasks.mailer import models
from tasks.mailer.messages import email_type


class Crash(BaseException):
    """The worker is gone, as by SIGKILL."""


class Doomed(CurrentJob):
    """A running job that something happens to when it says a step, sets a mark or tells of a fault."""

    at: dict[str, Callable[[], Any]]

    def progress(self, percent: int, message: str = "") -> None:
        super().progress(percent, message)
        self.at.get(message, lambda: None)()

    def mark(self, name: str, value: str = "1") -> bool:
        kept = super().mark(name, value)
        self.at.get(name, lambda: None)()
        return kept

    def fault(self, reason: str, *, open_now: bool = False) -> None:
        super().fault(reason, open_now=open_now)
        self.at.get("fault", lambda: None)()


@dataclass
class Post:
    """Sends mails of any type and asks what became of them."""

    huey: JobHuey
    smtp: ScriptedServer

    def send(self, type: str = "welcome", to: str = "ada@example.org", *, ref: str | None = None,  # noqa: A002
             data: dict[str, Any] | None = None, **options: Any) -> Any:  # fmt: skip
        from tasks import emails

        message = emails.Message(
            type=type, to=to, data={**email_type(type).sample, **(data or {})}, ref=ref
        )
        queued = emails.send(message, **options)
        assert outbox.settle(PATIENCE_S)
        return queued

    def run(self, type: str = "welcome", **options: Any) -> Any:  # noqa: A002
        """Send a mail and run its job once."""
        queued = self.send(type, **options)
        run_one(self.huey)
        return queued

    def again(self, queued: Any) -> None:
        """Run a mail's job that waits for its next attempt."""
        assert self.huey.commands.run_now([queued.job_id])[0].done
        assert run_all(self.huey) == [queued.job_id]

    def mail(self, queued: Any) -> models.EmailMessage:
        with db.reading() as session:
            found = session.get(models.EmailMessage, queued.email_id)
            assert found is not None
            return found

    def tries(self, queued: Any) -> list[models.EmailAttempt]:
        with db.reading() as session:
            return models.attempts(session, queued.email_id)

    def job(self, queued: Any) -> Job:
        return self.huey.reads.job(queued.job_id)

    def change(self, queued: Any, **values: Any) -> None:
        with db.session() as session:
            for name, value in values.items():
                setattr(session.get(models.EmailMessage, queued.email_id), name, value)

    def count(self, model: Any) -> int:
        with db.reading() as session:
            return session.scalar(select(func.count()).select_from(model)) or 0

    def suppressed(self, address: str = "ada@example.org") -> Any:
        with db.reading() as session:
            return models.suppressed(session, address)

    def due(self, queued: Any) -> datetime | None:
        """Return when its next attempt is due."""
        return self.job(queued).scheduled_for

    def other_worker(self) -> JobHuey:
        """Return a second process's view of the same queues."""
        from tasks import emails, queues

        other = queues.build(settings.get())
        other.task(queue="email", retries=4, secret=("private",), index=("to",),
                   name="deliver_email")(emails.deliver_email.func)  # fmt: skip
        return other

    def doom(self, **at: Callable[[], Any]) -> BaseException | None:
        """Run the next job in a worker that dies, or whose life takes a turn, at a step.

        Keys are mark names, or progress messages with _ for blanks. Returns: what was raised.
        """
        worker = self.other_worker()
        task = worker.dequeue()
        handed = worker._current(task, task.handed)
        job = Doomed(**{f.name: getattr(handed, f.name) for f in fields(CurrentJob)})
        job.at = {step.replace("_", " "): act for step, act in at.items()}
        token = RUNNING.set(job)
        self.worker = worker
        try:
            task.execute()
        except BaseException as exc:
            return exc
        finally:
            RUNNING.reset(token)
            with contextlib.suppress(Exception):
                worker.lease.close()
            worker.storage.close()
        return None


def crash() -> None:
    raise Crash


def message_ids(smtp: ScriptedServer) -> list[str]:
    return [str(message_from_bytes(one.mail)["Message-ID"]) for one in smtp.accepted]


def everything_kept(post: Post, folder: Path) -> list[bytes]:
    """Return every value of Redis, whatever its type, and the database's files."""
    client, found = post.huey.storage.client, []
    for key in client.scan_iter("*"):
        found += [key, client.dump(key) or b"", repr(read_key(client, key)).encode()]
    return found + [path.read_bytes() for path in folder.glob("app.db*")]


def read_key(client: Any, key: bytes) -> Any:
    kind = client.type(key).decode()
    return {
        "string": lambda: client.get(key), "hash": lambda: client.hgetall(key),
        "list": lambda: client.lrange(key, 0, -1), "set": lambda: client.smembers(key),
        "zset": lambda: client.zrange(key, 0, -1, withscores=True),
        "stream": lambda: client.xrange(key),
    }[kind]()  # fmt: skip
