"""A survey counts and draws what a search finds over time, within its budget."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from searched import Shop, walk

from tasks.engine import JobFilter, JobHuey, Queue, State, Term
from tasks.engine.reading import finding


def test_a_survey_counts_and_draws_over_time(shop: Shop) -> None:
    jobs = shop.fill()
    for wanted in (JobFilter(), JobFilter(terms=(Term("task", ("send",)), Term("queue", ("email",))))):  # fmt: skip
        survey = shop.huey.reads.survey(wanted, bars=24)
        matching = list(walk(shop.huey, wanted))
        assert (survey.count, survey.exact) == (len(matching), True)
        assert len(survey.bars) == len(survey.failed) == 24
        assert sum(survey.bars) == survey.count
        assert sum(survey.failed) == sum(j.state == "failed" for j in jobs if j.id in matching)
        assert survey.start is not None
        assert survey.start + timedelta(seconds=24 * survey.step_s) <= datetime.now(UTC)
        for bars in (0, 24):
            page = shop.huey.reads.jobs(wanted, bars=bars)
            before = shop.huey.storage.scripts.asked
            again = shop.huey.reads.survey(wanted, 24, page)
            assert (again.count, sum(again.bars), again.of) == (
                survey.count,
                survey.count,
                survey.of,
            )
            assert again.failed == survey.failed
            more = shop.huey.storage.scripts.asked - before
            assert more == ((0 if bars else 1) if page.total is not None else 2)


def test_a_survey_of_more_ranges_than_a_script_counts_is_made_in_parts(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = shop.fill()
    whole = shop.huey.reads.survey(JobFilter(), 24)
    monkeypatch.setattr(finding, "RANGES_AT_ONCE", finding.LEAST_SPANS)
    page = shop.huey.reads.jobs(JobFilter(), bars=24)
    before = shop.huey.storage.scripts.asked
    parts = shop.huey.reads.survey(JobFilter(), 24, page)
    assert shop.huey.storage.scripts.asked - before > 1
    assert len(parts.bars) == finding.LEAST_SPANS
    assert sum(parts.bars) == sum(whole.bars) == len(jobs)
    assert sum(parts.failed) == sum(whole.failed)


def test_a_survey_begins_with_the_span_that_holds_the_oldest_job(shop: Shop) -> None:
    jobs = shop.fill()
    key, now = shop.huey.storage.keys, shop.huey.reads.now_ms() * 1000
    old = next(job for job in jobs if job.state == "failed")
    shop.huey.storage.call(
        "ZADD", key.of("state", f"{old.queue}:failed"), now - 3 * 86_400_000_000, old.id
    )
    survey = shop.huey.reads.survey(JobFilter(state=State.FAILED), 24)
    assert survey.step_s == pytest.approx(7 * 86_400 / 24)
    assert survey.bars[13] == survey.failed[13] == 1


def test_the_oldest_job_is_found_in_the_last_of_many_queues(
    make_huey: Callable[..., JobHuey],
) -> None:
    huey = make_huey(queues=[Queue(f"q{n}") for n in range(250)])
    now, keys = huey.reads.now_ms() * 1000, huey.storage.keys
    at = [now] * 249 + [now - 3 * 86_400_000_000]
    huey.storage.pipeline(
        [("ZADD", keys.of("state", f"q{n}:waiting"), at[n], f"job{n}") for n in range(250)]
    )
    survey = huey.reads.survey(JobFilter(), 60)
    assert (survey.count, sum(survey.bars)) == (250, 250)


def test_a_survey_past_its_budget_says_how_far_it_got(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = shop.fill()
    monkeypatch.setattr("tasks.engine.reading.finding.SEARCH_ROWS", 50)
    survey = shop.huey.reads.survey(JobFilter(terms=(Term("attempt", (">0",)),)))
    assert (survey.exact, survey.searched, survey.of) == (False, 50, len(jobs))
    assert survey.count == sum(j.attempts_made > 0 for j in jobs[:50])
