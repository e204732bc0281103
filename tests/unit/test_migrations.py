"""The migrations build what the models say, and can be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from tasks import database as db
from tasks import settings


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


def test_migrations_are_one_line_without_branches() -> None:
    scripts = ScriptDirectory.from_config(db.alembic_config())
    assert len(scripts.get_heads()) == 1
    names = [script.revision for script in reversed(migrations())]
    assert names == sorted(path.stem for path in db.VERSIONS.glob("[0-9]*.py"))


def migrations() -> list:
    return list(ScriptDirectory.from_config(db.alembic_config()).walk_revisions())
