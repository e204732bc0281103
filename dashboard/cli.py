"""The command line: `flask operators | tokens | jobs | email | db | settings | config`.

Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import click
from flask import Flask
from flask.cli import AppGroup, with_appcontext
from pydantic import ValidationError

from dashboard import accounts, actions, answers, auth, shapes
from dashboard.models import ROLES
from tasks import database, faults, settings
from tasks.engine import EngineError, JobFilter, Unreachable

ME = auth.Actor("cli", "admin", "cli")
operators = AppGroup("operators", help="People with a login.")
tokens = AppGroup("tokens", help="API tokens.")
jobs = AppGroup("jobs", help="Jobs and queues.")
email = AppGroup("email", help="Mail.")
db = AppGroup("db", help="The database.")
config = AppGroup("config", help="The configuration.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Away(click.ClickException):
    """Redis cannot be reached; exit 2: the settings or the server are wrong, not the command."""

    exit_code = 2


def told(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn what a command raises into one sentence and exit 1, or 2 for wrong input."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except ValidationError as exc:
            field, wrong = faults.fields(exc)[0]
            raise click.UsageError(f"{field}: {wrong}") from exc
        except Unreachable as exc:
            raise Away(str(exc)) from exc
        except (EngineError, actions.Refused) as exc:
            raise click.ClickException(str(exc)) from exc
        except ValueError as exc:
            raise click.UsageError(str(exc)) from exc

    return run


def table(rows: Iterable[Iterable[Any]], heads: Iterable[str]) -> None:
    """Print rows under their heads, in columns."""
    lines = [[str(cell) for cell in row] for row in (list(heads), *rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    for line in lines:
        click.echo(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def show(found: list[dict[str, Any]], heads: tuple[str, ...], json_wanted: bool) -> None:
    """Print dicts as JSON or as a table of some of their fields."""
    if json_wanted:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2, default=str))
    else:
        table(
            [[one[head] if one[head] is not None else "-" for head in heads] for one in found],
            heads,
        )


def huey() -> Any:
    """Return the app's Huey."""
    return actions.huey()


def act(name: str, target: str, **params: Any) -> actions.Result:
    """Do an action as the command line, with its audit row."""
    return actions.run(huey(), ME, name, target, **params)


# Operators


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


