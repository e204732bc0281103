"""Which ports are free, and who holds one that is not."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Collection

import psutil

from demo.console import Stop

LOOPBACK = "127.0.0.1"


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def next_free(first: int, tries: int = 50, but: Collection[int] = ()) -> int:
    """Return the first free loopback port from `first` on that is not in `but`. Raises Stop."""
    for port in range(first, min(first + tries, 65536)):
        if port not in but and is_free(port):
            return port
    raise Stop(f"Ports {first} to {first + tries - 1} are all taken; free one of them.")


def require(port: int, host: str, variable: str) -> None:
    """Raise Stop with what holds the port and what to do, unless it is free."""
    if is_free(port, host):
        return
    with contextlib.suppress(OSError):
        socket.inet_aton(host)
    other = next_free(port + 1)
    raise Stop(
        f"Port {port} on {host} is taken{_holder(port)}. Stop that program, or choose another"
        f" port: {variable}={other} make run"
    )


def _holder(port: int) -> str:
    """Return who listens there, where the system tells us."""
    with contextlib.suppress(psutil.Error, OSError):
        for found in psutil.net_connections("tcp"):
            if found.laddr and found.laddr.port == port and found.status == psutil.CONN_LISTEN:
                return f" by {psutil.Process(found.pid).name()} (process {found.pid})"
    return ""
