"""What a consumer says of its server before it starts."""

from __future__ import annotations

import pytest

from tasks.engine import JobHuey, Queue


def test_an_unreachable_server_is_one_sentence_and_exit_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    huey = JobHuey("away", url="redis://127.0.0.1:1/0", queues=[Queue("default")])
    with pytest.raises(SystemExit) as stopped:
        huey.create_consumer(workers=1).start()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "Redis cannot be reached" in said
    assert said.count("\n") == 1


def test_a_deployed_consumer_refuses_a_server_without_an_append_only_file(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    huey = JobHuey("strict", url=redis_url, queues=[Queue("default")], strict=True)
    with pytest.raises(SystemExit) as stopped:
        huey.create_consumer(workers=1).start()
    assert stopped.value.code == 2
    assert "append-only file is off" in capsys.readouterr().err
