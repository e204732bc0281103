"""Settings: what each variable takes, and the sentence a wrong one gets."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks import queues, settings
from tasks.settings import SettingsError, load

KEY = "Cl2G8Q1mU7lJcO4Zp9fVQ0mYvX3c5hJq8sNwT6bRkEo="
DEPLOYED = {
    "APP_ENV": "production", "SECRET_KEY": "s" * 40, "JOB_ENCRYPTION_KEYS": KEY,
    "REDIS_URL": "redis://cache:6379/0", "MAIL_SERVER": "mail.example.org",
}  # fmt: skip


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    found = load({})
    assert (found.host, found.port, found.workers) == ("127.0.0.1", 8000, 8)
    assert (found.mail_timeout_s, found.enrollment_reminder_after_s) == (30.0, 7 * 86400.0)
    assert found.quiet_hours == (21, 8)
    assert found.base_url == "http://127.0.0.1:8000"
    assert not found.deployed


def test_links_lead_to_an_address_that_a_browser_can_open() -> None:
    assert load({"HOST": "0.0.0.0", "PORT": "9000"}).base_url == "http://127.0.0.1:9000"
    assert load({"PUBLIC_URL": "https://jobs.example.org/deck/"}).base_url.endswith("/deck")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("200ms", 0.2), ("30s", 30), ("15m", 900), ("24h", 86400), ("7d", 604800), ("1.5h", 5400)],
)
def test_a_duration_is_a_number_and_a_unit(written: str, seconds: float) -> None:
    assert load({"MAIL_TIMEOUT": written}).mail_timeout_s == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("name", "got", "takes"),
    [
        ("PORT", "80a", "a whole number"),
        ("PORT", "70000", "at most 65535"),
        ("MAIL_TIMEOUT", "30", "a duration such as 200ms, 30s, 15m, 24h or 7d"),
        ("ENROLLMENT_REMINDER_AFTER", "-1d", "a duration"),
        ("APP_ENV", "prod", "'development', 'staging' or 'production'"),
        ("MAIL_USE_TLS", "maybe", "1 or 0"),
        ("QUIET_HOURS", "25-8", "two hours such as 21-8, or off"),
        ("REDIS_URL", "localhost:6379", "redis://host:port/0"),
        ("REDIS_URL", "redis+sentinel://a:26379,b:26379", "/service/0 is expected"),
        ("REDIS_URL", "redis+cluster://a:port", "Port could not be cast"),
        ("DATABASE_URL", "nonsense", "an SQLAlchemy URL"),
        ("PUBLIC_URL", "jobs.example.org", "a web address"),
        ("EMAIL_QUEUE_CONCURRENCY", "0", "at least 1"),
        ("LOG_LEVEL", "loud", "'DEBUG'"),
        ("JOB_ENCRYPTION_KEYS", "short", "Fernet keys, 44 characters"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_name_value_and_what_it_takes(
    name: str, got: str, takes: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load({name: got})
    said = str(caught.value)
    shown = "a value that is not shown" if settings.is_secret(name) else repr(got)
    assert said.startswith(f"{name} is {shown}; it takes ")
    assert takes in said
    assert "\n" not in said


def test_a_wrong_secret_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"JOB_ENCRYPTION_KEYS": "hunter2hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_mounted_file_gives_the_value(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from the file\n")
    found = load({"MAIL_PASSWORD_FILE": str(tmp_path / "password")})
    assert found.mail_password == "from the file"


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(SettingsError, match="SECRET_KEY_FILE names /nowhere/key, which cannot"):
        load({"SECRET_KEY_FILE": "/nowhere/key"})


def test_two_names_of_one_setting_may_agree_but_not_differ() -> None:
    same = load({"EMAIL_QUEUE_CONCURRENCY": "9", "QUEUE_EMAIL_CONCURRENCY": "9"})
    assert queues.configured(same)[0].concurrency == 9
    with pytest.raises(SettingsError, match="two names of one setting"):
        load({"EMAIL_QUEUE_CONCURRENCY": "9", "QUEUE_EMAIL_CONCURRENCY": "3"})


def test_queue_options_come_from_the_environment() -> None:
    found = load({"QUEUE_SYNC_CONCURRENCY": "7", "QUEUE_EMAIL_RATE": "20/s"})
    by_name = {queue.name: queue for queue in queues.configured(found)}
    assert (by_name["sync"].concurrency, by_name["email"].rate) == (7, "20/s")
    assert by_name["email"].concurrency == 5


@pytest.mark.parametrize(
    ("name", "value", "takes"),
    [
        ("QUEUE_EMAIL_CONCURRENCY", "many", "a whole number from 1 up"),
        ("QUEUE_EMAIL_RATE", "fast", "write 20/s"),
        ("QUEUE_MAIL_RATE", "20/s", "there are email, maintenance"),
    ],
)
def test_a_wrong_queue_option_is_refused(name: str, value: str, takes: str) -> None:
    with pytest.raises(SettingsError, match=takes) as caught:
        queues.configured(load({name: value}))
    assert "QUEUE_" in str(caught.value)


def test_production_starts_with_everything_given() -> None:
    assert load(DEPLOYED).deployed


@pytest.mark.parametrize("name", ["SECRET_KEY", "JOB_ENCRYPTION_KEYS", "REDIS_URL", "MAIL_SERVER"])
def test_production_makes_nothing_up_and_embeds_nothing(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not set; production needs it"):
        load({**DEPLOYED, name: ""})


def test_made_up_secrets_are_kept_and_only_ours_to_read(tmp_path: Path) -> None:
    first = settings.with_made(load({"DATA_DIR": str(tmp_path)}))
    again = settings.with_made(load({"DATA_DIR": str(tmp_path)}))
    assert first.secret_key == again.secret_key != ""
    assert first.job_encryption_keys == again.job_encryption_keys != ()
    for name in ("secret.key", "job.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_command_line_finds_the_server_that_make_run_started(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "url").write_text("unix://:pw@/run/redis.sock?db=0\n")
    found = settings.with_made(load({"DATA_DIR": str(tmp_path)}))
    assert found.redis_url == "unix://:pw@/run/redis.sock?db=0"
    given = {"DATA_DIR": str(tmp_path), "REDIS_URL": "redis://cache/0"}
    assert settings.with_made(load(given)).redis_url == "redis://cache/0"


@pytest.mark.slow(reason="four processes start")
def test_processes_that_start_together_agree_on_the_secret(tmp_path: Path) -> None:
    code = (
        "from tasks import settings\n"
        f"print(settings.with_made(settings.load({{'DATA_DIR': {str(tmp_path)!r}}})).secret_key)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)
    ]
    assert len({process.communicate()[0] for process in started}) == 1


@pytest.mark.parametrize("given", ["ADMIN_EMAIL", "ADMIN_PASSWORD"])
def test_the_first_operator_takes_both_settings(given: str) -> None:
    with pytest.raises(settings.SettingsError, match="takes both"):
        settings.load({given: "ada@example.org"})


def test_a_queue_that_is_none_is_not_served() -> None:
    from tasks import queues

    with pytest.raises(settings.SettingsError, match="WORKER_QUEUES names nix; there are email"):
        queues.build(settings.load({"WORKER_QUEUES": "nix"}))


def test_misspelt_names_with_our_prefixes_are_found() -> None:
    given = {"MAIL_SEVER": "x", "MAIL_SERVER": "y", "QUEUE_EMAIL_RATE": "1/s", "PATH": "/bin"}
    assert settings.unknown_names(given) == ["MAIL_SEVER"]


def test_the_table_masks_secrets_and_names_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "hunter2")
    settings.reset()
    table: dict[str, Any] = {row.name: row for row in settings.rows()}
    settings.reset()
    assert (table["MAIL_PASSWORD"].value, table["MAIL_PASSWORD"].source) == ("••••", "environment")
    assert (table["SECRET_KEY"].value, table["SECRET_KEY"].source) == ("••••", "DATA_DIR")
    assert (table["PORT"].value, table["PORT"].source) == ("8000", "default")
    assert all(row.meaning for row in table.values())


def test_the_readmes_table_is_what_the_settings_are() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    _, _, table = readme.partition("| variable | default | meaning |\n|---|---|---|\n")
    written = {}
    for line in table.partition("\n\n")[0].splitlines():
        name, default, meaning = (cell.strip() for cell in line.strip("|").split("|"))
        written[name.strip("`")] = (default, meaning)
    assert written == {row.name: (row.default, row.meaning) for row in settings.rows()}
