"""The consumer that stock `huey_consumer` runs: same loop, with a lease, ticks and a clean stop."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

from huey.constants import WORKER_PROCESS
from huey.consumer import Consumer, ConsumerStopped, Scheduler, Worker

from tasks.engine.errors import EngineError, Unreachable
from tasks.engine.keys import SCHEMA, newer
from tasks.engine.operating.checking import Check
from tasks.engine.operating.yielding import Yielding
from tasks.engine.reading import fleet
from tasks.engine.running.bookkeeping import Bookkeeping, note_version
from tasks.engine.ticking import periodic

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey

logger = logging.getLogger("tasks.engine")
PROMOTED_AT_ONCE = 200
TRIMMED_AT_ONCE = 50
AWAY_S = 0.5
OPERATE_S = 0.5  # of housekeeping at a stretch: due jobs and ticks wait no longer
LAST_TRIES = 5
STOPS = ("stop", "halt")  # wishes: after what runs now, and at once
JOINED_S = 0.2
TRIM_EACH_S = 30.0


def share_log(ours: logging.Logger, hueys: logging.Logger) -> None:
    """Write our lines where and as Huey's are written, in an app that set up no log of its own."""
    if ours.hasHandlers():
        return
    for handler in hueys.handlers:
        ours.addHandler(handler)
    ours.setLevel(hueys.level)


def orphaned(huey: JobHuey) -> bool:
    """Tell whether the consumer that forked this process is gone: nobody would ever stop it."""
    return bool(huey.parent_pid) and os.getppid() != huey.parent_pid


class JobWorker(Worker):
    """One slot: commits what it finished with its next fetch."""

    huey: JobHuey

    def initialize(self) -> None:
        """Take the process's lease; an unreachable Redis is waited for in the loop."""
        super().initialize()
        if self.huey.worker_info.get("kind") == WORKER_PROCESS:
            self.huey.lease.on_halt = self._halt
        self.huey.dispatch.told_to_end = self.stop_flag.is_set
        self.huey.join_loop()

    def loop(self, now: Any = None) -> None:
        """Run one job, or wait for one; while Redis is away, wait and keep what was finished."""
        try:
            task = self._next()
        except Unreachable:
            self.stop_flag.wait(AWAY_S)  # the lease's thread says so, once
            return
        if task is None:
            return
        self.task_count += 1
        try:
            self.huey.execute(task, now)
        except Exception:
            self._logger.exception("Unhandled error during execution of task %s.", task.id)
        self._recycle()

    def _next(self) -> Any:
        """Return the next job, or None; a quiet worker and one that is to stop take none."""
        wish = "stop" if orphaned(self.huey) else self.huey.lease.wish
        if not wish:
            return self.huey.dequeue()
        self.huey.dispatch.give_back()
        if wish in STOPS:
            self.stop_flag.set()
        self.stop_flag.wait(AWAY_S)
        return None

    def _halt(self) -> None:
        """End a forked worker at once: what it runs is interrupted, as by a second signal."""
        self.stop_flag.set()
        os.kill(os.getpid(), self.huey.interrupts_by)

    def _recycle(self) -> None:
        if self.max_tasks and self.task_count >= self.max_tasks:
            from huey.consumer import WorkerRecycle

            raise WorkerRecycle

    def shutdown(self) -> None:
        """Commit the last outcome; what cannot be committed comes back by the lease."""
        for _ in range(LAST_TRIES):
            try:
                self.huey.leave_loop()
                break
            except Unreachable:
                time.sleep(AWAY_S)
        if self.huey.lease.info["kind"] == WORKER_PROCESS:
            self.huey.lease.close()
        super().shutdown()


class JobScheduler(Scheduler):
    """Housekeeping of a consumer: due jobs, ticks, the dead, retention, operations."""

    huey: JobHuey

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._next_trim = 0.0
        self._next_sweep = 0.0
        self._check = Check(self.huey.storage)
        self._books = Bookkeeping(self.huey)
        self._yielding = Yielding(self.huey.storage)
        self._booked = self._ticked = 0  # Unix minutes, by Redis's clock
        self._died: tuple[str, ...] = ()
        self._busy = False

    def loop(self, now: Any = None) -> None:
        """Do what is due; an outage is waited for."""
        started = time.monotonic()
        if orphaned(self.huey):
            self.stop_flag.set()
            return
        try:
            self.keep_house()
        except Unreachable:
            self.stop_flag.wait(AWAY_S)
        except EngineError:
            self._logger.exception("housekeeping failed; it goes on")
        self.sleep_for_interval(started, self._interval_s())

    def _interval_s(self) -> float:
        """Go on at once while an operation runs, else each second (or each beat, if shorter)."""
        return 0.0 if self._busy else min(float(self.interval), self.huey.beat_s)

    def _operate(self) -> bool:
        """Step operations for a while, at a share of Redis's time. Returns: whether one goes on."""
        until = time.monotonic() + OPERATE_S
        while not self.stop_flag.is_set():
            started = time.monotonic()
            if not self.huey.commands.step_operations():
                return False
            if time.monotonic() > until:
                return True
            self.stop_flag.wait(self._yielding.rest_s(time.monotonic() - started))
        return False

    def keep_house(self) -> None:
        """Promote, tick, step operations, sweep, trim and keep the figures; one call when idle."""
        huey = self.huey
        _, _, now, running = huey.storage.scripts.run("house", 0, PROMOTED_AT_ONCE, huey.lease.proc)
        now_ms = int(now)
        look = self.periodic and self._ticked != now_ms // 60_000
        if look and None not in periodic.fire_each(huey, now_ms):
            self._ticked = now_ms // 60_000
        self._busy = bool(running) and self._operate()
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + huey.beat_s
            huey.lease.sweep()
        if time.monotonic() >= self._next_trim:
            self._next_trim = time.monotonic() + TRIM_EACH_S
            huey.storage.scripts.run("trim", 0, TRIMMED_AT_ONCE, *huey.storage.queues)
        self._check.step(now_ms)
        if self._booked != now_ms // 60_000:
            self._booked = now_ms // 60_000
            self._books.keep(now_ms)


