"""A tick fires once, whoever looks; missed ones are handled as the task says."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from driving import fire_due, run_all
from huey import crontab as huey_crontab

from tasks.engine import EngineError, JobFilter, JobHuey, State, crontab

NOON = int(datetime(2026, 3, 2, 12, 0, tzinfo=UTC).timestamp() * 1000)
MINUTE = 60_000


def register(huey: JobHuey, *, check: Any = None, **options: Any) -> Any:
    @huey.periodic_task(check or crontab(), name="tidy", **options)
    def tidy() -> None:
        """Nothing."""

    return tidy


def fired(huey: JobHuey) -> int:
    return huey.reads.snapshot().totals[State.WAITING]


def test_a_tick_fires_once_in_its_minute(huey: JobHuey) -> None:
    register(huey)
    assert [fire_due(huey, NOON + ms) for ms in (0, 1, 30_000, 59_999)] == [1, 0, 0, 0]
    assert fire_due(huey, NOON + MINUTE) == 1
    assert fired(huey) == 2


def test_a_tick_fires_once_for_two_workers_at_once(
    huey: JobHuey, make_huey: Callable[..., JobHuey]
) -> None:
    both, claimed = (huey, make_huey(huey.name)), []
    for one in both:
        register(one)
    for minute in range(20):
        start = threading.Barrier(2)

        def race(one: JobHuey, start: threading.Barrier = start, at: int = minute) -> None:
            start.wait()
            claimed.append(fire_due(one, NOON + at * MINUTE))

        threads = [threading.Thread(target=race, args=(one,)) for one in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(claimed) == 20
    assert fired(huey) == 20


def test_a_clock_that_steps_back_fires_nothing_again(huey: JobHuey) -> None:
    register(huey)
    assert fire_due(huey, NOON) == 1
    assert fire_due(huey, NOON - 5 * MINUTE) == 0
    assert fire_due(huey, NOON) == 0
    assert fired(huey) == 1


def test_a_restart_within_the_minute_fires_nothing_again(
    huey: JobHuey, make_huey: Callable[..., JobHuey]
) -> None:
    register(huey)
    fire_due(huey, NOON)
    assert len(run_all(huey)) == 1
    restarted = make_huey(huey.name)
    register(restarted)
    assert fire_due(restarted, NOON + 1000) == 0


def test_the_first_start_fires_no_tick_of_before(huey: JobHuey) -> None:
    register(huey, check=crontab(minute="30"), missed="all")
    assert fire_due(huey, NOON) == 0


@pytest.mark.parametrize(
    ("missed", "expected"), [("skip", 0), ("latest", 1), ("all", 4), (None, 1)]
)
def test_missed_ticks_follow_the_policy(huey: JobHuey, missed: str | None, expected: int) -> None:
    register(huey, check=crontab(minute="*/15"), **({"missed": missed} if missed else {}))
    assert fire_due(huey, NOON) == 1
    assert fire_due(huey, NOON + 67 * MINUTE) == expected
    assert fire_due(huey, NOON + 67 * MINUTE) == 0
    assert fire_due(huey, NOON + 75 * MINUTE) == 1


def test_no_more_than_a_hundred_missed_ticks_of_a_day_are_made_up(huey: JobHuey) -> None:
    register(huey, missed="all")
    fire_due(huey, NOON)
    assert fire_due(huey, NOON + 3 * 24 * 60 * MINUTE) == 100


def test_each_task_keeps_its_own_time(huey: JobHuey) -> None:
    register(huey)

    @huey.periodic_task(crontab(minute="0"), name="hourly")
    def hourly() -> None:
        """Nothing."""

    assert [fire_due(huey, NOON + n * MINUTE) for n in (0, 1, 60)] == [2, 1, 2]


def test_a_tick_is_a_job_with_options_and_the_task_says_which(huey: JobHuey) -> None:
    register(huey, queue="email", priority=7, retries=2)
    fire_due(huey, NOON)
    (job,) = huey.reads.jobs(JobFilter()).items
    assert (job.queue, job.priority, job.max_attempts) == ("email", 7, 3)
    (task,) = huey.reads.periodic()
    assert (task.last_job, task.last_at) == (job.id, datetime(2026, 3, 2, 12, 0, tzinfo=UTC))


def test_hueys_own_crontab_works_too(huey: JobHuey) -> None:
    register(huey, check=huey_crontab(minute="0"))
    assert [fire_due(huey, NOON + n * MINUTE) for n in (0, 1)] == [1, 0]


def test_a_policy_that_does_not_exist_is_refused(huey: JobHuey) -> None:
    with pytest.raises(EngineError, match="missed='some'.*skip, latest, all"):
        register(huey, missed="some")


def test_a_crontab_field_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not a valid input"):
        crontab(minute="61")
