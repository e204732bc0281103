"""What the engine raises, each with a sentence that an operator can act on; and what a task raises
to say what is to come."""

from __future__ import annotations

from datetime import datetime


class EngineError(Exception):
    """Base of everything the engine raises."""


class Unreachable(EngineError):
    """Redis cannot be reached, or refuses the write (full memory, loading, read-only)."""


class UnknownQueue(EngineError):
    """No queue of that name is declared and none was ever used."""


class UnknownTask(EngineError):
    """No task of that name is registered here."""


class UnknownBatch(EngineError):
    """No batch with that id is kept."""


class UnknownJob(EngineError):
    """No job with that id is kept."""


class UnknownGroup(EngineError):
    """No error group with that id is kept."""


class WrongState(EngineError):
    """The job's state does not allow the command."""


class NotSerializable(EngineError, TypeError):
    """An argument or result has no JSON form; names task, argument and type."""


class TooLarge(EngineError, ValueError):
    """An envelope is over its limit."""


class LeaseLost(EngineError):
    """The worker's lease on this job is gone; another worker may have it."""


class CancelRequested(EngineError):
    """An operator asked the running job to stop; raised by job.progress, job.log and job.check."""


class RetryAfter(Exception):
    """Use up this attempt and run again after `delay_s` seconds."""

    def __init__(self, delay_s: float, reason: str = "") -> None:
        super().__init__(reason)
        self.delay_s, self.reason = delay_s, reason


class Defer(Exception):
    """Run again at `until` and use up no attempt; None is the breaker's next probe time."""

    def __init__(self, until: datetime | None, reason: str = "") -> None:
        super().__init__(reason)
        self.until, self.reason = until, reason


class Permanent(Exception):
    """Fail at once, whatever attempts are left."""

    def __init__(self, reason: str = "", error_type: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.error_type = reason, error_type


class Skip(Exception):
    """Complete with the result `skipped`: there is nothing to do."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
