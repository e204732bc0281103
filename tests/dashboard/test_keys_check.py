"""What the check of Redis had to mend is said to operators."""

from __future__ import annotations

import json

from flask import Flask

from dashboard import health
from tasks.engine import JobHuey, new_id


def lose_one(huey: JobHuey) -> str:
    """Take a waiting job out of its queue behind the engine's back."""
    job_id = new_id()
    huey.storage.add([({"id": job_id, "q": "default", "t": "gone", "p": 0, "m": 1}, b"{}")])
    huey.storage.client.zrem(huey.storage.keys.of("waiting", "default"), job_id)
    return job_id


def test_the_command_line_says_what_is_wrong_and_mends_it_when_asked(
    app: Flask, huey: JobHuey
) -> None:
    run = app.test_cli_runner().invoke
    assert run(args=["jobs", "fsck"]).output == "nothing is wrong\n"
    lose_one(huey)
    said = [{"found": "a waiting job that no worker would find", "times": 1}]
    for _ in range(2):
        assert json.loads(run(args=["jobs", "fsck", "--dry-run", "--json"]).output) == said
    assert "a waiting job that no worker would find" in run(args=["jobs", "fsck"]).output
    assert run(args=["jobs", "fsck"]).output == "nothing is wrong\n"


def test_the_overview_says_for_a_day_what_was_mended(app: Flask, huey: JobHuey) -> None:
    assert health._keys(huey).status == "healthy"
    job_id = lose_one(huey)
    huey.commands.fsck()
    with app.app_context():
        (check,) = [c for c in health.Watch(huey).view().troubles if c.name == "keys"]
    assert check.sentence.startswith("The check of Redis mended one thing, last at ")
    assert check.sentence.endswith(f"a waiting job that no worker would find ({job_id})")
