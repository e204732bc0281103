"""The supervisor behind `make run`: starts the parts, keeps them alive, stops them in order."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from demo import console, ports, redis_server
from demo.console import Stop
from demo.parts import BIN, Part, from_procfile
from demo.stopping import Flag
from tasks import database, settings

ONCE = Retry(NoBackoff(), 0)  # the client's own ten tries would make a quick start slow
POLL_S = 0.2
READY_S = 90.0
STOP_ORDER = ("traffic", "web", "worker", "inbox", "redis")
SAME_SIGNAL_S = 1.0  # a terminal's Ctrl-C may arrive twice: from the terminal and from make


class Supervisor:
    """Everything that one `make run` holds."""

    def __init__(self, found: settings.Settings, environ: dict[str, str]) -> None:
        self.found, self.environ = found, environ
        self.data = found.data_dir
        self.parts: dict[str, Part] = {}
        self.stopping, self.hurry = Flag(), Flag()
        self._asked_at = 0.0

    def run(self) -> int:
        """Start, watch until asked to stop, stop. Returns the exit code. Raises Stop."""
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, self._asked)
        with self._lock() as lock:
            stop_leftovers(self.data / "parts.json")
            ports.require(self.found.port, self.found.host, "PORT")
            began = time.monotonic()
            try:
                self._start(lock)
                self._wait_ready(began)
                self._watch()
            finally:
                self._stop()
        return 0

    def _asked(self, number: int, frame: FrameType | None) -> None:
        """Stop at the first signal; at a second one, later, do not wait for anything."""
        now = time.monotonic()
        if self.stopping.is_set() and now - self._asked_at > SAME_SIGNAL_S:
            self.hurry.set()
        elif not self.stopping.is_set():
            self._asked_at = now
            self.stopping.set()

    @contextlib.contextmanager
    def _lock(self) -> Iterator[IO[str]]:
        """Hold DATA_DIR for this run. Raises Stop, naming the run that holds it."""
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "run.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise Stop(_who_runs(file.read(), self.data)) from None
            yield file
            file.truncate(0)

    def _start(self, lock: IO[str]) -> None:
        lock.truncate(0)
        lock.write(json.dumps({"pid": os.getpid(), "url": self.found.base_url}))
        lock.flush()
        console.plain(f"{console.paint('Jobdeck', console.BOLD)} is starting")
        console.plain()
        self._start_redis()
        database.upgrade()
        console.say("data", self._where(self.data))
        self._choose_inbox()
        self._add("web", from_procfile("web", self.environ))  # first: it takes longest to be ready
        console.say("web", self.found.base_url)
        self._start_inbox()
        self._add("worker", from_procfile("worker", self.environ))
        console.say("worker", f"{self.found.workers} threads")

    def _where(self, path: Path) -> str:
        with contextlib.suppress(ValueError):
            return str(path.relative_to(Path.cwd()))
        return str(path)

    def _start_redis(self) -> None:
        if self.found.redis_url:
            check_redis(self.found.redis_url)
            console.say("redis", "the one of REDIS_URL")
            return
        folder = self.data / "redis"
        server = redis_server.choose(folder, self.found.redis_bin)
        command, url = redis_server.prepare(folder, server)
        self._add("redis", command)
        self.environ["REDIS_URL"] = os.environ["REDIS_URL"] = url
        self._wait_redis(url)
        console.say("redis", f"{server}, append-only, in {self._where(folder)}")

    def _wait_redis(self, url: str) -> None:
        """Wait until the embedded server has loaded its data. Raises Stop."""
        client = redis.Redis.from_url(url, retry=ONCE)
        while not self.stopping.is_set():
            with contextlib.suppress(redis.RedisError):
                client.ping()
                client.close()
                return
            if self.parts["redis"].pid is None:
                said = " / ".join(self.parts["redis"].last_lines(3))
                raise Stop(f"The embedded Redis does not start: {said}")
            time.sleep(0.02)

    def _choose_inbox(self) -> None:
        """Choose the inbox's ports, which every part is told; none with a MAIL_SERVER."""
        if self.found.mail_server:
            return
        web = self.found.port  # nobody listens on these yet, so they would be given out twice
        smtp = ports.next_free(self.found.inbox_smtp_port, but=(web,))
        page = ports.next_free(self.found.inbox_port, but=(web, smtp))
        self.environ |= {
            "MAIL_SERVER": ports.LOOPBACK, "MAIL_PORT": str(smtp), "INBOX_SMTP_PORT": str(smtp),
            "INBOX_PORT": str(page), "INBOX_URL": f"http://{ports.LOOPBACK}:{page}",
        }  # fmt: skip

    def _start_inbox(self) -> None:
        if self.found.mail_server:
            console.say("mail", f"goes to {self.found.mail_server}:{self.found.mail_port}")
            return
        smtp = f"{ports.LOOPBACK}:{self.environ['MAIL_PORT']}"
        self._add("inbox", [sys.executable, "-m", "demo.inbox"])
        console.say("inbox", f"{self.environ['INBOX_URL']}, mail server on {smtp}")

    def _add(self, name: str, command: list[str]) -> None:
        if self.stopping.is_set():
            return
        part = Part(name, command, self.environ, self.data / "log" / f"{name}.log")
        self.parts[name] = part
        part.start()
        self._remember()

    def _remember(self) -> None:
        """Write down what runs, so that the next start finds what a killed supervisor left."""
        alive = {name: part.pid for name, part in self.parts.items() if part.pid}
        kept = {}
        for name, pid in alive.items():
            with contextlib.suppress(psutil.Error):
                kept[name] = [pid, psutil.Process(pid).create_time()]
        draft = self.data / "parts.json.new"
        draft.write_text(json.dumps(kept))
        draft.replace(self.data / "parts.json")

    def _wait_ready(self, began: float) -> None:
        """Wait for /readyz, then say where to go."""
        url = f"http://{_reachable(self.found.host)}:{self.found.port}/readyz"
        said: str | None = "nothing yet"
        while said and not self.stopping.is_set() and time.monotonic() - began < READY_S:
            self._look_after()
            said = not_ready(url)
            self.stopping.wait(0.1)
        if self.stopping.is_set():
            return
        if said:
            console.warn("web", f"is not ready after {READY_S:g} s: {said}")
        self._start_traffic()
        console.plain()
        self._say_where(time.monotonic() - began)

    def _start_traffic(self) -> None:
        if not self.found.demo:
            return
        if self.found.mail_server:
            console.say("traffic", "none: invented people get no mail from a real MAIL_SERVER")
            return
        self._add("traffic", [sys.executable, "-m", "demo.traffic"])
        console.say("traffic", "a few people a minute; DEMO=0 make run for none")

    def _say_where(self, took_s: float) -> None:
        console.plain(console.paint(f"Ready after {took_s:.1f} s", console.GREEN))
        link = setup_link()
        if link:
            console.plain(f"Sign in   {console.paint(link, console.BOLD)}")
            console.plain(
                "          once, within 30 minutes: you choose the first operator's password"
            )
        else:
            console.plain(f"Open      {console.paint(self.found.base_url, console.BOLD)}")
        console.plain(
            f"Ctrl-C stops everything and loses nothing. Logs: {self._where(self.data)}/log"
        )

    def _watch(self) -> None:
        while not self.stopping.wait(POLL_S):
            self._look_after()

    def _look_after(self) -> None:
        for part in self.parts.values():
            how = part.death()
            if how:
                console.warn(part.name, f"{how}; starts again in {part.wait_s():.0f} s")
                for line in part.last_lines(3) if not how.startswith("was killed") else []:
                    console.warn("", line)
            if part.due_again:
                part.start()
                console.say(part.name, "started again")
                self._remember()

    def _stop(self) -> None:
        """Stop the parts in order: first what makes work, Redis last."""
        if self.parts:
            console.plain()
            console.plain("Stopping; what runs may finish (Ctrl-C again: at once)")
        for name in STOP_ORDER:
            part = self.parts.get(name)
            if part is None or part.pid is None:
                continue
            part.terminate()
            if self._ended(part):
                console.say(name, "stopped")
            else:
                part.kill()
                console.warn(name, "did not stop in time and was ended")
        (self.data / "parts.json").unlink(missing_ok=True)

    def _ended(self, part: Part) -> bool:
        deadline = time.monotonic() + part.stop_s
        while part.pid is not None:
            if time.monotonic() > deadline or (self.hurry.is_set() and part.name != "redis"):
                return False
            time.sleep(0.02)
        return True


