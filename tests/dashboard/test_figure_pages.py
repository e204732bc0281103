"""Pages of figures: tasks, one task, a queue in full, the five KPIs, and Prometheus' view of them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from browsing import Browser
from driving import run_one

from dashboard import auth, prometheus
from tasks import database as db
from tasks import kpis
from tasks.database import utcnow
from tasks.engine import JobHuey, Permanent, State
from tasks.engine.running.bookkeeping import note_version
from tasks.mailer.models import EmailMessage, delivered_by_time


@pytest.fixture
def ends(huey: JobHuey) -> Iterator[Any]:
    """Return a task that ends as it is told."""

    @huey.task(name="figures.ends", queue="maintenance", retries=2, retry_delay=30)
    def ends(how: str = "well") -> str:
        """End as told."""
        if how == "failed":
            raise Permanent("the door is locked")
        return how

    yield ends
    huey._registry.unregister(ends.task_class)


@pytest.fixture
def ran(huey: JobHuey, ends: Any) -> str:
    """Return the name of a task that ran three times, and failed once."""
    for how in ("well", "well", "failed"):
        ends(how)
        run_one(huey)
    ends("well")
    return next(name for name in huey.reads.tasks() if name.endswith("figures.ends"))


def row(page: str, name: str) -> str:
    """Return the words of a table's row."""
    found = next(part for part in re.split(r"<tr\b", page) if name in part)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found.split("</tr>")[0]))


def test_tasks_are_listed_with_runs_failures_and_times(admin: Browser, ran: str) -> None:
    words = row(admin.get("/tasks?range=1h").text, f"/tasks/{ran}")
    assert "maintenance" in words
    assert " 3 " in words, "three attempts"
    assert "33.3" in words, "one of three failed"
    assert "never" in row(admin.get("/tasks").text, "/tasks/tasks.reminders.scan_soon")


@pytest.mark.parametrize("sort", ["task", "runs", "failed", "p95", "wait", "time", "nonsense"])
def test_tasks_are_sorted_as_the_address_says(admin: Browser, ran: str, sort: str) -> None:
    page = admin.get(f"/tasks?sort={sort}&range=nonsense").text
    names = re.findall(r'data-href="/tasks/([^"]+)"', page)
    assert ran in names
    assert (names == sorted(names)) is (sort == "task")


def test_a_task_shows_its_runs_failures_settings_and_pause(admin: Browser, ran: str) -> None:
    page = admin.get(f"/tasks/{ran}").text
    assert "the door is locked" in page
    assert "3 runs, 1 failed" in page, "the bars say it in words"
    assert "3, the next after 30 s" in page, "how often it is tried"
    assert f"/pauses/task/{ran}/pause" in page
    for range_ in ("1h", "7d", "30d", "90d"):
        assert admin.get(f"/tasks/{ran}?range={range_}").status_code == 200


def test_a_task_that_is_none_is_404_and_one_without_code_says_so(
    admin: Browser, huey: JobHuey, ran: str, ends: Any
) -> None:
    assert admin.get("/tasks/nobody.knows").status_code == 404
    huey._registry.unregister(ends.task_class)
    try:
        assert "No code for it in this process" in admin.get(f"/tasks/{ran}").text
    finally:
        huey._registry.register(ends.task_class)


# A queue in full


def limits_of(huey: JobHuey, name: str) -> dict[str, Any]:
    queue = huey.reads.queue(name)
    return {"concurrency": queue.concurrency, "rate": queue.rate, **queue.retention}


def test_the_parts_of_a_queues_page_tell_of_one_moment(admin: Browser, ran: str, ends: Any) -> None:
    admin.get("/queues/maintenance")  # what everybody shares is read now, and kept for a second
    ends("well")
    page = admin.get("/queues/maintenance?range=24h").text
    tile = re.search(r"<b>(\d+)</b><span>waiting", page)
    assert tile
    assert f"All {tile[1]} waiting" in page
    assert re.search(rf"ends\s+{tile[1]} ", row(page.split("What is in it")[1], ran))
    assert "in the last whole" in page, "a rate says of which time it tells"


def test_a_queue_says_what_is_in_it_and_that_nobody_serves_it(
    admin: Browser, ran: str, huey: JobHuey, app: Any
) -> None:
    huey.lease.beat()  # the process that ran them is a worker
    page = admin.get("/queues/maintenance").text
    assert "Nobody serves this queue" not in page
    words = row(page.split("What is in it")[1], ran)
    assert re.search(r"ends\s+1 – – – 1\s", words), words
    for range_ in ("24h", "7d", "30d", "90d", "nonsense"):
        assert admin.get(f"/queues/maintenance?range={range_}").status_code == 200
    for worker in huey.reads.workers():
        huey.commands.quiet(worker.id)
    app.extensions["watch"].forget()  # the view of a second ago has them at work
    assert "Nobody serves this queue" in admin.get("/queues/maintenance").text


