"""Tasks on JobHuey; BENCH_REDIS, BENCH_FILE and BENCH_PREFETCH say where and how."""

import os
import time

from tasks.engine import JobHuey, Queue

huey = JobHuey(
    "bench", url=os.environ["BENCH_REDIS"], queues=[Queue("default", retention="7d/1000000")],
    prefetch=os.environ.get("BENCH_PREFETCH", "1") == "1",
)  # fmt: skip
out = os.open(os.environ["BENCH_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@huey.task()
def tick(number: int) -> None:
    """Append one byte: what is counted, about 1 microsecond."""
    os.write(out, b".")


@huey.task()
def late(asked_ns: int) -> None:
    """Note how long after it was asked for it starts, us."""
    os.write(out, b"%d\n" % ((time.monotonic_ns() - asked_ns) // 1000))


@huey.task(index=("number",))
def indexed(number: int) -> None:
    """Do nothing; its argument is indexed."""
