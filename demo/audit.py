"""Check the locked requirements for known vulnerabilities; say "skipped" where no network is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NO_NETWORK = ("ConnectionError", "Max retries", "NameResolution", "timed out", "ProxyError",
              "Connection refused", "SSLError", "HTTPError", "ServiceError", "could not be audited")  # fmt: skip


def main() -> int:
    """Run pip-audit on each lock file. Returns its exit code; 0 when it was skipped."""
    command = [str(Path(sys.executable).parent / "pip-audit"), "--strict", "--disable-pip",
               "--require-hashes", "--progress-spinner", "off", "--timeout", "10"]  # fmt: skip
    for lock in ("requirements.txt", "requirements-embedded.txt", "requirements-dev.txt"):
        try:
            done = subprocess.run(
                [*command, "-r", lock], capture_output=True, text=True, timeout=120
            )
        except subprocess.TimeoutExpired:
            print(f"audit of {lock}: skipped, the advisories cannot be reached")
            continue
        said = done.stdout + done.stderr
        if done.returncode and any(word in said for word in NO_NETWORK):
            print(f"audit of {lock}: skipped, the advisories cannot be reached")
        elif done.returncode:
            print(said)
            return done.returncode
        else:
            print(f"audit of {lock}: {done.stderr.strip() or 'no known vulnerabilities'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
