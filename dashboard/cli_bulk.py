"""The command line for many jobs at once: `flask jobs clean | bulk | export`."""

from __future__ import annotations

import json
from typing import Any

import click
from flask import Flask

from dashboard import actions, audit_rows, cli, exporting, shapes
from dashboard.cli import ME, act, filtered, huey, job_filter, jobs, told
from tasks.engine.operating.acts import APPLIES


@jobs.command("clean")
@click.option("--queue")
@click.option("--status", type=click.Choice(["completed", "failed", "cancelled"]), required=True)
@click.option("--older-than", default="0s", help="Such as 7d.")
@click.option("--reason", default="")
@told
def jobs_clean(queue: str | None, status: str, older_than: str, reason: str) -> None:
    """Remove final jobs; a worker does it in chunks, or this command where none lives."""
    age = shapes.seconds(older_than)
    wanted = job_filter(queue, status=status)
    found = _finish(act("bulk", "delete", filter=wanted, reason=reason, older_than_s=age).operation)
    click.echo(f"{found.done} of {found.matched} jobs deleted")


def _finish(operation: Any) -> Any:
    """Step an operation to its end, beside the workers; return it."""
    while huey().reads.operation(operation.id).state == "running":
        actions.step_operations()
    return huey().reads.operation(operation.id)


GIVEN = [
    click.option("--to", help="Queue (move)."),
    click.option("--at", help="Such as 2026-11-24T08:00:00Z (reschedule)."),
    click.option("--delay", help="Such as 90s (retry, reschedule)."),
    click.option("--priority", type=click.IntRange(-100, 100)),
    click.option("--tag", "tags", multiple=True, help="Once or more (tag, untag)."),
    click.option("--argument", help="NAME=JSON (patch)."),
]


def _given_options(command: Any) -> Any:
    for option in reversed(GIVEN):
        command = option(command)
    return command


def _given(to: str | None, at: str | None, delay: str | None, priority: int | None,
           tags: tuple[str, ...], argument: str | None) -> dict[str, Any]:  # fmt: skip
    name, _, value = (argument or "").partition("=")
    found = {
        "queue": to, "at": shapes.instant(at) if at else None, "priority": priority,
        "delay_s": shapes.seconds(delay) if delay else None, "tags": tags or None,
    }  # fmt: skip
    if argument:
        found |= {"name": name, "value": json.loads(value)}
    return {name: item for name, item in found.items() if item is not None or name == "value"}


@jobs.command("bulk")
@click.argument("kind", type=click.Choice([k for k in APPLIES if k != "discard"]))
@filtered
@_given_options
@click.option("--pace", type=float, help="Most jobs a second.")
@click.option("--canary", type=int, default=0, help="Try so many first (retry, run_now).")
@click.option(
    "--share", type=click.IntRange(1, 100), default=95, help="Per cent of them that must complete."
)
@click.option("--reason", default="")
@told
def jobs_bulk(
    kind: str, pace: float | None, canary: int, share: int, reason: str, **given: Any
) -> None:
    """Act on every job that matches; prints the operation, which the workers carry on."""
    if not given["status"]:
        raise click.UsageError("say at least --status")
    params = _given(
        **{name: given.pop(name) for name in ("to", "at", "delay", "priority", "tags", "argument")}
    )
    plan = {"pace": pace, "canary": canary, "share": share}
    wanted = job_filter(**given)
    result = actions.start_bulk(
        huey(), ME, kind, filter=wanted, reason=reason, plan=plan, given=params
    )
    assert result.operation is not None  # noqa: S101 - the action made it
    click.echo(f"{result.operation.id} {result.operation.matched}")


@jobs.command("export")
@filtered
@click.option("--format", "form", type=click.Choice(["ndjson", "csv"]), default="ndjson")
@told
def jobs_export(form: str, **given: Any) -> None:
    """Print every job that matches, secrets masked: a JSON object a line, or CSV."""
    wanted = job_filter(**given)
    audit_rows.audit(ME, "export", "jobs", "done", params={"filter": wanted, "format": form})
    for line in exporting.lines(exporting.jobs(huey(), wanted), form):
        click.echo(line, nl=False)


def init_app(app: Flask) -> None:
    """Register every group, with the commands of this module."""
    cli.init_app(app)
