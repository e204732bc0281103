"""What the pages cost: server time of each with few and with many jobs, through the real web process.

200 queues, 500 tasks, 20 error groups; all jobs have failed, and each minute of the last day has
figures. One process asks both apps in turn, each beside a Redis of its own. A page is asked as by one
viewer who looks every two seconds, by a clock that is put on: what the web process remembers grows old
as it would. Nothing is answered 304 but in the last table.

PAGES_KEPT names a folder in which the filled servers are kept for the next run.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import redis
from flask import Flask
from werkzeug.test import EnvironBuilder

from benchmarks.filling import fill
from benchmarks.stage import server, table
from tasks.engine import JobFilter, JobHuey, Queue, State
from tasks.engine.rows import score

QUEUES, TASKS, GROUPS = 200, 500, 20
FEW, SOME, MILLION = 10_000, 50_000, 1_000_000
ASKED = int(os.environ.get("PAGES_ASKED", "60"))
DAY_MINUTES, BUSY = 1440, 100  # tasks that ran in each minute of the last day
LOOK_S = 2.0
KEPT = "7d/9000000"
EMAIL, PASSWORD = "ada@example.org", secrets.token_hex(12)


@dataclass(frozen=True, slots=True)
class Asked:
    """A page: its address, and the most milliseconds of p95 that the goals give it; 0 for none."""

    name: str
    address: str
    goal_ms: int = 0


# The jobs


def opened(url: str) -> tuple[JobHuey, list[Any]]:
    """Return a Huey with its queues, and its tasks."""
    queues = [Queue(f"queue_{n:03d}", retention=KEPT, retention_failed=KEPT) for n in range(QUEUES)]
    huey = JobHuey("bench", url=url, queues=queues)
    huey.commands.configure()
    made = [
        huey.task(name=task_name(n), queue=f"queue_{n % QUEUES:03d}", index=("to",))(_nothing)
        for n in range(TASKS)
    ]
    return huey, made


def task_name(n: int) -> str:
    """Return the name of a task."""
    return f"shop.part_{n % 25:02d}.task_{n:03d}"


def _nothing(number: int, to: str) -> None: ...


def calls(made: list[Any], jobs: int) -> Iterator[Any]:
    """Return calls spread over the tasks, ten for each address."""
    return (made[n * 7 % TASKS].s(n, f"person{n // 10}@example.org") for n in range(jobs))


def figures(huey: JobHuey) -> None:
    """Write the figures of each minute of the last day, and roll them up as housekeeping does."""
    at, dice, key = huey.reads.now_ms(), random.Random(7), huey.storage.keys.of
    for back in range(1, DAY_MINUTES):
        fields: list[object] = []
        for n in dice.sample(range(TASKS), BUSY):
            name = f"queue_{n % QUEUES:03d}|{task_name(n)}|"
            fields += [f"{name}n", 5, f"{name}w{dice.randint(3, 9)}", 5, f"{name}c{dice.randint(8, 14)}", 4,
                       f"{name}f{dice.randint(8, 14)}", 1, f"queue_{n % QUEUES:03d}||p12", 5]  # fmt: skip
        huey.storage.call("HSET", key("minute", str(at // 60000 - back)), *fields)
    huey.storage.call("DEL", huey.storage.keys.one("rolled"))
    while huey.reads.buckets.roll(at, 1000):
        pass


def filled(url: str, folder: Path, jobs: int) -> tuple[JobHuey, redis.Redis]:
    """Return a Huey on a Redis that holds so many failed jobs, and one that waits for each task."""
    client = redis.Redis.from_url(url, socket_timeout=600)
    while True:  # what was kept is read first
        with contextlib.suppress(redis.exceptions.BusyLoadingError):
            client.ping()
            break
        time.sleep(0.2)
    huey, made = opened(url)
    if not client.dbsize() or not huey.reads.size(JobFilter()):
        fill(huey, calls(made, jobs), fail_each=1, groups=GROUPS)
        huey.enqueue_many([task.s(n, f"person{n}@example.org") for n, task in enumerate(made)])
        if os.environ.get("PAGES_KEPT"):
            client.save()
    figures(huey)
    return huey, client


# The pages


def addresses(huey: JobHuey) -> list[Asked]:
    """Return the pages that are asked, with jobs of this Redis."""
    failed = JobFilter(state=State.FAILED)
    newest, oldest = huey.reads.jobs(failed).items[25], huey.reads.jobs(failed, "n0").items[-1]
    assert newest.changed_at
    assert oldest.changed_at
    middle = (score(newest.changed_at) + score(oldest.changed_at)) // 2
    group = huey.reads.error_groups().items[3].id
    within = urlencode({"at": score(newest.changed_at), "in": "status=failed"})
    return [
        Asked("overview", "/", 50),
        Asked("job list, first page", "/jobs?status=failed", 80),
        Asked("job list, in the middle", f"/jobs?status=failed&cursor=o{middle}", 80),
        Asked("jobs in every state", "/jobs", 80),
        Asked("task and error group", f"/jobs?q=task:{task_name(7)} group:{group}", 150),
        Asked("queue and error group", f"/jobs?q=queue:queue_007 group:{group}", 150),
        Asked("search by address", "/jobs?q=to:person7@example.org", 150),
        Asked("error groups", "/errors"),
        Asked("an error group", f"/errors/{group}"),
        Asked("a job", f"/jobs/{newest.id}", 40),
        Asked("a job of a list, with arrows", f"/jobs/{newest.id}?{within}"),
        Asked("queues", "/queues"),
        Asked("tasks", "/tasks"),
    ]  # fmt: skip


class Clock:
    """The time that the web process goes by for what it remembers: it is put on, not waited for."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        """Return seconds."""
        return time.monotonic() + self.ahead_s


CLOCK = Clock()


@dataclass(frozen=True, slots=True)
class Cost:
    """What a look cost: ms until its last byte, ms of the processor in this thread, calls of Redis."""

    ms: float
    cpu_ms: float
    calls: int


class Viewer:
    """One operator with one page open; `ask` is timed from the request's environment to its last byte."""

    def __init__(self, app: Flask, cookie: str) -> None:
        self.app, self.cookie = app, cookie

    def ask(self, address: str, mark: str = "") -> tuple[int, Cost, str]:
        """Return the status, the cost and the ETag; as a poll where a mark is given."""
        path, _, query = address.partition("?")
        headers = {"Cookie": self.cookie} | (
            {"HX-Request": "true", "If-None-Match": mark} if mark else {}
        )
        environ = EnvironBuilder(path=path, query_string=query, headers=headers).get_environ()
        told: list[Any] = []
        scripts = self.app.extensions["huey"].storage.scripts
        asked, begun, busy = scripts.asked, time.perf_counter(), time.thread_time()
        answer = self.app.wsgi_app(environ, lambda *said: told.append(said))
        b"".join(answer)
        took, busy = time.perf_counter() - begun, time.thread_time() - busy
        answer.close()  # type: ignore[attr-defined]
        found = dict(told[0][1])
        cost = Cost(took * 1000, busy * 1000, scripts.asked - asked)
        return int(told[0][0][:3]), cost, str(found.get("ETag", ""))


