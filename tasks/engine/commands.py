"""Everything an operator may do to jobs, queues and workers. Each command is safe to repeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tasks.engine.errors import EngineError, UnknownJob, UnknownQueue
from tasks.engine.instance import QueueStats, Worker
from tasks.engine.operating import acts, dry_run, pausing
from tasks.engine.operating.acts import JobActs
from tasks.engine.operating.bulk import KINDS, Operations, Plan, Target
from tasks.engine.operating.checking import Check
from tasks.engine.operating.grouping import Deciding
from tasks.engine.operating.stepping import Stepper
from tasks.engine.operations import Operation
from tasks.engine.queues import rate_of, retention_of
from tasks.engine.records import MASK, JobFilter
from tasks.engine.ticking.periodic import Ticking
from tasks.engine.wording import cancelled_by, one_line

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey

KEEP: Any = object()
ALL_AT_ONCE = Plan()


LIVE_TEXTS = ("rate", "kept", "fkept")


class Commands(JobActs, pausing.Pausing, Deciding, Ticking):
    """The engine's acts; made by JobHuey as `huey.commands`."""

    def __init__(self, huey: JobHuey) -> None:
        super().__init__(huey)
        self.bulk = Operations(huey.storage)
        self.stepper = Stepper(self)

    # Queues

    def configure(self) -> None:
        """Write the queues' configured options where the scripts read them; live values stay."""
        commands: list[Sequence[Any]] = []
        names = ("age", "keep", "fage", "fkeep", "cc", "rl", "rp")
        for name, queue in self.huey.declared.items():
            key = self.storage.keys.of("queue", name)
            live = self.storage.call("HMGET", key, *LIVE_TEXTS)
            options = {**queue.options(), **_live_options(live)}
            commands.append(("SADD", self.storage.keys.one("queues"), name))
            commands.append(("HDEL", key, *(n for n in names if n not in options), "-"))
            commands.append(("HSET", key, *(part for pair in options.items() for part in pair)))
        self.storage.write(commands)

    def _queue_key(self, queue: str) -> str:
        if queue not in self.huey.reads.names():
            raise UnknownQueue(
                f"there is no queue {queue!r}; there are {', '.join(self.huey.declared)}"
            )
        return self.storage.keys.of("queue", queue)

    def pause(self, queue: str, *, by: str = "", reason: str = "",
              until: datetime | None = None) -> QueueStats:  # fmt: skip
        """Take no more jobs from a queue, until resumed or until a time.

        Said again without a reason or an end, it changes nothing.
        Raises: UnknownQueue; EngineError for an end that has passed.
        """
        key = self._queue_key(queue)
        pausing.check_end(until)
        if until is None and not reason and self.storage.call("HEXISTS", key, "pa"):
            return self.huey.reads.queue(queue)
        fields: list[Any] = [
            "pa",
            int(time.time() * 1000),
            "pb",
            one_line(by),
            "pr",
            one_line(reason),
        ]
        commands: list[Sequence[Any]] = [("HDEL", key, "pu"), ("HSET", key, *fields)]
        if until is not None:
            commands.append(("HSET", key, "pu", int(until.timestamp() * 1000)))
        self.storage.write(commands)
        return self.huey.reads.queue(queue)

    def resume(self, queue: str, *, by: str = "") -> QueueStats:
        """Take jobs again; saying it twice changes nothing. Raises UnknownQueue."""
        key = self._queue_key(queue)
        self.storage.write([("HDEL", key, "pa", "pu", "pb", "pr"), *self.storage.calls([queue])])
        return self.huey.reads.queue(queue)

    def set_limits(self, queue: str, *, concurrency: int | None = KEEP, rate: str | None = KEEP,
                   retention: str | None = KEEP, retention_failed: str | None = KEEP) -> QueueStats:  # fmt: skip
        """Set live limits; None goes back to the configured value.

        Raises: UnknownQueue; ValueError for a rate or retention that is none.
        """
        key, configured = self._queue_key(queue), self.huey.declared.get(queue)
        fields: dict[str, Any] = {}
        if concurrency is not KEEP:
            fields["lc"] = concurrency
        if rate is not KEEP:
            fields["rate"] = rate
            most = rate_of(rate or (configured.rate if configured else None))
            fields["rl"], fields["rp"] = most or (None, None)
        if retention is not KEEP:
            fields["kept"] = retention
            kept = retention or (configured.retention if configured else "7d/100000")
            fields["age"], fields["keep"] = retention_of(kept)
        if retention_failed is not KEEP:
            kept = retention_failed or (configured.retention_failed if configured else "30d/100000")
            fields["fage"], fields["fkeep"] = retention_of(kept)
            fields["fkept"] = retention_failed
        self.storage.write([*_set_or_drop(key, fields), *self.storage.calls([queue])])
        return self.huey.reads.queue(queue)

    def probe(self, queue: str) -> bool:
        """Let the breaker's next probe go out now. Returns: False when it is closed."""
        key = self._queue_key(queue)
        if self.storage.call("HGET", key, "bs") is None:
            return False
        self.storage.write([("HSET", key, "bp", "0"), *self.storage.calls([queue])])
        return True

    # Workers

    def _wish(self, worker_id: str, wish: str) -> Worker:
        key = self.storage.keys.of("proc", worker_id)
        if not self.storage.call("EXISTS", key):
            raise UnknownJob(f"there is no worker {worker_id}")
        self.storage.write([("HSET", key, "wish", wish) if wish else ("HDEL", key, "wish")])
        return self.huey.reads.worker(worker_id)

    def quiet(self, worker_id: str) -> Worker:
        """Let a worker finish what it runs and take nothing new. Raises UnknownJob."""
        return self._wish(worker_id, "quiet")

    def wake(self, worker_id: str) -> Worker:
        """Let a quiet worker take jobs again. Raises UnknownJob."""
        return self._wish(worker_id, "")

    def stop(self, worker_id: str) -> Worker:
        """Ask a worker to finish what it runs and exit. Raises UnknownJob."""
        return self._wish(worker_id, "stop")

    def stop_now(self, worker_id: str) -> Worker:
        """Ask a worker to exit at once; what it runs goes back to waiting, no attempt burnt.

        Raises: UnknownJob.
        """
        return self._wish(worker_id, "halt")

    # Operations

    def start_operation(self, kind: str, *, filter: JobFilter | None = None,  # noqa: A002
                        ids: Iterable[str] | None = None, by: str = "", reason: str = "",
                        plan: Plan = ALL_AT_ONCE, **given: Any) -> Operation:  # fmt: skip
        """Start a bulk action on exactly the jobs that match now, or on these ids.

        Args:
            given: `older_than_s`, and what the kind takes: `delay_s` (retry, reschedule), `at`
                (reschedule), `queue` (move), `priority`, `tags` (tag, untag), `name` and `value` (patch).
        Raises: EngineError when neither a filter nor ids are given, or for anything that is none.
        """
        older = given.pop("older_than_s", None)
        chosen = list(dict.fromkeys(ids)) if ids is not None else []
        if not chosen and filter is None:
            raise EngineError("an operation needs ids or a filter; neither was given")
        if chosen and kind == "search":
            raise EngineError("a search takes a filter; ids were given")
        options, shown = self._options(kind, given, by, reason)
        plan.check(kind)
        if chosen:
            target = Target(None, chosen, len(chosen))
        else:
            target = self._target(kind, self._frozen(filter or JobFilter(), older))
        return self.bulk.create(kind, target, plan, options, shown, by=by, reason=reason)

    def _target(self, kind: str, query: JobFilter) -> Target:
        """Return what a frozen query comes to: jobs that match, or that a search has to look at."""
        if kind == "search":
            return Target(query, (), self.huey.reads.size(query))
        found = dry_run.count(self.huey.reads, query)
        return Target(query, (), found.many, found.exact)

    def _options(self, kind: str, given: Mapping[str, Any], by: str,
                 reason: str) -> tuple[dict[str, Any], dict[str, Any]]:  # fmt: skip
        """Return what a kind's script takes, and the same for people. Raises EngineError."""
        if kind not in KINDS:
            raise EngineError(f"there is no operation {kind!r}; there are {', '.join(KINDS)}")
        if kind == "patch":
            return self._patch_options(str(given.get("name", "")), given.get("value"))
        checks: Mapping[str, Callable[[], dict[str, Any]]] = {
            "retry": lambda: acts.later(given.get("delay_s")),
            "reschedule": lambda: acts.when(given.get("at"), given.get("delay_s")),
            "move": lambda: self.lane(str(given.get("queue", ""))),
            "priority": lambda: acts.band(given.get("priority", 1000)),
            "tag": lambda: acts.words(given.get("tags", ())),
            "untag": lambda: acts.words(given.get("tags", ())),
        }
        made = checks[kind]() if kind in checks else {"why": cancelled_by(by, reason)}
        return made, {name: value for name, value in given.items() if value is not None}

    def _patch_options(self, name: str, value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        options = {"name": acts.argument(name), "value": self.sealed(value)}
        return options, {"name": name, "value": MASK if self.is_secret(name) else value}

    def _frozen(self, wanted: JobFilter, older_than_s: float | None) -> JobFilter:
        last = self.huey.reads.changed_at()
        until = min(wanted.until or last, last)
        if older_than_s is not None:
            now = datetime.fromtimestamp(self.huey.reads.now_ms() / 1000, UTC)
            until = min(until, now - timedelta(seconds=older_than_s))
        return replace(wanted, until=until)

    def stop_operation(self, operation_id: str, *, by: str = "") -> Operation:
        """Stop an operation after its current chunk; what is done stays done."""
        return self.bulk.set_state(operation_id, "stopped", by)

    def pause_operation(self, operation_id: str, *, by: str = "") -> Operation:
        """Pause an operation after its current chunk."""
        return self.bulk.set_state(operation_id, "paused", by)

    def resume_operation(self, operation_id: str, *, by: str = "") -> Operation:
        """Go on with a paused operation; one that its canary paused goes on with all."""
        return self.bulk.set_state(operation_id, "running", by)

    def step_operations(self) -> int:
        """Do one chunk of each running operation. Returns: how many can go on at once."""
        return self.stepper.step()

    # The keys

    def fsck(self, *, mend: bool = True) -> dict[str, int]:
        """Check every key against the jobs' records, and the counts; mend. Returns: how often what was found.

        Raises: Unreachable. Cost: a call of some milliseconds for each 100 keys.
        """
        return Check(self.storage).all(mend=mend)


def _live_options(live: Sequence[bytes | None]) -> dict[str, int]:
    """Return what an operator set live, as the scripts read it: it outlives a worker's start."""
    rate, kept, failed_kept = (text.decode() if text else "" for text in live)
    found: dict[str, int] = {}
    if most := rate_of(rate):
        found["rl"], found["rp"] = most
    if kept:
        found["age"], found["keep"] = retention_of(kept)
    if failed_kept:
        found["fage"], found["fkeep"] = retention_of(failed_kept)
    return found


def _set_or_drop(key: str, fields: Mapping[str, Any]) -> list[Sequence[Any]]:
    commands: list[Sequence[Any]] = []
    for name, value in fields.items():
        commands.append(("HDEL", key, name) if value is None else ("HSET", key, name, value))
    return commands
