"""Jobs that belong to a business change: rows in its transaction, pushed to Redis after the commit.

One thread per process pushes: at once after each commit, and every 2 s what stayed behind. So no
request waits for Redis. A row's id is its job's: pushed twice is one job.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    LargeBinary,
    String,
    and_,
    bindparam,
    delete,
    event,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, Session, SessionTransaction, mapped_column

from tasks.database import Base, UtcDateTime, insert_missing, reading, session, utcnow
from tasks.engine import EngineError, JobHuey, Unreachable
from tasks.engine.rows import read_envelope

logger = logging.getLogger("tasks.outbox")
MOST_ROWS = 100_000
AT_ONCE = 200
SWEEP_S = 2.0
SETTLE_S = 0.05  # that a caller waits for its job to be in Redis
ASIDE_S = 60.0
SAFE_FOR = timedelta(hours=24)  # Redis knows a pushed id for 48 h: until then twice is one job
ADDED, COMMITTED = "outbox_added", "outbox_committed"


class OutboxFull(EngineError):
    """The outbox holds MOST_ROWS rows: Redis has been away too long."""


class OutboxRow(Base):
    """A job on its way to Redis; `pushed_at` is set before its first push."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(String(64), unique=True)
    envelope: Mapped[bytes] = mapped_column(LargeBinary)
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    pushed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str] = mapped_column(String(300), default="")

    @property
    def task(self) -> str:
        """Return the name of its task; empty where the envelope cannot be read."""
        message = read_envelope(self.envelope)[2]
        return str(message.name) if message else ""

    @property
    def stuck(self) -> bool:
        """Tell whether an operator has to decide: perhaps pushed, too long ago to repeat it."""
        return self.pushed_at is not None and self.pushed_at <= utcnow() - SAFE_FOR

    @property
    def why(self) -> str:
        """Say why it is still here."""
        if self.stuck:
            return (
                "it may have been pushed over a day ago; look whether it ran, then run or cancel it"
            )
        return (
            self.error or "Redis has not taken it yet; it goes by itself as soon as Redis answers"
        )


# Rows, in the caller's transaction


def add(db: Session, job_id: str, envelope: bytes, due: datetime | None) -> None:
    """Add a job to the caller's transaction: it is pushed if, and only if, that commits.

    An id that waits already is left as it is. Raises: OutboxFull.
    """
    _check_room(db)
    row = {
        "job_id": job_id,
        "envelope": envelope,
        "due_at": due,
        "created_at": utcnow(),
        "error": "",
    }
    insert_missing(db, OutboxRow, [row])
    db.info[ADDED] = True


def _check_room(db: Session) -> None:
    """Raise OutboxFull; count only when the span of ids says that it may be full."""
    first, last = db.execute(select(func.min(OutboxRow.id), func.max(OutboxRow.id))).one()
    if last is None or last - first + 1 < MOST_ROWS:
        return
    count = db.scalar(select(func.count(OutboxRow.id))) or 0
    if count >= MOST_ROWS:
        raise OutboxFull(
            f"{count} jobs wait in the outbox and {MOST_ROWS} is the most: Redis has been away too"
            " long; bring it back, then try again"
        )


def withdraw(db: Session, job_id: str) -> bool:
    """Delete a row that was never pushed, or that needs an operator; tell whether it was there."""
    free = or_(OutboxRow.pushed_at.is_(None), OutboxRow.pushed_at <= utcnow() - SAFE_FOR)
    return _changed(db, delete(OutboxRow).where(OutboxRow.job_id == job_id, free))


def release(db: Session, job_id: str) -> bool:
    """Let a row that needs an operator be pushed after all; tell whether there was such a one."""
    late = OutboxRow.pushed_at <= utcnow() - SAFE_FOR
    freed = update(OutboxRow).where(OutboxRow.job_id == job_id, late)
    db.info[ADDED] = True
    return _changed(db, freed.values(pushed_at=None, error=""))


def _changed(db: Session, statement: Any) -> bool:
    result: Any = db.execute(statement)
    return bool(result.rowcount)


