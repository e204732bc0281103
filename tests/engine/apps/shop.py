"""Somebody else's small Huey application: it knows Huey's words only, and its one import was changed."""

from __future__ import annotations

import datetime as dt
import os

from huey import crontab
from huey.exceptions import CancelExecution, RetryTask

from tasks.engine import JobHuey  # was: from huey import RedisHuey

huey = JobHuey("shop", url=os.environ["SHOP_REDIS"])  # was: RedisHuey("shop", url=...)
stocked: dict[str, int] = {}


@huey.on_startup()
def open_shop() -> None:
    """Each worker prepares what it needs."""
    stocked["apples"] = 12


@huey.pre_execute()
def closed_on_sunday(task: object) -> None:
    """A hook may cancel."""
    if getattr(task, "name", "") == "closed":
        raise CancelExecution(retry=False)


@huey.post_execute()
def count(task: object, value: object, exc: BaseException | None) -> None:
    """A hook sees each end."""
    huey.storage.incr("ended" if exc is None else "broken")


@huey.signal("complete")
def heard(signal: str, task: object) -> None:
    """A signal is heard."""
    huey.storage.incr("heard")


@huey.task()
def price(apples: int, each: float = 0.5) -> float:
    return apples * each


@huey.task()
def stock() -> int:
    return stocked["apples"]


@huey.task(context=True)
def who(task: object = None) -> str:
    return task.id  # type: ignore[attr-defined]


@huey.task(retries=3, retry_delay=0)
def flaky(name: str) -> str:
    if huey.storage.incr(f"flaky-{name}") < 3:
        raise ValueError("not yet")
    return f"{name} at the third attempt"


@huey.task()
def patient(name: str) -> str:
    if huey.storage.incr(f"patient-{name}") < 2:
        raise RetryTask(delay=0.1)
    return f"{name} asked to be run again"


@huey.task()
def broken(order: int) -> None:
    raise KeyError(f"order {order}")


@huey.task()
def complain(error: BaseException) -> str:
    return f"complained of {type(error).__name__}"


@huey.task()
def closed() -> str:
    return "never"


@huey.task()
def total(prices: list[float]) -> float:
    return sum(prices)


@huey.task()
@huey.lock_task("till")
def at_the_till(n: int) -> int:
    return n


@huey.task()
def delivered(on: dt.date, parts: tuple[int, ...]) -> dict[str, object]:
    return {"on": on, "parts": parts}


@huey.periodic_task(crontab(minute="0", hour="4"))
def tidy() -> None:
    """Not in this test's hour."""
