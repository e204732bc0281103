"""Jobs to be searched for: a shop with some of every state, and walks over what is found."""

from __future__ import annotations

from collections.abc import Iterator

from driving import run_all

from tasks.engine import JobFilter, JobHuey, Page, Permanent, current_job
from tasks.engine.records import Job


def ids(page: Page) -> list[str]:
    return [job.id for job in page.items]


def walk(huey: JobHuey, wanted: JobFilter, limit: int = 50) -> Iterator[str]:
    """Walk every page from newest to oldest."""
    cursor = None
    while True:
        page = huey.reads.jobs(wanted, cursor, limit)
        yield from ids(page)
        if page.next is None:
            return
        cursor = page.next


def found_keys(huey: JobHuey) -> set[str]:
    stem = huey.storage.keys.of("found", "")
    return {key.decode().removeprefix(stem) for key in huey.storage.client.keys(stem + "*")}


class Shop:
    """Jobs of several tasks, queues and states, and what each is."""

    def __init__(self, huey: JobHuey) -> None:
        self.huey = huey

        @huey.task(name="send", queue="email", index=("to",), retries=1, retry_delay=3600)
        def send(to: str, text: str) -> None:
            if text.startswith("refuse"):
                raise Permanent(f"550 5.1.1 {to} is unknown")
            if text.startswith("later"):
                raise ConnectionError("no answer in 10 s")

        @huey.task(name="count", index=("user",))
        def count(user: int, how: str = "") -> None:
            current_job().log("counted")
            if how == "break":
                raise KeyError("course")

        self.send, self.count = send, count

    def fill(self) -> list[Job]:
        """Return jobs of every state."""
        calls = [self.send.s(f"p{n % 7}@example.org", f"{text} {n}")
                 for n, text in enumerate(("hello", "refuse", "later", "hello") * 10)]  # fmt: skip
        calls += [self.count.s(n % 5, "break" if n % 3 == 0 else "") for n in range(40)]
        self.huey.enqueue_many(calls)
        run_all(self.huey)
        for n in range(20):
            self.count.schedule((n,), delay=3600)
        waiting = [self.send(f"p{n}@example.org", "hello") for n in range(9)]
        self.huey.commands.cancel([result.id for result in waiting[:4]])
        self.huey.commands.tag([result.id for result in waiting[2:6]], "vip")
        return [self.huey.reads.job(job_id) for job_id in walk(self.huey, JobFilter())]