def spill(job_id: str, envelope: bytes, due: datetime | None) -> bool:
    """Take a job that could not reach Redis; False where the outbox cannot take it either."""
    try:
        with session() as db:
            add(db, job_id, envelope, due)
    except (SQLAlchemyError, OutboxFull):
        logger.exception("job %s was taken neither by Redis nor by the outbox", job_id)
        return False
    return True


# Questions; those of each look are built once, which is a third of what they cost

WAITING = select(func.count(), func.min(OutboxRow.created_at))
OF_JOB = select(OutboxRow).where(OutboxRow.job_id == bindparam("job_id"))


def waiting(within: Session | None = None) -> tuple[int, datetime | None]:
    """Return how many rows wait, and since when the oldest does."""
    with reading(within) as db:
        count, oldest = db.execute(WAITING).one()
    return count, oldest


def stuck() -> int:
    """Return how many rows need an operator."""
    query = select(func.count()).where(OutboxRow.pushed_at <= utcnow() - SAFE_FOR)
    with reading() as db:
        return db.scalar(query) or 0


def row(job_id: str, within: Session | None = None) -> OutboxRow | None:
    """Return a job's row while it waits."""
    with reading(within) as db:
        return db.scalars(OF_JOB, {"job_id": job_id}).first()


def rows(limit: int = 50) -> Sequence[OutboxRow]:
    """Return the rows that wait, the oldest first."""
    with reading() as db:
        return db.scalars(select(OutboxRow).order_by(OutboxRow.id).limit(limit)).all()


# The relay: one thread per process


