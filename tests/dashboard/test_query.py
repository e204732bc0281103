"""The query language: what it reads it can write again, and what it cannot read it says where."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.meaning import alike, task_words
from dashboard.query import FIELDS, Part, QueryError, mended, narrowed, parse, write
from tasks.engine import JobFilter, State, Term

NOW = datetime(2026, 11, 24, 12, 6, 24, tzinfo=UTC)


def read(text: str) -> JobFilter:
    return narrowed(JobFilter(), parse(text, NOW), NOW)


@pytest.mark.parametrize(("text", "wanted"), [
    ("", JobFilter()),
    ("state:failed queue:email", JobFilter(state=State.FAILED, queue="email")),
    ("state:delayed", JobFilter(state=State.SCHEDULED)),
    ("state:failed,retrying", JobFilter(terms=(Term("state", ("failed", "retrying")),))),
    ("-state:completed", JobFilter(terms=(Term("state", ("completed",), True),))),
    ("task:deliver_email", JobFilter(task="deliver_email")),
    ("tag:vip tag:new", JobFilter(tag="vip", terms=(Term("tag", ("new",)),))),
    ('error:"554 5.7.1"', JobFilter(error="554 5.7.1")),
    ("args.user_id:42", JobFilter(terms=(Term("args.user_id", ("42",)),))),
    ("args.data.course:x", JobFilter(terms=(Term("args.data.course", ("x",)),))),
    ("to:ann@example.org,*@b.example", JobFilter(terms=(Term("to", ("ann@example.org", "*@b.example")),))),
    ("ada", JobFilter(text="ada")),
    ('"ada l" -bob', JobFilter(text="ada l", terms=(Term("text", ("bob",), True),))),
    ('"a:b" "-c"', JobFilter(text="a:b", terms=(Term("text", ("-c",)),))),
    ('"say \\"hi\\" \\\\"', JobFilter(text='say "hi" \\')),
    ("attempt:>2 recovered:yes", JobFilter(terms=(Term("attempt", (">2",)), Term("recovered", ("yes",))))),
    ("group:0123456789abcdef", JobFilter(terms=(Term("group", ("0123456789abcdef",)),))),
    ("worker:host-1 batch:b1", JobFilter(terms=(Term("worker", ("host-1",)), Term("batch", ("b1",))))),
    ("older:10m", JobFilter(until=NOW - timedelta(minutes=10))),
    ("after:2h before:08:30", JobFilter(since=NOW - timedelta(hours=2), until=NOW.replace(hour=8, minute=30, second=0))),
    ("after:2026-11-23", JobFilter(since=datetime(2026, 11, 23, tzinfo=UTC))),
    ("after:2026-11-23T08:00+02:00", JobFilter(since=datetime(2026, 11, 23, 6, tzinfo=UTC))),
    ("after:1d after:2h", JobFilter(since=NOW - timedelta(hours=2))),
])  # fmt: skip
def test_a_query_says_what_is_wanted(text: str, wanted: JobFilter) -> None:
    assert read(text) == wanted
    assert read(write(parse(text, NOW))) == wanted


@pytest.mark.parametrize(("text", "sentence"), [
    ("state:failed errorr:x", "The query stops at position 14. There is no field errorr. Did you mean error?"),
    ("zzzz:x", "The query stops at position 1. There is no field zzzz."),
    ("state:fialed", "The query stops at position 1. state takes scheduled, waiting, active, retrying, completed, failed or cancelled, not fialed. Did you mean failed?"),
    ("state:dead", "The query stops at position 1. state takes scheduled, waiting, active, retrying, completed, failed or cancelled, not dead."),
    ("task:", "The query stops at position 6. A value is expected here."),
    ("task:a,", "The query stops at position 8. A value is expected here."),
    ('ada "bob', "The query stops at position 5. A quote that opens here is never closed."),
    ('"a"b', "The query stops at position 4. A blank or a comma is expected after a quote."),
    ("ada -", "The query stops at position 5. A minus stands before what is left out."),
    ("attempt:many", "The query stops at position 1. attempt takes attempts used: 2, >2 or <2, not many."),
    ("recovered:maybe", "The query stops at position 1. recovered takes yes or no, not maybe."),
    ("older:soon", "The query stops at position 1. older takes an age such as 10m or 3d, not soon."),
    ("after:noon", "The query stops at position 1. after takes a time such as 08:00, 2026-11-24 or 2026-11-24T08:00, or an age such as 2h, not noon."),
    ("-after:2h", "The query stops at position 1. after takes one time and no minus."),
    ("args:42", "The query stops at position 1. An argument is named such as args.user_id."),
    ("args.:42", "The query stops at position 1. An argument is named such as args.user_id."),
    ("x" * 1001, "The query stops at position 1001. A query has at most 1000 characters."),
])  # fmt: skip
def test_what_cannot_be_read_is_said_with_its_position(text: str, sentence: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text, NOW)
    assert str(caught.value) == sentence


VALUES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
FREE = ("text", "task", "queue", "error", "to", "tag", "group", "worker", "batch", "args.user")
PARTS = st.one_of(
    st.builds(Part, st.sampled_from(FREE), st.lists(VALUES, min_size=1, max_size=3).map(tuple), st.booleans()),
    st.builds(Part, st.just("state"), st.lists(st.sampled_from([s.value for s in State]), min_size=1, max_size=3).map(tuple), st.booleans()),
    st.builds(Part, st.just("attempt"), st.sampled_from([("2",), (">2",), ("<3", "9")]), st.booleans()),
    st.builds(Part, st.sampled_from(["after", "before"]), st.sampled_from([("2h",), ("08:00",), ("2026-11-24",)])),
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PARTS, max_size=4))
def test_what_is_written_reads_back(parts: list[Part]) -> None:
    text = write(parts)
    if len(text) <= 1000:
        read_back = parse(text, NOW)
        assert [(p.field, p.values, p.negated) for p in read_back] == [
            (p.field, p.values, p.negated) for p in parts
        ]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60))
@pytest.mark.slow(reason="a hundred texts")
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(QueryError):
        narrowed(JobFilter(), parse(text, NOW), NOW)


def test_every_field_is_described() -> None:
    assert all(FIELDS.values())


@pytest.mark.parametrize(("text", "meant"), [
    ("state:failed errorr:x", "state:failed error:x"),
    ('-stat:fialed tsk:"a b"', '-state:failed task:"a b"'),
    ("state:active,fialed", "state:active,failed"),
    ("zzzz:x", ""),
    ("errorr:x zzzz:y", ""),
    ("task:", ""),
    ("args:x", ""),
])  # fmt: skip
def test_a_misspelt_query_is_mended_where_one_can_tell(text: str, meant: str) -> None:
    assert mended(text) == meant


def test_a_task_is_meant_by_its_whole_name_or_its_last_part() -> None:
    known = task_words(["tasks.emails.deliver_email", "tasks.reminders.scan"])
    assert alike("delivr_emial", known, 3) == ["emails.deliver_email"]
    assert alike("Reminders.scn", known, 3) == ["reminders.scan"]
    assert alike("zzzz", known, 3) == []
