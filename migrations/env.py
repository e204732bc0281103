"""Alembic's environment: the URL from Settings, the tables from every module that owns some."""

import importlib
import importlib.util
from typing import Any

from alembic import context
from sqlalchemy import event

from tasks import database, settings

# Who owns tables. A module that is not there yet has no tables.
MODELS = (
    "tasks.domain",
    "tasks.outbox",
    "tasks.reminders",
    "tasks.mailer.models",
    "tasks.alerts.models",
    "dashboard.models",
)


def load_models() -> None:
    for name in MODELS:
        if importlib.util.find_spec(name):
            importlib.import_module(name)


def without_foreign_keys(connection: Any, record: Any) -> None:
    """SQLite's batch mode drops and recreates tables, which must not cascade into other tables."""
    connection.execute("PRAGMA foreign_keys = OFF")


def run() -> None:
    load_models()
    engine = database.make_engine(settings.get().database_url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", without_foreign_keys)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=database.Base.metadata,
            render_as_batch=True,
            transactional_ddl=True,
            compare_type=True,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
