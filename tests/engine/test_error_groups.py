"""Equal failures are one record with a life of its own, written with the attempt that failed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from driving import run_all, run_one

from tasks.engine import EngineError, JobFilter, JobHuey, Permanent, State, Term, UnknownGroup
from tasks.engine.records import ErrorGroup
from tasks.engine.running.failures import clean, describe

S = State


@pytest.mark.parametrize(("one", "other"), [
    ("550 5.1.1 <ada@example.org> user unknown", "550 5.1.1 <bob@example.com> user unknown"),
    ("no row 17 in table users", "no row 20417 in table users"),
    ("user 6f9619ff-8b86-d011-b42d-00c04fc964ff is gone", "user 0b3f2a10-8b86-d011-b42d-00c04fc964aa is gone"),
    ("job 01M89VEKZC5WQ87GH4F4XFK2AS is late", "job 01M89VEM02JWHAWYNTRV4DGMDS is late"),
    ("<object at 0x7fe0d110e010> failed", "<object at 0x7fe0d110d950> failed"),
    ("no answer in 10.5 s", "no answer in 9 s"),
    ("invalid literal: '12 a'", "invalid literal: 'x-9'"),
    ("digest 8f14e45fceea167a differs", "digest c9f0f895fb98ab91 differs"),
    ("mail to ada.l+x@example.org bounced", "mail to b@example.com bounced"),
])  # fmt: skip
def test_what_differs_from_job_to_job_is_taken_out(one: str, other: str) -> None:
    assert clean(one) == clean(other)
    assert "…" in clean(one)


@pytest.mark.parametrize(("one", "other"), [
    ("550 5.1.1 user unknown", "554 5.7.1 user unknown"),
    ("HTTP 503", "HTTP 404"),
    ("'course'", "'name'"),
    ("no answer", "refused"),
])  # fmt: skip
def test_what_tells_failures_apart_stays(one: str, other: str) -> None:
    assert clean(one) != clean(other)


def test_a_long_message_is_cleaned_at_once() -> None:
    assert len(clean("a" * 100_000)) == 200
    assert len(clean("1a@" * 50_000)) <= 200


@pytest.fixture
def fails(huey: JobHuey) -> Callable[..., str]:
    """Run a job that fails with a text. Returns: its id."""

    @huey.task(name="fails", retries=1, retry_delay=3600)
    def fails(kind: str, text: str) -> None:
        raise {"permanent": Permanent, "value": ValueError}[kind](text)

    def fail(text: str, kind: str = "permanent") -> str:
        job_id: str = fails(kind, text).id
        run_one(huey)
        return job_id

    return fail


def only(huey: JobHuey) -> ErrorGroup:
    found = huey.reads.error_groups(("open", "muted", "resolved", "returned")).items
    assert len(found) == 1
    return found[0]


def test_equal_failures_are_one_group(huey: JobHuey, fails: Callable[..., str]) -> None:
    made = [fails(f"no row {n}") for n in range(3)]
    fails("something else")
    groups = huey.reads.error_groups()
    assert [group.title for group in groups.items] == ["something else", "no row 0"]
    assert [group.pattern for group in groups.items] == ["something else", "no row …"]
    assert groups.counts == {"open": 2, "muted": 0, "resolved": 0, "returned": 0}
    assert huey.reads.snapshot().open_errors == 2
    group = huey.reads.error_group(groups.items[1].id)
    assert (group.type, group.times, group.last_job) == ("Permanent", 3, made[-1])
    assert group.place.startswith("tests/engine/test_error_groups.py:")
    assert group.place.endswith("in fails")
    assert (group.tasks, group.task) == ({"test_error_groups.fails": 3}, "test_error_groups.fails")
    assert (sum(group.hours), len(group.hours)) == (3, 24)
    assert (sum(group.minutes), len(group.minutes)) == (3, 90)
    assert group.first_at <= group.last_at
    page = huey.reads.jobs(JobFilter(state=S.FAILED, terms=(Term("group", (group.id,)),)))
    assert ([job.id for job in page.items], page.total) == (made[::-1], 3)
    assert group.jobs[S.FAILED] == 3
    assert {job.group for job in page.items} == {group.id}
    assert page.items[0].error.fingerprint == group.id
    assert huey.reads.snapshot().failing_errors == 2
    huey.commands.delete(made)
    now = huey.reads.snapshot()
    assert (now.open_errors, now.failing_errors) == (2, 1), "no failed job carries it any more"


def test_a_title_is_what_the_first_failure_said(huey: JobHuey, fails: Callable[..., str]) -> None:
    fails("'user 17'")
    assert (only(huey).title, only(huey).pattern) == ("'user 17'", "…")
    fails("'user 18'\nand more")
    assert (only(huey).title, only(huey).times) == ("'user 17'", 2)


def test_a_group_from_before_keeps_its_identity_and_gets_a_title(
    huey: JobHuey, fails: Callable[..., str]
) -> None:
    known = describe(ValueError("a@b.example is suppressed since 2026-11-29"))
    assert known["title"] == "… is suppressed since …-…-…"
    assert known["fingerprint"] == "b6409ecba8401fab"
    fails("row 1")
    huey.storage.call("HDEL", huey.storage.keys.of("group", only(huey).id), "said")
    assert only(huey).title == "row …"
    fails("row 2")
    assert only(huey).title == "row 2"


def test_each_failed_attempt_counts_and_a_success_leaves_the_group(huey: JobHuey) -> None:
    outcomes = [ValueError("row 1"), ValueError("row 2"), None]

    @huey.task(retries=3)
    def shaky() -> None:
        if error := outcomes.pop(0):
            raise error

    shaky()
    run_one(huey)
    assert only(huey).times == 1
    run_all(huey)
    group = only(huey)
    assert (group.times, sum(group.jobs.values())) == (2, 0)


def test_what_is_no_failure_makes_no_group(huey: JobHuey) -> None:
    from huey.exceptions import CancelExecution

    from tasks.engine import Defer, Skip

    for error in (Skip("no need"), Defer(None, "not yet"), CancelExecution(retry=False)):

        @huey.task(name=type(error).__name__)
        def says(error: BaseException = error) -> None:
            raise error

        says()
        run_one(huey)
    assert huey.reads.error_groups().items == []


def test_a_secret_never_reaches_a_group(huey: JobHuey) -> None:
    @huey.task(secret=("code",))
    def checks(code: str) -> None:
        raise ValueError(f"code {code} is wrong")

    for code in ("opensesame", "swordfish"):
        checks(code)
    run_all(huey)
    group = only(huey)  # one group, although the plain texts differ
    assert group.title == "code •••• is wrong"
    assert "opensesame" not in group.title
    assert "swordfish" not in group.title


def test_a_resolved_group_that_fails_again_has_returned(
    huey: JobHuey, fails: Callable[..., str]
) -> None:
    fails("no row 1")
    group = only(huey).id
    assert huey.commands.resolve_group(group, by="ada").state == "resolved"
    assert huey.reads.snapshot().open_errors == 0
    assert huey.reads.error_groups().items == []
    fails("no row 2")
    found = only(huey)
    assert (found.state, found.times, found.by) == ("returned", 2, "ada")
    assert found.away_s is not None
    assert found.away_s >= 0
    assert huey.reads.snapshot().open_errors == 1
    assert huey.commands.reopen_group(group).state == "open"


def test_a_mute_ends_by_itself(huey: JobHuey, fails: Callable[..., str]) -> None:
    fails("no row 1")
    group, now = only(huey).id, datetime.now(UTC)
    muted = huey.commands.mute_group(group, until=now + timedelta(hours=1), by="ada")
    assert (muted.state, muted.muted_until is not None) == ("muted", True)
    fails("no row 2")
    assert only(huey).state == "muted"
    huey.commands.mute_group(group, until=now - timedelta(seconds=1))
    assert (only(huey).state, only(huey).muted_until) == ("open", None)
    fails("no row 3")
    assert only(huey).state == "open"
    huey.commands.mute_group(group)
    assert (only(huey).state, only(huey).muted_until) == ("muted", None)


def test_a_note_says_who_and_when(huey: JobHuey, fails: Callable[..., str]) -> None:
    fails("no row 1")
    group = huey.commands.note_group(only(huey).id, "Delisted 10:25,\nsafe to retry.", by="ada")
    assert (group.note, group.noted_by) == ("Delisted 10:25,\nsafe to retry.", "ada")
    assert group.noted_at is not None
    with pytest.raises(EngineError, match="at most 1000"):
        huey.commands.note_group(group.id, "x" * 1001)


def test_what_is_not_there_is_said(huey: JobHuey) -> None:
    for ask in (huey.reads.error_group, huey.commands.mute_group, huey.commands.resolve_group):
        with pytest.raises(UnknownGroup):
            ask("0" * 16)


def test_groups_are_bounded_and_resolved_ones_go_first(
    huey: JobHuey, fails: Callable[..., str]
) -> None:
    keys = huey.storage.keys
    fails("the first")
    first = only(huey).id
    fails("the second")
    second = huey.reads.error_groups().items[0].id
    huey.commands.resolve_group(second)
    fill = {f"{n:016x}": 2 * 10**13 + n for n in range(998)}
    huey.storage.client.zadd(keys.one("groups"), fill)
    fails("the third")
    assert huey.storage.client.zcard(keys.one("groups")) == 1000
    with pytest.raises(UnknownGroup):
        huey.reads.error_group(second)
    assert huey.reads.error_group(first).title == "the first"


def test_every_key_of_a_group_ends_by_itself(huey: JobHuey, fails: Callable[..., str]) -> None:
    fails("no row 1")
    keys, group = huey.storage.keys, only(huey).id
    names = [keys.one("groups"), keys.of("group", group), keys.of("spark", group)]
    assert all(huey.storage.client.pttl(name) > 29 * 86400 * 1000 for name in names)