def _reachable(host: str) -> str:
    return ports.LOOPBACK if host in ("0.0.0.0", "::", "") else host


def _who_runs(text: str, data: Path) -> str:
    try:
        holder = json.loads(text)
        who = f"process {holder['pid']}, {holder['url']}"
    except (ValueError, KeyError):
        who = "it is just starting or stopping"
    return (
        f"Jobdeck already runs on {data} ({who}). Use that one, stop it with Ctrl-C in its"
        " terminal, or start a second one beside it: DATA_DIR=var2 PORT=8001 make run"
    )


def check_redis(url: str) -> None:
    """Raise Stop unless a Redis of 6.2 or newer answers there."""
    client, shown = _client(url), settings_url(url)
    try:
        version = str(client.info("server")["redis_version"])
    except redis.AuthenticationError:
        raise Stop(f"The Redis of REDIS_URL ({shown}) refuses its password or user name.") from None
    except (redis.RedisError, OSError, ValueError) as exc:
        raise Stop(
            f"The Redis of REDIS_URL ({shown}) cannot be reached: {exc}. Start it, correct the"
            " URL, or unset REDIS_URL for an embedded one."
        ) from None
    finally:
        client.close()
    if tuple(int(number) for number in version.split(".")[:2]) < redis_server.OLDEST:
        raise Stop(f"The Redis of REDIS_URL ({shown}) is {version}; 6.2 or newer is needed.")


