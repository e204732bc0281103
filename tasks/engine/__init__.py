"""Jobs on Redis: Huey that never loses a job and remembers every one.

`JobHuey` is run by the stock `huey_consumer`; `huey.reads` answers everything a dashboard may ask,
`huey.commands` does everything an operator may do. Imports only huey, redis and the standard library.
"""

from tasks.engine.current import CurrentJob, current_job
from tasks.engine.errors import (
    CancelRequested,
    Defer,
    EngineError,
    LeaseLost,
    NotSerializable,
    Permanent,
    RetryAfter,
    Skip,
    TooLarge,
    UnknownBatch,
    UnknownGroup,
    UnknownJob,
    UnknownQueue,
    UnknownTask,
    Unreachable,
    WrongState,
)
from tasks.engine.ids import is_id, new_id
from tasks.engine.job_huey import JobHuey
from tasks.engine.operations import Operation, Outcome
from tasks.engine.queues import Queue
from tasks.engine.records import FINAL, LIVE, MASK, Job, JobFilter, Page, State, Survey, Term
from tasks.engine.ticking.schedules import crontab

__all__ = [
    "FINAL", "LIVE", "MASK", "CancelRequested", "CurrentJob", "Defer", "EngineError", "Job",
    "JobFilter", "JobHuey", "LeaseLost", "NotSerializable", "Operation", "Outcome", "Page",
    "Permanent", "Queue", "RetryAfter", "Skip", "State", "Survey", "Term",
    "TooLarge", "UnknownGroup", "UnknownJob", "UnknownQueue", "UnknownTask", "UnknownBatch",
    "Unreachable", "WrongState", "crontab", "current_job", "is_id", "new_id",
]  # fmt: skip