def made_app(huey: JobHuey) -> Flask:
    """Return the whole web process beside a Huey."""
    from dashboard import create_app, health, kept

    health.time = kept.time = CLOCK  # type: ignore[assignment]
    return create_app(huey=huey)


def signed_in(app: Flask) -> str:
    """Make the operator and sign in. Returns: the cookie, which every app of this process takes."""
    from flask import session

    from dashboard import auth

    operator = auth.create_operator(EMAIL, PASSWORD, "admin")
    with app.test_request_context("/"):
        auth.start_session(operator)
        answer = app.response_class()
        app.session_interface.save_session(app, session, answer)  # type: ignore[arg-type]
    return str(answer.headers["Set-Cookie"]).partition(";")[0]


Costs = dict[str, list[Cost]]


def measured(viewers: Mapping[int, Viewer], pages: Mapping[int, list[Asked]],
             look: Callable[[Viewer, str], Cost | None]) -> dict[int, Costs]:  # fmt: skip
    """Ask each page of each app in turn. Returns: {jobs: {page: costs}}."""
    costs: dict[int, Costs] = {jobs: {} for jobs in viewers}
    for n in range(len(next(iter(pages.values())))):
        for turn in range(-3, ASKED):  # three to warm up
            for jobs, viewer in viewers.items():
                page = pages[jobs][n]
                found, known = look(viewer, page.address), costs[jobs].setdefault(page.name, [])
                if turn >= 0 and found:
                    known.append(found)
    return costs