class Relay:
    """Pushes rows for one Huey: when asked, and every SWEEP_S."""

    def __init__(self, huey: JobHuey) -> None:
        self.huey = huey
        self.reachable = True
        self._aside: dict[str, float] = {}
        self._said = ""
        self.forget()

    def forget(self) -> None:
        """Start from nothing, as after a fork: locks and thread of the parent are not ours."""
        self._turn = threading.Condition()
        self._thread: threading.Thread | None = None
        self._asked = self._taken = self._served = 0
        self._stopping = False

    def start(self) -> None:
        """Start the thread, unless it runs in this process."""
        with self._turn:
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for it; the next row starts another."""
        with self._turn:
            thread, self._thread, self._stopping = self._thread, None, True
            self._turn.notify_all()
        if thread is not None:
            thread.join(timeout=10)
        self._stopping = False

    def ask(self) -> None:
        """Ask for a push now; does not wait for it."""
        with self._turn:
            self._asked += 1
            self._turn.notify_all()
        self.start()

    def settle(self, timeout_s: float) -> bool:
        """Wait until what was committed before is in Redis; False at once while Redis is away."""
        with self._turn:
            ticket = self._asked
            self._turn.wait_for(lambda: self._served >= ticket or not self.reachable, timeout_s)
            return self._served >= ticket

    def _run(self) -> None:
        while not self._stopping:
            with self._turn:
                self._taken = self._asked
            self._sweep()
            with self._turn:
                self._turn.wait_for(self._wanted, SWEEP_S)

    def _wanted(self) -> bool:
        return self._stopping or self._asked > self._taken and self.reachable

    def _sweep(self) -> None:
        try:
            self.push()
        except Unreachable as exc:
            self._tell(reachable=False, why=str(exc))
        except Exception as exc:  # SQL is away, or not migrated yet
            if str(exc) != self._said:
                logger.exception("the outbox is not pushed; it is tried again each %g s", SWEEP_S)
            self._said = str(exc)
        else:
            self._said = ""
            self._tell(reachable=True)

    def _tell(self, *, reachable: bool, why: str = "") -> None:
        """Tell those who wait, and the log when it changed."""
        if reachable != self.reachable:
            logger.warning("Redis is back: the outbox was pushed" if reachable
                           else f"{why}; jobs wait in the outbox")  # fmt: skip
        with self._turn:
            self.reachable = reachable
            if reachable:
                self._served = self._taken
            self._turn.notify_all()

    def push(self) -> int:
        """Push what waits, in order of id. Returns: how many rows went.

        Raises: Unreachable; the rows stay and may be pushed again.
        """
        gone, last = 0, 0
        while True:
            with reading() as db:
                if db.scalar(select(OutboxRow.id).where(_ready(last)).limit(1)) is None:
                    return gone
            self.huey.reads.ping()  # before pushed_at: what never left may wait as long as it takes
            chunk = _claim(last)
            if chunk:
                gone += self._push_chunk([row for row in chunk if self._in_turn(row)])
                last = chunk[-1].id

    def _push_chunk(self, chunk: Sequence[OutboxRow]) -> int:
        """Push rows in one call; one by one where this process cannot push one of them."""
        if not chunk:
            return 0
        try:
            self.huey.push([(row.job_id, row.envelope, row.due_at) for row in chunk])
        except Unreachable:
            raise
        except Exception as exc:
            if len(chunk) > 1:
                return sum(self._push_chunk([row]) for row in chunk)
            self._put_aside(chunk[0], exc)
            return 0
        with session() as db:
            db.execute(delete(OutboxRow).where(OutboxRow.id.in_([row.id for row in chunk])))
        return len(chunk)

    def _in_turn(self, row: OutboxRow) -> bool:
        return self._aside.get(row.job_id, 0.0) <= time.monotonic()

    def _put_aside(self, row: OutboxRow, exc: Exception) -> None:
        """Leave a row that cannot be pushed here, such as one of an unknown task, for a while."""
        now = time.monotonic()
        self._aside = {job_id: at for job_id, at in self._aside.items() if at > now}
        self._aside[row.job_id] = now + ASIDE_S
        logger.error("job %s waits in the outbox: %s", row.job_id, exc)
        with session() as db:
            text = f"{type(exc).__name__}: {exc}"[:300]
            db.execute(update(OutboxRow).where(OutboxRow.id == row.id).values(error=text))


def _ready(after: int) -> Any:
    """Return the condition of rows that may be pushed."""
    safe = or_(OutboxRow.pushed_at.is_(None), OutboxRow.pushed_at > utcnow() - SAFE_FOR)
    return and_(OutboxRow.id > after, safe)


def _claim(after: int) -> Sequence[OutboxRow]:
    """Return the next rows, each first push noted, in one transaction: none was withdrawn since."""
    with session() as db:
        query = select(OutboxRow).where(_ready(after)).order_by(OutboxRow.id).limit(AT_ONCE)
        chunk = db.scalars(query).all()
        first = [row.id for row in chunk if row.pushed_at is None]
        if first:
            noted = update(OutboxRow).where(OutboxRow.id.in_(first))
            db.execute(noted.values(pushed_at=utcnow()), execution_options=UNSYNCED)
        return chunk


UNSYNCED = {"synchronize_session": False}
_joined: list[Relay] = []


def join(huey: JobHuey) -> Relay:
    """Join the outbox to a Huey: it spills here, commits ask for a push, its workers relay."""
    stop()
    relay = Relay(huey)
    huey.spill = spill
    huey.on_startup(name="outbox")(relay.start)  # type: ignore[no-untyped-call]
    _joined[:] = [relay]
    return relay


def push() -> int:
    """Push what waits, in this thread. Returns: how many rows went. Raises: Unreachable."""
    return _joined[0].push() if _joined else 0


def settle(timeout_s: float | None = None) -> bool:
    """After a commit: wait until its jobs are in Redis; False at once while Redis is away.

    `timeout_s` None waits `SETTLE_S`.
    """
    return bool(_joined) and _joined[0].settle(SETTLE_S if timeout_s is None else timeout_s)


def stop() -> None:
    """Stop this process's thread; the next row starts another."""
    for relay in _joined:
        relay.stop()


def _after_fork() -> None:
    for relay in _joined:
        relay.forget()


os.register_at_fork(after_in_child=_after_fork)


@event.listens_for(Session, "after_commit")
def _after_commit(db: Session) -> None:
    # It also fires when a SAVEPOINT is released, before the outer commit.
    if db.info.get(ADDED) and not db.in_nested_transaction():
        db.info[COMMITTED] = True


@event.listens_for(Session, "after_transaction_end")
def _after_end(db: Session, transaction: SessionTransaction) -> None:
    """Ask for a push when the outermost transaction is over and has given its connection back."""
    if transaction.parent is not None:
        return
    added, committed = db.info.pop(ADDED, False), db.info.pop(COMMITTED, False)
    if added and committed and _joined:
        _joined[0].ask()
