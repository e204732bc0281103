"""BullMQ as a peer: from npm into a temporary folder, where node and npm are there."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPT = Path(__file__).parent / "apps" / "bullmq.js"
INSTALL_S = 180


@functools.cache
def folder() -> str:
    """Return where it is installed; empty where it cannot be."""
    if not (shutil.which("node") and shutil.which("npm")):
        return _without("node or npm is not here")
    home = tempfile.mkdtemp(prefix="jd-bullmq-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    shutil.copy(SCRIPT, home)
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent", "bullmq", "ioredis"]
    try:
        subprocess.run(command, cwd=home, check=True, timeout=INSTALL_S, capture_output=True)
    except (subprocess.SubprocessError, OSError) as exc:
        return _without(f"npm install bullmq did not work: {exc}")
    return home


def _without(why: str) -> str:
    print(f"*** BullMQ IS NOT MEASURED: {why} ***", file=sys.stderr)
    return ""


def ready() -> bool:
    """Tell whether it can be measured; says so loudly where not."""
    return bool(folder())


def command(verb: str, url: str, number: int) -> list[str]:
    """Return the command line of `add` (that many jobs) or `work` (that concurrency)."""
    return ["node", SCRIPT.name, verb, url.removeprefix("unix://"), str(number)]


def add(url: str, jobs: int) -> float:
    """Queue jobs by addBulk, 500 a call. Returns: jobs a second, by its own clock."""
    done = subprocess.run(command("add", url, jobs), cwd=folder(), env=os.environ, check=True,
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    return float(done.stdout)
