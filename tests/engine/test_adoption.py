"""An application that knows only Huey runs on JobHuey under stock `huey_consumer`, one import changed."""

from __future__ import annotations

import datetime as dt
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from huey import chord, group
from huey.exceptions import TaskException
from waiting import PATIENCE_S, wait_until

from tasks.engine import JobFilter, State

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["hiredis", "without hiredis"])
def shop(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[ModuleType]:
    """Start the stranger's consumer, and give the stranger's module."""
    monkeypatch.setenv("SHOP_REDIS", redis_url)
    sys.modules.pop("apps.shop", None)
    found = importlib.import_module("apps.shop")
    path = f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'engine'}"
    if request.param != "hiredis":
        (tmp_path / "hiredis.py").write_text("raise ImportError('not installed')")
        path = f"{tmp_path}{os.pathsep}{path}"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("huey_consumer")), "apps.shop.huey", "-w", "3"],
            env={**os.environ, "PYTHONPATH": path}, stdout=log, stderr=log, cwd=tmp_path,
        )  # fmt: skip
    yield found
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=PATIENCE_S)
    found.huey.lease.close()
    found.huey.storage.flush_all()
    found.huey.storage.close()
    assert process.returncode == 0


@pytest.mark.slow(reason="a process runs one job of each kind")
def test_every_word_of_huey_means_what_it_meant(shop: ModuleType) -> None:
    def get(result: object) -> object:
        return result.get(blocking=True, timeout=PATIENCE_S)  # type: ignore[attr-defined]

    assert get(shop.price(4)) == 2.0
    assert get(shop.stock()) == 12
    who = shop.who()
    assert get(who) == who.id
    flaky = shop.flaky("pear")  # until the third attempt its result is the last one's error
    wait_until(lambda: shop.huey.reads.job(flaky.id).state is State.COMPLETED, "it tried thrice")
    assert get(flaky) == "pear at the third attempt"
    assert get(shop.patient("plum")) == "plum asked to be run again"
    assert get(shop.at_the_till(7)) == 7
    assert get(shop.price.schedule((10,), delay=0.2)) == 5.0
    on = dt.date(2026, 11, 25)
    assert get(shop.delivered(on, (1, 2))) == {"on": on, "parts": (1, 2)}
    pipeline = shop.huey.enqueue(shop.price.s(2).then(shop.price, 3.0))
    assert get(pipeline) == [1.0, 3.0]
    many = shop.huey.enqueue(group([shop.price.s(n) for n in (2, 4, 6)]))
    assert sorted(get(many)) == [1.0, 2.0, 3.0]  # type: ignore[type-var]
    prices = chord([shop.price.s(n) for n in (2, 4)], shop.total.s())
    assert get(shop.huey.enqueue(prices).callback) == 3.0
    with pytest.raises(TaskException, match="order 5"):
        get(shop.broken(5))

    handled = shop.broken.s(6).error(shop.complain)
    shop.huey.enqueue(handled)
    cancelled = shop.closed()
    revoked = shop.price.s(1, delay=0.1)
    shop.huey.revoke(revoked)  # before it is there: it cannot run first
    shop.huey.enqueue(revoked)
    expired = shop.price.schedule((1,), delay=0.2, expires=0.1)
    reads = shop.huey.reads
    ended = [cancelled.id, revoked.id, expired.id]
    wait_until(lambda: all(reads.job(i).state is State.CANCELLED for i in ended), "cancelled")
    found = wait_until(
        lambda: reads.jobs(JobFilter(task="apps.shop.complain", state=State.COMPLETED)).items
    )
    assert found[0].result == "complained of KeyError"
    assert shop.huey.storage.incr("heard", 0) >= 15
    assert shop.huey.storage.incr("ended", 0) >= 15
    assert shop.huey.storage.incr("broken", 0) >= 5


def test_what_the_stranger_gains_is_there_at_once(shop: ModuleType) -> None:
    failed = shop.broken(7)
    with pytest.raises(TaskException):
        failed.get(blocking=True, timeout=PATIENCE_S)
    job = shop.huey.reads.job(failed.id)
    assert (job.state, job.error.type, job.args) == (State.FAILED, "KeyError", [7])
    assert shop.huey.commands.retry([failed.id])[0].done
    wait_until(lambda: shop.huey.reads.job(failed.id).run == 2
               and shop.huey.reads.job(failed.id).state is State.FAILED, "run again")  # fmt: skip
    assert [worker.state for worker in shop.huey.reads.workers()] == ["live"]
