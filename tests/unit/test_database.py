"""The database under several writers, and the small types of its columns."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, StatementError

from tasks import database as db

WRITERS = """
import threading
from sqlalchemy import text
from tasks import database as db

faults = []

def write():
    try:
        for _ in range(15):
            with db.session() as s:
                n = s.scalar(text("select n from tally"))
                s.execute(text("update tally set n = :n"), {"n": n + 1})
            with db.reading() as s:
                s.scalar(text("select n from tally"))
    except Exception as exc:
        faults.append(repr(exc))

threads = [threading.Thread(target=write) for _ in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
print("\\n".join(faults), end="")
"""


@pytest.fixture
def tally(database: str) -> None:
    with db.session() as s:
        s.execute(text("create table tally (n integer)"))
        s.execute(text("insert into tally values (0)"))


def count() -> int:
    with db.reading() as s:
        return int(s.scalar(text("select n from tally")) or 0)


@pytest.mark.slow(reason="240 commits")
def test_eight_threads_of_two_processes_write_without_an_error_or_a_lost_write(tally: None) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", WRITERS], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate()[0] for process in started] == ["", ""]
    assert count() == 2 * 8 * 15


def test_a_session_that_fails_writes_nothing(tally: None) -> None:
    with pytest.raises(RuntimeError), db.session() as s:
        s.execute(text("update tally set n = 7"))
        raise RuntimeError("half way")
    assert count() == 0


def test_reading_refuses_to_write_and_the_next_session_may(tally: None) -> None:
    with pytest.raises(OperationalError, match="readonly"), db.reading() as s:
        s.execute(text("update tally set n = 7"))
    with db.session() as s:
        s.execute(text("update tally set n = 8"))
    assert count() == 8


def test_a_reader_is_not_held_up_by_a_writer(tally: None) -> None:
    seen: list[int] = []
    with db.session() as s:
        s.execute(text("update tally set n = 7"))
        reader = threading.Thread(target=lambda: seen.append(count()))
        reader.start()
        reader.join()
    assert seen == [0]


def test_sqlite_is_opened_safely(database: str) -> None:
    with db.reading() as s:
        answers = [
            s.scalar(text(f"pragma {name}"))
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        ]
    assert answers == ["wal", 1, 2, 5000]


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_both_spellings_of_postgres_mean_psycopg_3(scheme: str) -> None:
    assert db.sqlalchemy_url(f"{scheme}://u@h/d") == "postgresql+psycopg://u@h/d"


def test_an_instant_is_stored_as_utc_and_a_naive_one_refused(database: str, tmp_path: Path) -> None:
    column = db.UtcDateTime()
    dialect = db.engine().dialect
    berlin = datetime(2026, 11, 24, 15, tzinfo=timezone(timedelta(hours=1)))
    stored = column.process_bind_param(berlin, dialect)
    assert column.process_result_value(stored, dialect) == berlin.astimezone(UTC)
    with pytest.raises((ValueError, StatementError), match="no time zone"):
        column.process_bind_param(datetime(2026, 11, 24), dialect)  # noqa: DTZ001