def test_a_queue_that_its_rate_holds_says_so(
    admin: Browser, huey: JobHuey, ends: Any, app: Any
) -> None:
    def told() -> list[bool]:
        app.extensions["watch"].forget()
        paths = {
            "/queues/maintenance": "its rate of 6 a minute holds it",
            "/queues": "held to its rate of 6 a minute",
        }
        paths["/"] = paths["/queues"]
        return [words in admin.get(path).text for path, words in paths.items()]

    ends("well")
    this = huey.reads.now_ms() // 60_000
    for minute in (this - 1, this):  # which may be over by then
        key = huey.storage.keys.of("minute", str(minute))
        huey.storage.call("HSET", key, "maintenance|figures.ends|c3", 6)
    huey.commands.set_limits("maintenance", rate="6/m")
    taken = {"rt": 0, "rs": huey.reads.now_ms() + 600_000}  # all, and none comes back meanwhile
    for option, value in taken.items():
        huey.storage.call("HSET", huey.storage.keys.of("queue", "maintenance"), option, value)
    assert told() == [False] * 3, "without a worker that is what holds it"
    huey.lease.beat()
    assert told() == [True] * 3
    huey.commands.set_limits("maintenance", rate=None)
    assert told() == [False] * 3


def test_limits_change_live_outlive_a_worker_and_go_back(
    admin: Browser, huey: JobHuey, app: Any
) -> None:
    before = limits_of(huey, "sync")
    form = {"concurrency": "3", "rate": "5/s", "retention": "1d/500", "retention_failed": "2d/600"}
    admin.post("/queues/sync/limits", form)
    live = {"concurrency": 3, "rate": "5/s", "completed": "1d/500", "failed": "2d/600"}
    assert limits_of(huey, "sync") == live
    huey.commands.configure()  # a worker starts
    assert limits_of(huey, "sync") == live
    key = huey.storage.keys.of("queue", "sync")
    assert huey.storage.client.hmget(key, "rl", "rp", "keep", "fkeep") == [
        b"5",
        b"1000",
        b"500",
        b"600",
    ]
    app.extensions["watch"].forget()
    page = admin.get("/queues/sync").text
    assert "Back to configured" in page
    assert "set live by admin@example.org" in page
    assert "changed the limits of it" in page
    admin.post("/queues/sync/limits", {"reset": "1"})
    assert limits_of(huey, "sync") == before
    assert huey.reads.queue("sync").live == ()
    assert huey.storage.client.hmget(key, "rl", "keep") == [None, b"10000"]


@pytest.mark.parametrize(
    "form",
    [{"concurrency": "0"}, {"concurrency": "many"}, {"rate": "fast"}, {"retention": "7 days"}],
)
def test_a_limit_that_is_none_is_told_and_changes_nothing(
    admin: Browser, huey: JobHuey, form: dict[str, str]
) -> None:
    before = limits_of(huey, "sync")
    admin.post("/queues/sync/limits", form)
    assert 'data-kind="bad"' in admin.get("/queues/sync").text
    assert limits_of(huey, "sync") == before


def test_a_pause_may_end_at_a_time_of_day_and_counts_down(
    admin: Browser, huey: JobHuey, app: Any
) -> None:
    at = utcnow() + timedelta(hours=2)
    admin.post("/queues/sync/pause", {"at": f"{at:%H:%M}", "for": "15m", "reason": "moodle moves"})
    pause = huey.reads.queue("sync").pause
    assert pause is not None
    assert pause.until is not None
    assert (pause.until.hour, pause.until.minute) == (at.hour, at.minute)
    app.extensions["watch"].forget()
    page = admin.get("/queues/sync").text
    assert re.search(r"it ends by itself <time [^>]*data-age[^>]*>in ", page)
    assert re.search(r"</b> paused: <span[^>]*>moodle moves<", page)


def test_a_queue_is_emptied_by_its_name_and_only_of_what_waits(
    admin: Browser, huey: JobHuey, ends: Any, app: Any
) -> None:
    ends("well")
    later = ends.schedule(("well",), delay=3600).id
    app.extensions["watch"].forget()
    assert "1 waiting job will never run" in admin.get("/queues/maintenance/empty").text
    refused = admin.post("/queues/maintenance/empty", {"typed": "maintenanc"})
    assert refused.location == "/queues/maintenance/empty"
    assert huey.reads.queue("maintenance").counts[State.WAITING] == 1
    done = admin.post("/queues/maintenance/empty", {"typed": "maintenance", "reason": "test"})
    assert done.location.startswith("/operations/")
    while huey.commands.step_operations():
        pass
    assert huey.reads.queue("maintenance").counts[State.WAITING] == 0
    assert huey.reads.job(later).state is State.SCHEDULED


# KPIs


