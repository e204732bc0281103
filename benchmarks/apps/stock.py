"""The same tasks on Huey's own RedisHuey, or on another of its classes (BENCH_CLASS)."""

import os
import time

import huey as stock

huey = getattr(stock, os.environ.get("BENCH_CLASS", "RedisHuey"))(
    "stock", url=os.environ["BENCH_REDIS"]
)
out = os.open(os.environ["BENCH_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@huey.task()
def tick(number: int) -> None:
    """Append one byte: what is counted, about 1 microsecond."""
    os.write(out, b".")


@huey.task()
def late(asked_ns: int) -> None:
    """Note how long after it was asked for it starts, us."""
    os.write(out, b"%d\n" % ((time.monotonic_ns() - asked_ns) // 1000))
