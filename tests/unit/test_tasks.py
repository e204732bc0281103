"""What `import tasks` and `tasks.huey` load."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_a_bare_import_loads_neither_sql_nor_settings_nor_flask() -> None:
    loaded = run(
        "import tasks, academy, sys\nfrom tasks.engine import JobHuey\n"
        "print([m for m in ('sqlalchemy', 'pydantic', 'flask', 'tasks.settings') if m in sys.modules])"
    )
    assert loaded == "[]\n"


def test_the_one_huey_is_made_once_with_every_task_and_the_outbox() -> None:
    from tasks import huey, outbox, queues

    assert huey is queues.huey
    names = {name.rpartition(".")[2] for name in huey._registry._registry}
    assert {"deliver_email", "scan", "scan_soon"} <= names
    assert huey.spill is outbox.spill
    assert "outbox" in huey._startup


def test_there_is_no_other_attribute() -> None:
    import tasks

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tasks.nothing  # noqa: B018


def test_each_queue_takes_its_options_from_the_settings() -> None:
    from tasks import queues, settings

    found = settings.load({"EMAIL_QUEUE_CONCURRENCY": "9", "QUEUE_SYNC_RATE": "5/s"})
    made = {queue.name: queue for queue in queues.configured(found)}
    assert (made["email"].concurrency, made["email"].breaker) == (9, "SMTP")
    assert made["sync"].rate == "5/s"
    with pytest.raises(settings.SettingsError, match="names queue mial"):
        queues.configured(settings.load({"QUEUE_MIAL_RATE": "5/s"}))
    with pytest.raises(settings.SettingsError, match="QUEUE_SYNC"):
        queues.configured(settings.load({"QUEUE_SYNC_RATE": "often"}))
