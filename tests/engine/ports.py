"""Ports for processes that take one by number, so that it has to be known before they listen."""

from __future__ import annotations

import itertools
import os
import socket

# Below what Linux, macOS and Windows give to outgoing connections: nobody else comes upon one
# between now and the start. Each worker of pytest-xdist has a stretch of its own.
FIRST, EACH = 20_000, 500
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_next = itertools.count(FIRST + _worker * EACH)


def free_ports(many: int) -> list[int]:
    """Return ports that nobody listens on, and that were not given out before."""
    return list(itertools.islice(filter(_is_free, _next), many))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
