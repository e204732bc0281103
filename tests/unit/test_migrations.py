"""The migrations build what the models say, and can be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from tasks import database as db
from tasks import settings
from tasks.mailer import models


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'empty.db'}")
    settings.reset()
    db.dispose()
    yield
    db.dispose()
    settings.reset()


def tables() -> set[str]:
    return set(inspect(db.engine()).get_table_names()) - {"alembic_version"}


def test_upgrading_an_empty_database_builds_what_the_models_say(empty: None) -> None:
    assert not db.at_head()
    db.upgrade()
    assert db.at_head()
    assert tables() == set(db.Base.metadata.tables)
    command.check(db.alembic_config())


def test_every_migration_can_be_taken_back_and_run_again(empty: None) -> None:
    db.upgrade()
    before = tables()
    for _ in migrations():
        command.downgrade(db.alembic_config(), "-1")
    assert tables() == set()
    assert not db.at_head()
    db.upgrade()
    assert tables() == before


def test_upgrading_twice_changes_nothing(empty: None) -> None:
    db.upgrade()
    db.upgrade()
    assert db.at_head()


def test_mails_of_before_are_of_whom_they_went_to_in_any_case(empty: None) -> None:
    command.upgrade(db.alembic_config(), "0006_columns_of_views")
    columns = inspect(db.engine()).get_columns("email_messages")
    needed = {c["name"]: 0 for c in columns if not c["nullable"]} | {
        "created_at": "2026-01-01 00:00:00", "updated_at": "2026-01-01 00:00:00",
        "expires_at": "2026-01-01 00:00:00",
    }  # fmt: skip
    names = ", ".join(needed)
    with db.engine().begin() as connection:
        for number, to in enumerate(("Ada@example.org", "JÖRG@example.org"), 1):
            row = needed | {"id": number, "key": to, "to_addr": to}
            values = ", ".join(f":{name}" for name in needed)
            connection.execute(text(f"INSERT INTO email_messages ({names}) VALUES ({values})"), row)
    db.upgrade()
    with db.reading() as session:
        for to in ("ada@example.org", "jörg@example.org"):
            assert models.counts_of(session, to) == {"0": 1}


def test_migrations_are_one_line_without_branches() -> None:
    scripts = ScriptDirectory.from_config(db.alembic_config())
    assert len(scripts.get_heads()) == 1
    names = [script.revision for script in reversed(migrations())]
    assert names == sorted(path.stem for path in db.VERSIONS.glob("[0-9]*.py"))


def migrations() -> list:
    return list(ScriptDirectory.from_config(db.alembic_config()).walk_revisions())
