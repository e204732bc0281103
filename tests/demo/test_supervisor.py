"""`make run` as people meet it: the real supervisor, as a process, with all its parts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ports import free_ports
from waiting import PATIENCE_S, wait_until

from demo import supervisor
from demo.console import Stop
from demo.parts import ROOT, from_procfile


class Run:
    """One `python -m demo`, and what it printed."""

    def __init__(self, data: Path, **environ: str) -> None:
        web, page, smtp = free_ports(3)
        given = {"PORT": str(web), "INBOX_PORT": str(page), "INBOX_SMTP_PORT": str(smtp),
                 "DATA_DIR": str(data), "DEMO": "0"}  # fmt: skip
        clean = {k: v for k, v in os.environ.items() if k not in ("REDIS_URL", "DATABASE_URL")}
        self.environ = {**clean, **given, **environ}
        self.data, self.port = data, int(self.environ["PORT"])
        self.out = data.parent / f"{data.name}.{web}.out"
        with self.out.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "demo"], cwd=ROOT, env=self.environ, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self.out.read_text()

    def wait_for(self, text: str) -> None:
        wait_until(
            lambda: text in self.said or self.process.poll() is not None,
            lambda: f"it says {text!r}; it said {self.said}",
        )
        assert text in self.said, self.said

    def pid(self, part: str) -> int:
        """Return a part's process id, once it runs."""
        wait_until(lambda: part in self.parts(), f"{part} runs")
        return self.parts()[part][0]

    def parts(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = json.loads((self.data / "parts.json").read_text())
        return found

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE_S)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "var"


@pytest.fixture
def run(data: Path) -> Iterator[Run]:
    run = Run(data)
    run.wait_for("Ready after")
    yield run
    if run.process.poll() is None:
        run.stop()


@pytest.mark.slow  # starts every part of the product, more than once
def test_it_starts_everything_keeps_it_alive_and_stops_it_in_order(run: Run, data: Path) -> None:
    run.wait_for("Ctrl-C stops everything")
    assert f"http://127.0.0.1:{run.port}/setup/" in run.said
    second = Run(data)
    assert second.process.wait(timeout=PATIENCE_S) == 2
    assert f"already runs on {data}" in second.said
    assert str(run.process.pid) in second.said

    for part in ("worker", "inbox", "redis", "web"):
        old = run.pid(part)
        os.kill(old, signal.SIGKILL)
        wait_until(lambda p=part, o=old: run.pid(p) != o, f"{part} is started again")  # type: ignore[misc]
    assert "worker   was killed by SIGKILL; starts again in 1 s" in run.said

    parts = [psutil.Process(run.pid(part)) for part in ("web", "worker", "inbox", "redis")]
    assert run.stop() == 0
    order = [line.split()[0] for line in run.said.splitlines() if line.endswith("stopped")]
    assert order == ["web", "worker", "inbox", "redis"], run.said
    assert not any(part.is_running() for part in parts)
    assert not (data / "parts.json").exists()


@pytest.mark.slow  # starts every part of the product, twice
def test_what_a_killed_supervisor_left_is_stopped_by_the_next_start(run: Run, data: Path) -> None:
    left = run.pid("redis")
    run.process.kill()
    run.process.wait()
    assert psutil.pid_exists(left)
    again = Run(data)
    again.wait_for("Ready after")
    assert "left from a run that was killed" in again.said
    assert again.pid("redis") != left
    assert again.stop(signal.SIGTERM) == 0


def test_a_taken_port_says_who_holds_it_and_what_to_do(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        run = Run(data, PORT=str(port))
        assert run.process.wait(timeout=PATIENCE_S) == 2
    assert f"Port {port} on 127.0.0.1 is taken" in run.said
    assert f"process {os.getpid()}" in run.said
    assert "PORT=" in run.said
    assert "Traceback" not in run.said


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WORKERS", "many", "WORKERS is 'many'; it takes a whole number"),
        ("QUEUE_EMAIL_RATE", "fast", "QUEUE_EMAIL_RATE is 'fast'; it takes"),
        ("APP_ENV", "production", "REDIS_URL is not set; production needs it"),
        ("REDIS_URL", "redis://:secret@127.0.0.1:1/0", "cannot be reached"),
    ],
)
def test_what_cannot_work_is_one_sentence_and_exit_2(
    data: Path, name: str, value: str, said: str
) -> None:
    extra = {"SECRET_KEY": "s" * 40, "JOB_ENCRYPTION_KEYS": KEY} if name == "APP_ENV" else {}
    run = Run(data, **{name: value}, **extra)
    assert run.process.wait(timeout=PATIENCE_S) == 2
    assert said in run.said
    assert "secret" not in run.said
    assert "Traceback" not in run.said


KEY = "Cl2G8Q1mU7lJcO4Zp9fVQ0mYvX3c5hJq8sNwT6bRkEo="


def test_the_commands_are_the_procfiles_with_the_settings_filled_in() -> None:
    worker = from_procfile("worker", {"WORKERS": "3"})
    assert worker[0].endswith("/huey_consumer")
    assert worker[1:] == ["tasks.huey", "-k", "thread", "-w", "3", "-g", "TERM", "-t", "25"]
    web = from_procfile("web", {})
    assert web[1:4] == ["wsgi:app", "-b", "127.0.0.1:8000"]


def test_an_old_redis_is_refused(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    supervisor.check_redis(redis_url)
    monkeypatch.setattr(supervisor.redis_server, "OLDEST", (99, 0))
    with pytest.raises(Stop, match="6.2 or newer is needed"):
        supervisor.check_redis(redis_url)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ADMIN_EMAIL": "ada@example.org", "ADMIN_PASSWORD": "short"}, "10 to"),
        ({"WORKER_QUEUES": "nix"}, "WORKER_QUEUES names nix"),
    ],
)
def test_what_a_part_would_refuse_at_each_start_is_refused_before_anything_runs(
    given: dict[str, str], said: str, data: Path
) -> None:
    run = Run(data, **given)
    assert run.process.wait(timeout=PATIENCE_S) == 2
    assert said in run.said
    assert len(run.said.strip().splitlines()) == 1