class JobConsumer(Consumer):
    """Huey's consumer whose TERM and INT are both graceful; a second signal interrupts."""

    worker_class = JobWorker
    scheduler_class = JobScheduler
    huey: JobHuey

    def __init__(self, huey: JobHuey, **options: Any) -> None:
        options["health_check_interval"] = min(1, options.get("health_check_interval", 1))
        super().__init__(huey, **options)
        self._dead: dict[int, int] = {}

    def start(self) -> None:
        """Check the server, write the queues' configured options, take the lease, start the slots.

        Exits with 2 and one sentence when Redis is away at the start or cannot carry the engine.
        """
        share_log(logger, logging.getLogger("huey"))
        self._check_server()
        self._write_first()
        self.huey.parent_pid = os.getpid() if self.environment.forks else 0
        slots = 1 if self.environment.forks else self.workers
        self.huey.worker_info = {
            "kind": self.worker_type, "slots": slots, "family": secrets.token_hex(4),
        }  # fmt: skip
        self.huey.interrupts_by = self.environment.interrupt
        self.huey.lease.info.update(self.huey.worker_info)
        if not self.environment.forks:
            self.huey.lease.start()
        for signum in (signal.SIGTERM, signal.SIGINT):
            self._signal_actions[signum] = (False, True)
        self._set_signal_handlers()  # now: slots run jobs before Huey sets them
        super().start()

    def _set_signal_handlers(self) -> None:
        """Hear signals, unless one was heard while the slots started."""
        if self._signum is None:
            super()._set_signal_handlers()

    def _check_server(self) -> None:
        try:
            server = self.huey.reads.server()
        except EngineError as exc:
            _refuse(f"{exc}. Start it, or set REDIS_URL to one of 6.2 or newer that runs")
        if server.too_old:
            _refuse(f"Redis {server.version} is too old; 6.2 or newer is needed")
        if server.faults and self.huey.strict:
            _refuse(f"Redis is not set up to keep jobs: {'; '.join(server.faults)}")

    def _write_first(self) -> None:
        """Write what every worker writes before its lease."""
        try:
            self._check_schema()
            self.huey.commands.configure()
            note_version(self.huey)
        except Unreachable as exc:
            _refuse(str(exc))

    def _check_schema(self) -> None:
        """Let no older version work on what a newer one wrote; raise the schema to ours."""
        meta = self.huey.storage.keys.one("meta")
        found = int(self.huey.storage.call("HGET", meta, "schema") or 0)
        if found > SCHEMA:
            _refuse(f"{newer(found)}: start the newer version")
        self.huey.storage.write([("HSET", meta, "schema", SCHEMA)])

    def run(self) -> None:
        """Run until told to stop, then commit what ended and give back what is still held."""
        try:
            super().run()
        finally:
            with contextlib.suppress(EngineError):
                self.huey.dispatch.flush()
            self.huey.lease.close()

    def loop(self, health_check_ts: float | None = None) -> Any:
        """Watch signals and slots; an operator's wish to stop is a graceful signal."""
        if self.huey.lease.wish in STOPS:
            self.stop_flag.set()
        try:
            return super().loop(health_check_ts)
        except ConsumerStopped:
            if self.huey.lease.info["state"] != "stopping":  # no signal: a slot heard the wish
                self.stop(graceful=self.huey.lease.wish != "halt")
            raise

    def check_worker_health(self) -> Any:
        """Bury children that died, so that their jobs run again at once, then replace them."""
        for _, child in self.worker_threads:
            code = getattr(child, "exitcode", None)
            if code:
                self._dead[child.pid] = code
        if self._dead:
            try:
                fleet.bury(self.huey, self._dead)
                self._dead = {}
            except EngineError as exc:
                self._logger.warning("dead workers are buried later: %s", exc)
        return super().check_worker_health()

    def _join_workers(self) -> bool:
        """Wait for the slots to end; a wish to stop now ends the wait as a second signal does."""
        end = None if self.shutdown_timeout is None else time.monotonic() + self.shutdown_timeout
        everybody = [process for _, process in self.worker_threads] + [self.scheduler]
        while alive := [p for p in everybody if self.environment.is_alive(p)]:
            if self.huey.lease.wish == "halt":
                raise KeyboardInterrupt
            left = JOINED_S if end is None else end - time.monotonic()
            if left <= 0:
                return False
            alive[0].join(min(JOINED_S, left))
        return True

    def stop(self, graceful: bool = False) -> None:
        """Stop; what still runs at the end of the timeout goes back to waiting."""
        self.stop_flag.set()  # first: a slot that is given no more jobs would ask again and again
        self.huey.lease.info["state"] = "stopping"
        self.huey.dispatch.stop()
        super().stop(graceful)


def _refuse(sentence: str) -> NoReturn:
    """Say why no worker starts, and exit as for a wrong setting."""
    sys.stderr.write(f"{sentence}.\n")
    raise SystemExit(2)
