"""What a periodic task's page knows: outcomes, missed ticks, turned off, run by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from driving import fire_due, run_all

from tasks.engine import JobHuey, Permanent, State, UnknownTask, crontab
from tasks.engine.instance import Periodic

MINUTE = 60_000
TIDY = "test_ticks.tidy"


def register(huey: JobHuey, plan: Any = None, **options: Any) -> Any:
    fail = options.pop("fail", False)

    @huey.periodic_task(plan or crontab(), name="tidy", **options)
    def tidy() -> None:
        if fail:
            raise Permanent("no")

    return tidy


@pytest.fixture(autouse=True)
def _one_moment(huey: JobHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the whole test happen in the minute in which it began."""
    at = huey.reads.now_ms()
    monkeypatch.setattr(huey.reads, "now_ms", lambda: at)


def ago(huey: JobHuey, minutes: int) -> int:
    """Return the start of the minute so many minutes ago, by Redis's clock."""
    return (huey.reads.now_ms() // MINUTE - minutes) * MINUTE


def tidy(huey: JobHuey) -> Periodic:
    (found,) = huey.reads.periodic()
    return found


def states(huey: JobHuey) -> list[str]:
    return [tick.state for tick in tidy(huey).ticks]


@pytest.mark.parametrize(("fail", "outcome"), [(False, "completed"), (True, "failed")])
def test_a_tick_keeps_how_its_job_ended(huey: JobHuey, fail: bool, outcome: str) -> None:
    register(huey, fail=fail)
    fire_due(huey, huey.reads.now_ms())
    assert states(huey) == ["fired"]
    (job_id,) = run_all(huey)
    (tick,) = tidy(huey).ticks
    assert (tick.state, tick.job_id, tick.by_hand) == (outcome, job_id, False)
    assert tick.run_ms is not None
    assert tick.ended_at is not None
    assert tidy(huey).late is None


def test_a_job_that_runs_is_told(huey: JobHuey) -> None:
    register(huey)
    fire_due(huey, huey.reads.now_ms())
    assert not tidy(huey).running
    task = huey.dequeue()
    assert tidy(huey).running
    huey.execute(task)
    assert not tidy(huey).running


def test_with_no_worker_for_an_hour_the_missed_ticks_are_seen(huey: JobHuey) -> None:
    register(huey, crontab(minute="*/10"))
    fire_due(huey, ago(huey, 75) // (10 * MINUTE) * 10 * MINUTE)
    found = tidy(huey)
    assert 6 <= [tick.state for tick in found.ticks].count("missed") <= 8
    assert found.late == found.ticks[-1]
    assert found.late.at.minute % 10 == 0


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("latest", ["completed", "missed", "missed", "completed"]), ("all", ["completed"] * 4),
     ("skip", ["completed", "missed", "missed", "completed"])],
)  # fmt: skip
def test_what_was_missed_stays_told_when_a_worker_is_back(
    huey: JobHuey, policy: str, expected: list[str]
) -> None:
    register(huey, missed=policy)
    fire_due(huey, ago(huey, 3))
    fire_due(huey, ago(huey, 0))
    run_all(huey)
    assert states(huey) == expected
    assert tidy(huey).late is None


def test_a_skipped_tick_stays_late_until_something_runs(huey: JobHuey) -> None:
    now = datetime.fromtimestamp(ago(huey, 10) / 1000, UTC)
    register(huey, crontab(minute=str(now.minute), hour=str(now.hour)), missed="skip")
    fire_due(huey, ago(huey, 10 + 24 * 60))
    run_all(huey)
    assert fire_due(huey, huey.reads.now_ms()) == 0
    assert states(huey) == ["completed", "missed"]
    assert tidy(huey).late is not None
    assert huey.commands.run_periodic(TIDY)[0]
    run_all(huey)
    assert states(huey) == ["completed", "missed", "completed"]
    assert tidy(huey).late is None


def test_thirty_ticks_are_kept(huey: JobHuey) -> None:
    register(huey)
    for n in range(35, -1, -1):
        fire_due(huey, ago(huey, n))
    run_all(huey)
    found = tidy(huey)
    assert len(found.ticks) == 30
    assert {tick.state for tick in found.ticks} == {"completed"}
    assert found.ticks[-1].at == found.last_at


def test_a_task_that_is_off_fires_nothing_and_makes_up_nothing(
    huey: JobHuey, make_huey: Callable[..., JobHuey]
) -> None:
    register(huey)
    fire_due(huey, ago(huey, 6))
    huey.commands.disable_periodic(TIDY, by="ada", reason="moving house")
    off = tidy(huey).off
    assert off is not None
    assert (off.by, off.reason, off.until) == ("ada", "moving house", None)
    assert tidy(huey).late is None
    assert fire_due(huey, ago(huey, 5)) == 0
    assert states(huey) == ["fired", "off"]
    huey.commands.enable_periodic(TIDY)
    assert tidy(huey).off is None
    assert fire_due(huey, huey.reads.now_ms()) == 1
    assert states(huey).count("missed") == 0


def test_off_until_ends_by_itself(huey: JobHuey) -> None:
    register(huey)
    now = huey.reads.now_ms()
    until = datetime.fromtimestamp(now / 1000, UTC) - timedelta(minutes=1)
    fire_due(huey, ago(huey, 3))
    huey.commands.disable_periodic(TIDY, until=until)
    assert tidy(huey).off is None
    assert fire_due(huey, now) == 1


def test_a_run_by_hand_is_a_job_of_its_own_and_moves_no_tick(huey: JobHuey) -> None:
    register(huey, crontab(minute="0", hour="0"))
    added, job_id = huey.commands.run_periodic(TIDY, by="ada")
    assert added
    assert run_all(huey) == [job_id]
    (tick,) = tidy(huey).ticks
    assert (tick.state, tick.job_id, tick.by_hand) == ("completed", job_id, True)
    assert tidy(huey).last_at is None
    assert huey.reads.job(job_id).enqueued_by == "ada"


def test_a_run_by_hand_beside_one_with_its_unique_key_is_refused(huey: JobHuey) -> None:
    register(huey, unique="one")
    first = huey.commands.run_periodic(TIDY)
    assert huey.commands.run_periodic(TIDY) == (False, first[1])
    assert states(huey) == ["fired", "held"]
    assert huey.reads.snapshot().totals[State.WAITING] == 1


def test_a_task_shows_when_it_comes(huey: JobHuey) -> None:
    register(huey, crontab(minute="17", hour="3", tz="Europe/Berlin"), missed="skip")
    found = huey.reads.periodic_task(TIDY)
    assert (found.words, found.tz, found.expression) == (
        "every day at 03:17", "Europe/Berlin", "17 3 * * *",
    )  # fmt: skip
    assert found.missed == "skip"
    assert len(found.upcoming) == 10
    assert found.upcoming[0] == found.next_at
    assert timedelta(hours=23) <= found.upcoming[1] - found.upcoming[0] <= timedelta(hours=25)


def test_a_task_that_is_none_is_refused(huey: JobHuey) -> None:
    for ask in (
        huey.commands.run_periodic,
        huey.commands.disable_periodic,
        huey.reads.periodic_task,
    ):
        with pytest.raises(UnknownTask, match="no periodic task 'nope'"):
            ask("nope")
