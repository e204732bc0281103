"""A task that writes its start and its end into a ledger outside Redis; for the drills."""

import os
import select
import time

from tasks.engine import JobHuey, Queue

huey = JobHuey(
    "drill", url=os.environ["BENCH_REDIS"], queues=[Queue("default")],
    lease_s=float(os.environ.get("DRILL_LEASE_S", "10")), beat_s=float(os.environ.get("DRILL_BEAT_S", "2")),
)  # fmt: skip
ledger = os.open(os.environ["BENCH_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@huey.task()
def work(job_id: str, work_s: float) -> None:
    """Note the start, work, note the end: one line each, in one write."""
    os.write(ledger, f"start {job_id} {time.time():.3f}\n".encode())
    select.select([], [], [], work_s)  # libfaketime lets time.sleep fail
    os.write(ledger, f"end {job_id} {time.time():.3f}\n".encode())


@huey.task(priority=1)
def poison() -> None:
    """Kill the process that runs it."""
    os._exit(1)