@operators.command("create")
@click.argument("address", metavar="EMAIL")
@click.option("--role", type=click.Choice(ROLES), required=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@told
def operators_create(address: str, role: str, password_stdin: bool) -> None:
    """Give a person a login."""
    made = act("create_operator", address, role=role, password=_password(password_stdin)).value
    click.echo(f"{made.email} is {made.role}")


@operators.command("list")
@as_json
def operators_list(as_json: bool) -> None:
    """List the operators."""
    show(
        [
            {"id": o.id, "email": o.email, "role": o.role, "disabled": bool(o.disabled_at)}
            for o in accounts.operators()
        ],
        ("id", "email", "role", "disabled"),
        as_json,
    )


@operators.command("set-role")
@click.argument("address", metavar="EMAIL")
@click.argument("role", type=click.Choice(ROLES))
@told
def operators_set_role(address: str, role: str) -> None:
    """Change a role; the person signs in anew."""
    click.echo(act("set_role", address, role=role).message)


@operators.command("reset-password")
@click.argument("address", metavar="EMAIL")
@click.option("--password-stdin", is_flag=True)
@told
def operators_reset_password(address: str, password_stdin: bool) -> None:
    """Set a new password and end every session."""
    click.echo(act("reset_password", address, password=_password(password_stdin)).message)


@operators.command("disable")
@click.argument("address", metavar="EMAIL")
@told
def operators_disable(address: str) -> None:
    """End a person's access at once."""
    click.echo(act("disable", address).message)


@operators.command("enable")
@click.argument("address", metavar="EMAIL")
@told
def operators_enable(address: str) -> None:
    """Let a person sign in again."""
    click.echo(act("enable", address).message)


@operators.command("setup-link")
def operators_setup_link() -> None:
    """Print a one-time link for the first operator (30 minutes); nothing when there is one."""
    token = auth.setup_link()
    if token:
        click.echo(f"{settings.get().base_url}/setup/{token}")


# Tokens


@tokens.command("create")
@click.option("--name", required=True)
@click.option("--role", type=click.Choice(ROLES), required=True)
@told
def tokens_create(name: str, role: str) -> None:
    """Make a token; it alone goes to standard output, this once."""
    token, _ = act("create_token", name, role=role, owner="cli").value
    click.echo(token)


@tokens.command("list")
@as_json
def tokens_list(as_json: bool) -> None:
    """List the tokens, never themselves."""
    rows = [
        {
            "id": t.id,
            "name": t.name,
            "prefix": t.prefix,
            "role": t.role,
            "owner": t.owner,
            "last_used_at": answers.when(t.last_used_at),
            "revoked_at": answers.when(t.revoked_at),
        }
        for t in auth.tokens()
    ]
    show(rows, ("id", "name", "prefix", "role", "owner", "last_used_at", "revoked_at"), as_json)


@tokens.command("revoke")
@click.argument("token_id", type=int)
@told
def tokens_revoke(token_id: int) -> None:
    """End a token at once."""
    click.echo(act("revoke_token", str(token_id)).message)


# Jobs


@jobs.command("stats")
@as_json
@told
def jobs_stats(as_json: bool) -> None:
    """Count the jobs of each queue and state."""
    found = [
        {"queue": q.name, "paused": q.paused, **{s.value: n for s, n in q.counts.items()}}
        for q in huey().reads.queues()
    ]
    show(found, tuple(found[0]), as_json)


FILTERS = [
    click.option("--queue"),
    click.option("--status"),
    click.option("--task"),
    click.option("--q"),
    click.option("--error"),
    click.option("--since"),
    click.option("--until"),
]


def filtered(command: Any) -> Any:
    """Add the filters of a listing to a command."""
    for option in reversed(FILTERS):
        command = option(command)
    return command


def job_filter(queue: str | None, **given: Any) -> JobFilter:
    """Return the engine's filter of a command's options."""
    return shapes.Wanted.model_validate({n: v for n, v in given.items() if v is not None}).filter(
        queue
    )


@jobs.command("list")
@filtered
@click.option("--limit", type=click.IntRange(1, 500), default=50)
@as_json
@told
def jobs_list(limit: int, as_json: bool, **given: Any) -> None:
    """List jobs, the newest change first."""
    page = huey().reads.jobs(job_filter(**given), limit=limit)
    rows = [
        {
            **answers.job_json(job),
            "error": job.error.message
            if job.error and not as_json
            else answers.error_json(job.error),
        }
        for job in huey().reads.explained(page.items)
    ]
    show(rows, ("id", "queue", "task", "state", "attempts_made", "error"), as_json)


@jobs.command("fsck")
@click.option("--dry-run", is_flag=True, help="Say what is wrong and mend nothing.")
@as_json
@told
def jobs_fsck(dry_run: bool, as_json: bool) -> None:
    """Check every key in Redis against the jobs' records, and the counts; mend."""
    found = actions.check_keys(ME, mend=not dry_run)
    rows = [{"found": what, "times": n} for what, n in sorted(found.items())]
    if as_json or rows:
        show(rows, ("found", "times"), as_json)
    else:
        click.echo("nothing is wrong")


@jobs.command("show")
@click.argument("job_id")
@told
def jobs_show(job_id: str) -> None:
    """Print one job as JSON."""
    click.echo(
        json.dumps(
            answers.job_json(huey().reads.job(job_id)), ensure_ascii=False, indent=2, default=str
        )
    )


@jobs.command("retry")
@click.argument("ids", nargs=-1, required=True)
@told
def jobs_retry(ids: tuple[str, ...]) -> None:
    """Run jobs again."""
    for job_id in ids:
        click.echo(act("retry", job_id).message)


@jobs.command("cancel")
@click.argument("ids", nargs=-1, required=True)
@click.option("--reason", default="")
@told
def jobs_cancel(ids: tuple[str, ...], reason: str) -> None:
    """Cancel jobs."""
    for job_id in ids:
        click.echo(act("cancel", job_id, reason=reason).message)


@jobs.command("pause")
@click.argument("queue")
@click.option("--reason", default="")
@told
def jobs_pause(queue: str, reason: str) -> None:
    """Take no more jobs from a queue."""
    click.echo(act("pause", queue, reason=reason).message)


@jobs.command("resume")
@click.argument("queue")
@told
def jobs_resume(queue: str) -> None:
    """Take jobs from a queue again."""
    click.echo(act("resume", queue).message)


# Mail


@email.command("preview")
@click.argument("type_", metavar="TYPE")
@click.option("--sample", default="default")
@click.option("--html", is_flag=True)
@told
def email_preview(type_: str, sample: str, html: bool) -> None:
    """Print a sample mail."""
    from tasks import emails

    rendered = emails.preview(type_, sample)
    click.echo(rendered.html if html else f"Subject: {rendered.subject}\n\n{rendered.text}")


@email.command("send-test")
@click.argument("address", metavar="EMAIL")
@told
def email_send_test(address: str) -> None:
    """Queue a sample welcome mail to an address."""
    from tasks import emails
    from tasks.mailer.messages import email_type, sample

    data = sample(email_type("welcome"), "default").model_dump(exclude_unset=True)
    message = emails.Message(type="welcome", to=address, data=data)
    click.echo(act("send_email", address, mail=message).message)


# The rest


@db.command("upgrade")
def db_upgrade() -> None:
    """Bring the database to the newest schema."""
    database.upgrade()
    click.echo("The database is at the newest schema")


@click.command("settings")
@as_json
@with_appcontext
def settings_command(as_json: bool) -> None:
    """Print each setting, its value, where it came from, and what it means."""
    found = [
        {
            "name": r.name,
            "value": r.value,
            "source": r.source,
            "default": r.default,
            "meaning": r.meaning,
        }
        for r in settings.rows()
    ]
    show(found, ("name", "value", "source", "default", "meaning"), as_json)


@config.command("check")
def config_check() -> None:
    """Check the settings; warn of names that look like ours and are none."""
    unknown = settings.unknown_names(settings.environment())
    for name in unknown:
        click.echo(f"{name} is no setting: is it misspelt?", err=True)
    click.echo(f"{len(settings.rows())} settings are well")


def init_app(app: Flask) -> None:
    """Register every group."""
    for group in (operators, tokens, jobs, email, db, settings_command, config):
        app.cli.add_command(group)