def whole(viewer: Viewer, address: str) -> Cost:
    """Ask for a whole page that nobody has asked for in this second."""
    CLOCK.ahead_s += LOOK_S / 2  # the viewers of both sizes look in turn
    status, cost, _ = viewer.ask(address)
    if status != 200:
        raise RuntimeError(f"{address} answered {status}")
    for thread in threading.enumerate():
        if thread.name == "figures":  # made after this look; it ends long before the next one
            thread.join()
    return cost


def unchanged(viewer: Viewer, address: str) -> Cost | None:
    """Poll a page that shows what stands there already, in a second in which others looked; None where it changed."""
    _, _, mark = viewer.ask(address, '"none"')
    status, cost, _ = viewer.ask(address, mark)
    if status not in (304, 200):
        raise RuntimeError(f"a poll of {address} answered {status}")
    return cost if status == 304 else None


def cell(costs: list[Cost], what: str = "ms") -> str:
    """Write p50 and p95 of what was measured."""
    values = sorted(getattr(cost, what) for cost in costs)
    if not values:
        return "never"
    return f"{statistics.median(values):.1f} / {values[len(values) * 95 // 100]:.1f}"


def run(many: int = SOME, few: int = FEW) -> None:
    """Print the tables."""
    with contextlib.ExitStack() as stack:
        kept = os.environ.get("PAGES_KEPT") or stack.enter_context(tempfile.TemporaryDirectory())
        viewers, pages = _viewers(stack, Path(kept), (few, many))
        costs = measured(viewers, pages, whole)
        polls = {jobs: [p for p in found if p.name in POLLED] for jobs, found in pages.items()}
        calm = measured(viewers, polls, unchanged)
    rows = []
    for page in pages[few]:
        small, large = costs[few][page.name], costs[many][page.name]
        cpu = [statistics.median(cost.cpu_ms for cost in found) for found in (small, large)]
        rows.append((page.name, cell(small), cell(large), cell(small, "cpu_ms"), cell(large, "cpu_ms"), f"{cpu[1] / cpu[0]:.2f}",
                     page.goal_ms or "", max(cost.calls for cost in (*small, *large))))  # fmt: skip
    table(f"Pages with {few} and with {many} jobs, ms of server time and of its processor (p50 / p95), {ASKED} of each",
          ("", f"{few} jobs", f"{many} jobs", f"CPU, {few}", f"CPU, {many}", "ratio of CPU", "goal, p95", "Redis calls, most"), rows)  # fmt: skip
    table("The same asked again in the same second, answered 304, CPU", ("", f"{few} jobs", f"{many} jobs"),
          [(name, cell(calm[few][name], "cpu_ms"), cell(calm[many][name], "cpu_ms")) for name in calm[few]])  # fmt: skip


POLLED = ("overview", "error groups", "an error group", "a job", "queues", "tasks")


def _viewers(stack: contextlib.ExitStack, kept: Path, sizes: tuple[int, ...],
             ) -> tuple[dict[int, Viewer], dict[int, list[Asked]]]:  # fmt: skip
    """Start a server for each size, fill it and sign in."""
    data = stack.enter_context(tempfile.TemporaryDirectory())
    os.environ.update(DATA_DIR=data, APP_ENV="development", REDIS_URL="redis://127.0.0.1:1/0")
    from dashboard.collecting import settle
    from tasks import database

    database.upgrade()
    viewers: dict[int, Viewer] = {}
    pages: dict[int, list[Asked]] = {}
    cookie = ""
    for jobs in sizes:
        folder = kept / str(jobs)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "redis.sock").unlink(missing_ok=True)  # of a run that was killed
        huey, client = filled(stack.enter_context(server(folder)), folder, jobs)
        stack.callback(huey.storage.close)
        stack.callback(huey.lease.close)
        stack.callback(client.close)
        app = made_app(huey)
        cookie = cookie or signed_in(app)
        viewers[jobs], pages[jobs] = Viewer(app, cookie), addresses(huey)
    settle()  # as gunicorn.conf.py does
    return viewers, pages