def test_the_five_are_shown_over_each_range_with_a_table_and_a_week_before(
    admin: Browser, ran: str, huey: JobHuey
) -> None:
    note_version(huey)
    for range_ in ("1h", "24h", "7d", "30d", "90d"):
        page = admin.get(f"/kpis?range={range_}").text
        assert f"over {range_[:-1]} {range_[-1]}, no target" in page, "a mean says of which time"
        assert page.count('class="kpi-row"') + page.count('class="kpi-row" data-off') >= 5
        assert page.count("a week before") >= 5
        assert page.count("<caption") >= 5, "each chart has its table"
    assert "33.3" in page, "one of three jobs failed"
    assert "off since" in page
    assert f">{huey.version}</text>" in page, "another version began"


def test_a_range_is_a_file_of_plain_numbers(admin: Browser, ran: str) -> None:
    answer = admin.get("/kpis.csv?range=1h")
    assert answer.mimetype == "text/csv"
    assert 'filename="kpis-1h.csv"' in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 60
    assert sum(int(row["failed_rate_samples"]) for row in rows) == 3
    assert rows[0]["failed_rate"] == "", "nothing is known of a minute without a job"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:00\.000Z", rows[0]["at"])


def test_mails_of_each_point_are_counted_in_sql(database: str) -> None:
    now = utcnow()
    with db.session() as session:
        for n, (state, back_s) in enumerate(
            [("sent", 0), ("sent", 7200), ("failed", 7200), ("queued", 0)]
        ):
            session.add(EmailMessage(
                key=str(n), message_id=str(n), job_id=str(n), type="welcome", stream="transactional",
                to_addr="a@example.org", state=state, expires_at=now, updated_at=now - timedelta(seconds=back_s),
            ))  # fmt: skip
    with db.reading() as session:
        found = delivered_by_time(session, now - timedelta(hours=3), 3600)
    hour = int(now.timestamp()) // 3600
    assert found == {hour: (1, 1), hour - 2: (2, 1)}


def test_a_figure_is_off_target_since_its_first_bad_point_in_a_row() -> None:
    start = utcnow()
    definition = kpis.BY_NAME["failed_rate"]
    values = [0.5, None, 0.01, 0.2, None, 0.3]
    points = [
        (start + timedelta(minutes=n), {definition.name: kpis.Kpi(
            definition.name, "", value, 0.05, definition.ok(value))})
        for n, value in enumerate(values)
    ]  # fmt: skip
    assert kpis.off_since(points, definition.name) == start + timedelta(minutes=3)
    assert kpis.off_since(points[:3], definition.name) is None


# Prometheus

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (-?[0-9.e+-]+)\Z')


def scraped(text: str) -> dict[str, float]:
    """Return {name{labels}: value}; every line must be a sample or a comment of a known metric."""
    found: dict[str, float] = {}
    kinds: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds, "a metric is described once"
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = SAMPLE.match(line)
            assert match, line
            base = re.sub(r"_(bucket|sum|count)$", "", match[1])
            assert match[1] in kinds or kinds.get(base) == "histogram", line
            found[f"{match[1]}{{{match[2] or ''}}}"] = float(match[3])
    for name, kind in kinds.items():
        assert name.endswith("_total") is (kind == "counter"), name
    return found


def test_prometheus_reads_every_figure_with_a_token_of_any_role(
    app: Any, ran: str, admin: Browser
) -> None:
    assert Browser(app).get("/metrics").status_code == 401
    token, _ = auth.create_token("scraper", "viewer", "cli")
    answer = app.test_client().get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    found = scraped(answer.text)
    of = f'queue="maintenance",task="{ran}"'
    assert found[f'jobdeck_jobs_total{{{of},outcome="completed"}}'] == 2
    assert found[f'jobdeck_jobs_total{{{of},outcome="failed"}}'] == 1
    assert found[f"jobdeck_jobs_enqueued_total{{{of}}}"] == 4
    assert found[f"jobdeck_job_duration_seconds_count{{{of}}}"] == 3
    assert found[f'jobdeck_job_duration_seconds_bucket{{{of},le="+Inf"}}'] == 3
    assert found['jobdeck_queue_jobs{queue="maintenance",state="waiting"}'] == 1
    assert found["jobdeck_redis_up{}"] == 1


def test_buckets_of_a_histogram_only_grow() -> None:
    lines = list(
        prometheus.histogram("x", "About.", [({"queue": "q"}, {0: 2, 9: 3, 40: 1, 60: 4})])
    )
    below = [float(line.rsplit(" ", 1)[1]) for line in lines if "_bucket" in line]
    assert below == sorted(below)
    assert below[-1] == 10


def test_a_label_is_escaped() -> None:
    assert prometheus.line("x", {"task": 'a"b\\c\nd'}, 1) == 'x{task="a\\"b\\\\c\\nd"} 1'


def test_with_redis_away_prometheus_hears_that_and_the_rest(
    admin: Browser, app: Any, redis_server: Any
) -> None:
    admin.get("/")
    redis_server.stop()
    app.extensions["watch"].forget()
    found = scraped(admin.get("/metrics").text)
    assert found["jobdeck_redis_up{}"] == 0
    assert found['jobdeck_healthy{check="redis"}'] == 0
    assert not any(name.startswith("jobdeck_jobs_total") for name in found)