def _client(url: str) -> redis.Redis:
    if "+" in url.partition("://")[0]:  # whose server is found by asking others
        from tasks.engine.storage import connect

        return connect(url, "{jobdeck}:")
    # RESP2: a server before 6.0 would refuse the greeting of RESP3, and not be told its version.
    return redis.Redis.from_url(
        url, socket_connect_timeout=3, socket_timeout=3, retry=ONCE, protocol=2
    )


def settings_url(url: str) -> str:
    """Return a URL without its password."""
    before, at, after = url.rpartition("@")
    return f"{before.partition('://')[0]}://…@{after}" if at else url


def not_ready(url: str) -> str | None:
    """Return why the product is not ready; None when it is."""
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return None if answer.status == 200 else f"it answers {answer.status}"
    except urllib.error.HTTPError as exc:
        return exc.read(500).decode(errors="replace")
    except OSError as exc:
        return str(exc)


def setup_link() -> str | None:
    """Return a new link that makes the first operator; None when there is one already."""
    from dashboard import auth  # here: it takes a moment to load, in which the parts start

    token = auth.setup_link()
    return f"{settings.get().base_url}/setup/{token}" if token else None


def stop_leftovers(file: Path) -> None:
    """Stop the parts of a supervisor that was killed, in order, before they are started anew."""
    try:
        kept = json.loads(file.read_text())
    except (OSError, ValueError):
        return
    for name in STOP_ORDER:
        if name not in kept:
            continue
        pid, created = kept[name]
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if abs(process.create_time() - created) < 1:  # the number may be somebody else's now
                console.say(name, f"left from a run that was killed (process {pid}): stopped")
                process.terminate()
                _gone(process)
    file.unlink(missing_ok=True)


def _gone(process: psutil.Process) -> None:
    """Wait until it has ended; kill it after 30 s."""
    deadline = time.monotonic() + 30
    # A zombie has ended, though whoever adopted it has not looked yet.
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            process.kill()
        time.sleep(0.05)


def exported(environ: dict[str, str]) -> dict[str, str]:
    """Return the parts' environment: the checked settings, also those of `.env` and of files."""
    given = settings.resolved(environ)
    names = {name for name in given if name in settings.fields() or name.startswith("QUEUE_")}
    kept = {name: value for name, value in os.environ.items()
            if name.removesuffix("_FILE") not in settings.fields()}  # fmt: skip
    return {**kept, **{name: given[name] for name in names if given[name]}}


def check_early(found: settings.Settings) -> None:
    """Refuse, before anything runs, what a part would refuse at each of its starts.

    Raises: SettingsError. Cost: only what was set is loaded, so that a usual start stays quick.
    """
    if found.queue_options or found.worker_queues:
        importlib.import_module("tasks.queues")
    if found.admin_password:
        auth = importlib.import_module("dashboard.auth")
        auth.check_first_operator(found)
    for name in settings.unknown_names(os.environ):
        console.warn("settings", f"{name} is no setting and changes nothing: is it misspelt?")


def main(again: Callable[[], dict[str, str]] = settings.environment) -> int:
    """Run the product in this folder. Returns the exit code."""
    try:
        environ = {"DEMO": "1", **again()}
        asked = settings.load(environ)
        # The URL kept in DATA_DIR is that of the server which this run is about to start.
        found = settings.with_made(asked).model_copy(update={"redis_url": asked.redis_url})
        given = exported(environ) | {
            "DATA_DIR": str(found.data_dir), "DATABASE_URL": found.database_url,
            "DEMO": "1" if found.demo else "0", "HOST": found.host, "PORT": str(found.port),
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        os.environ.update(given)
        check_early(found)
        return Supervisor(found, given).run()
    except (Stop, settings.SettingsError) as exc:
        print(exc, file=sys.stderr)
        return 2
