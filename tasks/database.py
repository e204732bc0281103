"""SQLAlchemy base, engine, `session()` to write and `reading()` to read; nothing Flask.

No SMTP, HTTP or Redis call belongs inside either.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import DateTime, Dialect, Engine, MetaData, create_engine, event, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from tasks import settings

if TYPE_CHECKING:
    from alembic.config import Config

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
PRAGMAS = (
    "busy_timeout = 5000",
    "journal_mode = WAL",
    "foreign_keys = ON",
    "synchronous = FULL",
)
ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ROOT / "migrations" / "versions"
T = TypeVar("T")
_lock = threading.Lock()
_made: dict[str, Any] = {}
# SQLite's busy handler knows no order: of 8 threads one may starve for longer than busy_timeout.
# A process sends one writer at a time, so only processes contend. Re-entered, it is BEGIN that fails.
_turn = threading.RLock()


class Base(DeclarativeBase):
    """Base of every model."""

    metadata = MetaData(naming_convention=NAMES)


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: aware UTC in Python; a naive one is refused."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC. Raises ValueError for a naive instant."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; an aware instant is expected")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return an aware instant."""
        return None if value is None else value.replace(tzinfo=UTC)


def utcnow() -> datetime:
    """Return now, aware."""
    return datetime.now(UTC)


def engine() -> Engine:
    """Return the one engine of this process, made from DATABASE_URL."""
    with _lock:
        if "engine" not in _made:
            _made["engine"] = make_engine(settings.get().database_url)
            _made["sessions"] = sessionmaker(_made["engine"], expire_on_commit=False)
            _made["reading"] = _made["engine"].execution_options(reading=True)
        found: Engine = _made["engine"]
        return found


def make_engine(url: str) -> Engine:
    """Return an engine; SQLite gets WAL, foreign keys, synchronous FULL and a busy timeout."""
    try:
        # A failed statement is logged without its values: they may be addresses or codes.
        made = create_engine(
            sqlalchemy_url(url), hide_parameters=True, pool_pre_ping=not url.startswith("sqlite")
        )
    except (ModuleNotFoundError, NoSuchModuleError) as exc:
        raise settings.SettingsError(
            f"DATABASE_URL begins {url.partition(':')[0]}://, which needs a driver that is not"
            f" installed ({exc}); for PostgreSQL: pip install 'psycopg[binary]'"
        ) from exc
    if made.dialect.name == "sqlite":
        event.listen(made, "connect", _prepare_sqlite)
        event.listen(made, "begin", _begin_sqlite)
    return made


def sqlalchemy_url(url: str) -> str:
    """Return the URL with psycopg 3 named, where a platform's URL says only postgres."""
    if url.startswith(("postgres://", "postgresql://")):
        return "postgresql+psycopg://" + url.partition("://")[2]
    return url


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours: see _begin_sqlite
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Any) -> None:
    """Begin IMMEDIATE to write: a deferred one fails when another wrote before its first write."""
    driver = (
        connection.connection.driver_connection
    )  # neither of these can fail, and each look asks
    if connection.get_execution_options().get("reading", False):
        driver.execute("PRAGMA query_only = ON")
        driver.execute("BEGIN")
        return
    # Before BEGIN: a pooled connection that read last would refuse to begin to write.
    driver.execute("PRAGMA query_only = OFF")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextlib.contextmanager
def session() -> Iterator[Session]:
    """Open a session to write; commits at the end, rolls back on any exception."""
    alone = _turn if engine().dialect.name == "sqlite" else contextlib.nullcontext()
    with alone, _made["sessions"]() as db, db.begin():
        yield db


def _after_fork() -> None:
    global _turn  # another thread of the parent may hold it for ever
    _turn = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


def insert_missing(db: Session, model: type[Base], rows: Sequence[dict[str, Any]]) -> int:
    """Insert rows but for those whose unique key is there; return how many were new."""
    if not rows:
        return 0
    table: Any = model.__table__
    make: Any = postgresql.insert if db.get_bind().dialect.name == "postgresql" else sqlite.insert
    insert = make(table).values(list(rows)).on_conflict_do_nothing()
    return len(db.execute(insert.returning(*table.primary_key)).all())  # rowcount is -1 on some


@contextlib.contextmanager
def reading(within: Session | None = None) -> Iterator[Session]:
    """Open a session to read, or go on in one that is open; writing in it is refused.

    Cost: opening one is a millisecond of a page that nobody asked for just before.
    """
    if within is not None:
        yield within
        return
    engine()
    with Session(_made["reading"], expire_on_commit=False) as db:
        yield db


def unless_away(call: Callable[[], T], otherwise: T) -> T:
    """Return what a call answers, or `otherwise` where the database does not answer."""
    try:
        return call()
    except SQLAlchemyError:
        return otherwise


def upgrade() -> None:
    """Run the migrations that have not run here; costs one query when all have."""
    if at_head():
        return
    from alembic import command  # here: only who migrates pays for loading it

    command.upgrade(alembic_config(), "head")


def at_head() -> bool:
    """Tell whether every migration has run. Raises SQLAlchemyError when SQL does not answer.

    A migration's file is named by its revision, and they are one line: the last name is the head.
    """
    newest = max((path.stem for path in VERSIONS.glob("[0-9]*.py")), default=None)
    with engine().execution_options(reading=True).connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return newest is None
        return newest in connection.scalars(text("select version_num from alembic_version")).all()


def alembic_config() -> Config:
    """Return Alembic's configuration: `[tool.alembic]` of pyproject.toml, paths from there."""
    from alembic.config import Config

    return Config(toml_file=ROOT / "pyproject.toml")


def dispose() -> None:
    """Close every connection and forget the engine; the next call makes a new one."""
    with _lock:
        if "engine" in _made:
            _made["engine"].dispose()
        _made.clear()
