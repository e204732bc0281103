"""A secret argument is opened for its task alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from driving import command, run_all

from tasks.engine import MASK, EngineError, JobFilter, JobHuey, State

S = State


@pytest.fixture
def sender(huey: JobHuey) -> Any:
    opened: list[str] = []

    @huey.task(name="send_code", secret=("code",), retries=1)
    def send_code(user: int, code: str, fail: bool = False) -> str:
        opened.append(code)
        if fail:
            raise ValueError(f"cannot send {code}")
        return f"sent {code}"

    send_code.opened = opened
    return send_code


def test_a_secret_is_masked_in_every_read_and_opened_for_the_task(
    huey: JobHuey, sender: Any
) -> None:
    job_id = sender(7, "847-193").id
    assert list(huey.reads.job(job_id).args) == [7, MASK]
    assert list(huey.reads.jobs(JobFilter()).items[0].args) == [7, MASK]
    named = sender(user=7, code="555-666").id
    assert huey.reads.job(named).kwargs == {"user": 7, "code": MASK}
    run_all(huey)
    assert sender.opened == ["847-193", "555-666"]
    assert huey.reads.job(job_id).result == f"sent {MASK}"


def test_a_secret_lies_nowhere_in_redis_also_after_a_failure(huey: JobHuey, sender: Any) -> None:
    job_id = sender(7, "847-193", fail=True).id
    run_all(huey)
    job = huey.reads.job(job_id)
    assert (job.state, job.error.message) == (S.FAILED, f"cannot send {MASK}")
    client, kept = huey.storage.client, b""
    readers = {b"string": client.get, b"hash": client.hgetall, b"set": client.smembers,
               b"list": lambda key: client.lrange(key, 0, -1),
               b"zset": lambda key: client.zrange(key, 0, -1)}  # fmt: skip
    for key in client.scan_iter(huey.storage.keys.prefix + "*"):
        kept += key + repr(readers[client.type(key)](key)).encode()
    assert job_id.encode() in kept
    assert b"847-193" not in kept


def test_a_changed_retry_keeps_the_secret_that_came_back_masked(huey: JobHuey, sender: Any) -> None:
    job_id = sender(7, "847-193", fail=True).id
    run_all(huey)
    command(huey, "retry", job_id, args=[8, MASK], kwargs={})
    run_all(huey)
    assert sender.opened[-1] == "847-193"
    assert huey.reads.job(job_id).args[0] == 8


def test_a_secret_task_without_a_cipher_is_refused(make_huey: Callable[..., JobHuey]) -> None:
    with pytest.raises(EngineError, match="give JobHuey a cipher"):
        make_huey(cipher=None).task(secret=("code",))(lambda code: None)


def test_a_secret_may_not_be_an_index_or_in_a_unique_key(huey: JobHuey) -> None:
    for shown in ({"index": ("code",)}, {"unique": "code:{code}"}):
        with pytest.raises(EngineError, match="is secret"):
            huey.task(secret=("code",), **shown)(lambda code: None)
