"""How figures, times and long values are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest

from dashboard import formats
from tasks.database import utcnow

T = "\u2009"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0, "0"), (999, "999"), (1284, f"1{T}284"), (1204518, f"1{T}204{T}518")],
)
def test_thousands_are_parted_by_a_thin_space(value: float | None, shown: str) -> None:
    assert formats.number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "–"), (0, "0 s"), (0.84, "0.84 s"), (2.14, "2.1 s"), (9.99, "10 s"), (41.2, "41 s"),
     (59.7, "1 min"), (198, "3 min 18 s"), (1800, "30 min"), (3600, "1 h"), (7440, "2 h 04 min"),
     (3 * 86400 + 4 * 3600, "3 d 4 h"), (-1, "0 s")],
)  # fmt: skip
def test_durations_say_what_a_person_would(seconds: float | None, shown: str) -> None:
    assert formats.duration(seconds).replace(T, " ") == shown


@pytest.mark.parametrize(
    ("ago_s", "shown"),
    [(0.2, "now"), (3, "3 s ago"), (240, "4 min ago"), (7300, "2 h ago"), (-185, "in 3 min"),
     (59.8, "59 s ago"), (3599, "59 min ago"), (-3600, "in 1 h"), (-3659, "in 1 h"), (-5640, "in 1 h 34 min"),
     (-86399, "in 23 h 59 min"), (-90000, "in 1 d 1 h")],
)  # fmt: skip
def test_ages_look_back_and_ahead(
    ago_s: float, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = utcnow()
    monkeypatch.setattr(formats, "utcnow", lambda: now)
    assert formats.ago(now - timedelta(seconds=ago_s)).replace(T, " ") == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [("Zoë 美咲 👩‍🔬", '"Zoë 美咲 👩‍🔬"'), ({"a": [1, None, True]}, '{"a": [1, null, true]}'),
     ("a\u202eb\x07", '"a\\u202eb\\u0007"')],
)  # fmt: skip
def test_an_argument_is_read_as_it_was_written(value: object, shown: str) -> None:
    assert formats.as_json(value) == shown


def test_what_runs_says_how_long_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    now = utcnow()
    monkeypatch.setattr(formats, "utcnow", lambda: now)
    shown = [formats.running(now - timedelta(seconds=age)) for age in (-3, 0.2, 41, 200)]
    assert shown == ["0 s", "0 s", "41 s", "3 min"]


def test_an_end_that_is_set_is_named_with_its_day_and_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "utcnow", lambda: datetime(2026, 11, 24, 22, 0, tzinfo=UTC))
    assert formats.until(datetime(2026, 11, 24, 23, 5, tzinfo=UTC)) == " until 23:05 UTC"
    assert formats.until(datetime(2026, 11, 25, 3, 0, tzinfo=UTC)) == " until tomorrow 03:00 UTC"
    assert formats.until(None) == ""


def test_instants_are_utc_wherever_they_were_made() -> None:
    at = datetime.fromisoformat("2026-11-24T14:06:24+02:00")
    assert formats.clock(at) == "12:06:24"
    assert formats.stamp(at) == "24 Nov 2026, 12:06:24 UTC"
    assert formats.iso(at) == "2026-11-24T12:06:24Z"
    assert formats.iso(None) == ""
    assert at.astimezone(UTC).hour == 12


@pytest.mark.parametrize("most", [20, 24, 34])
def test_an_address_is_cut_before_its_at_sign(most: int) -> None:
    whole = "maximiliane.von-hohenstein@uni.example"
    shown = formats.address(whole, most)
    assert len(shown) <= most
    assert shown.startswith("maxi")
    assert shown.endswith("…@uni.example")
    assert formats.address("ada@example.org", most) == "ada@example.org"


def test_an_address_with_a_long_domain_stays_in_its_room() -> None:
    shown = formats.address("a.b@" + "sub." * 30 + "example", 34)
    assert len(shown) <= 34
    assert "@" in shown


@pytest.mark.parametrize("most", [9, 10, 48])
def test_a_long_value_is_cut_in_its_middle(most: int) -> None:
    shown = formats.middle("a" * 40 + "z" * 40, most)
    assert len(shown) <= most
    assert (shown[0], shown[-1]) == ("a", "z")
    assert formats.middle("short", most) == "short"


@pytest.mark.parametrize(
    ("text", "said"),
    [("20/s", "20 a second"), ("5/1m", "5 a minute"), ("1/h", "1 an hour"), ("2000/d", f"2{T}000 a day"),
     ("100/15m", "100 in 15 min"), ("3/200ms", "3 in 0.20 s"), ("3/1.5s", "3 in 1.5 s")],
)  # fmt: skip
def test_a_rate_is_said_in_words(text: str, said: str) -> None:
    assert formats.rate(text) == said


def test_a_task_is_parted_into_module_and_function() -> None:
    assert formats.short_task("tasks.emails.deliver_email") == ("emails.", "deliver_email")
    assert formats.short_task("scan") == ("", "scan")


def test_a_mails_arguments_say_type_and_address() -> None:
    job = SimpleNamespace(
        task="tasks.emails.deliver_email", args=(7, "welcome", "ada@example.org"), kwargs={}
    )
    assert formats.compact(job) == "welcome to ada@example.org"


def test_other_arguments_stand_on_one_line() -> None:
    job = SimpleNamespace(task="t", args=(1, "two", None), kwargs={"deep": {"a": [1]}})
    assert formats.compact(job) == '1, two, null, deep={"a": [1]}'


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(None, "ms", ("–", "")), (38.4, "ms", ("38", "ms")), (0.9786, "%", ("97.9", "%")),
     (1.0, "%", ("100", "%")), (0.8, "s", ("0.8", "s")), (198, "s", ("3:18", "min")), (1284, "", (f"1{T}284", "")),
     (0.31, "", ("0.3", "")), (7.46, "", ("7.5", "")), (2.0, "", ("2", "")), (0.0007, "", ("under 0.01", "")), (0.0, "", ("0", ""))],
)  # fmt: skip
def test_a_kpi_is_a_figure_and_a_unit(
    value: float | None, unit: str, shown: tuple[str, str]
) -> None:
    kpi = SimpleNamespace(value=value, unit=unit)
    assert (formats.figure(kpi), formats.unit(kpi)) == shown


@pytest.mark.parametrize(
    "name", ["email", "a b", "50%&more", "über/grün?x=1#y", "tasks.emails.deliver"]
)
def test_a_quoted_name_is_one_part_of_an_address(name: str) -> None:
    assert unquote(formats.quoted(name)) == name
    assert urlsplit(f"/queues/{formats.quoted(name)}").path.count("/") == 2
