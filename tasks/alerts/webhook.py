"""POST JSON to an address that an admin gave: no way into the private network, signed, bounded.

The name is resolved once, every address it has is checked, and the connection goes to one of those
checked: a name that answers otherwise a moment later leads nowhere. No redirect is followed, no
proxy is used, and no more than the status of the answer is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import ipaddress
import re
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

CONNECT_S, READ_S, WHOLE_S = 5.0, 5.0, 15.0
LONGEST_URL, SHORTEST_SECRET, ANSWER = 1000, 16, 200
LONGEST_WAIT_S = 900.0
AGAIN = (408, 425, 429)  # these 4xx may be answered otherwise later
HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_])?\.?\Z")
NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotSent(Exception):
    """A webhook did not take it; `again` tells whether another try may help, and after how long."""

    def __init__(self, reason: str, *, again: bool, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.again, self.after_s = again, after_s


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook goes, from its URL."""

    scheme: str
    host: str
    port: int
    path: str


def parse(url: str) -> Target:
    """Return the parts of a webhook's URL. Raises ValueError with what is expected."""
    if len(url) > LONGEST_URL or not url.isascii() or re.search(r"[\x00-\x20\x7f\\]", url):
        raise ValueError(
            f"a URL of at most {LONGEST_URL} plain characters is expected, without blanks"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise ValueError(f"this is no URL: {exc}") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a URL that begins https:// or http:// is expected")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "a URL without a name and password is expected; the signature proves who sends"
        )
    if port == 0 or not (_ip(parts.hostname) or HOST.match(parts.hostname)):
        raise ValueError("a URL with a plain host name and port is expected")
    return Target(parts.scheme, parts.hostname, port or _default(parts), _path(parts))


def _default(parts: SplitResult) -> int:
    return 443 if parts.scheme == "https" else 80


def _path(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _ip(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def shown(url: str) -> str:
    """Return what may be shown of a URL: its path and query may be a secret. Raises ValueError."""
    found = parse(url)
    host = f"[{found.host}]" if ":" in found.host else found.host
    port = "" if found.port == (443 if found.scheme == "https" else 80) else f":{found.port}"
    return f"{found.scheme}://{host}{port}/" + ("" if found.path == "/" else "••••")


def new_secret() -> str:
    """Make a secret."""
    return f"whsec_{secrets.token_urlsafe(24)}"


def is_public(text: str) -> bool:
    """Tell whether an address lies in the public Internet, also one that hides another in itself."""
    address = ipaddress.ip_address(text.partition("%")[0])
    inner = _inside(address) if isinstance(address, ipaddress.IPv6Address) else None
    if inner is not None:
        return is_public(str(inner))
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to; of a Teredo one its client."""
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]


def resolve(target: Target, *, private: bool) -> list[str]:
    """Return the checked addresses of a host. Raises NotSent; one private address refuses all."""
    try:
        rows = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise NotSent(f"{target.host} is not found: {exc}", again=True) from exc
    found = list(dict.fromkeys(str(row[4][0]) for row in rows))
    inside = [] if private else [address for address in found if not is_public(address)]
    if inside:
        raise NotSent(f"{target.host} is {inside[0]}, an address that is not public; ALERT_PRIVATE_WEBHOOKS=1 allows such",
                      again=False)  # fmt: skip
    return found


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return what proves the sender: HMAC-SHA256 of `timestamp.body`."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def headers(
    secret: str, body: bytes, key: str, event: str, at_s: float | None = None
) -> dict[str, str]:
    """Return the headers of a signed POST; `key` is the same on every try."""
    timestamp = str(int(time.time() if at_s is None else at_s))
    return {
        "Content-Type": "application/json", "User-Agent": "Jobdeck", "Idempotency-Key": key,
        "X-Jobdeck-Event": event, "X-Jobdeck-Timestamp": timestamp,
        "X-Jobdeck-Signature": signature(secret, timestamp, body),
    }  # fmt: skip


def post(url: str, body: bytes, head: Mapping[str, str], *, private: bool = False) -> str:
    """POST a body. Returns: the status that took it. Raises: NotSent, ValueError for a wrong URL."""
    target = parse(url)
    addresses = resolve(target, private=private)
    connection = _connection(target, addresses)
    cut = threading.Timer(WHOLE_S, _cut, (connection,))
    cut.daemon = True
    cut.start()
    try:
        connection.request("POST", target.path, body=body, headers=dict(head))
        with contextlib.closing(connection.getresponse()) as answer:
            return _judge(answer)
    except (OSError, http.client.HTTPException) as exc:
        raise NotSent(f"{target.host}: {str(exc) or type(exc).__name__}", again=True) from exc
    finally:
        cut.cancel()
        connection.close()


def _cut(connection: http.client.HTTPConnection) -> None:
    """End a connection that answers a byte at a time."""
    try:
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _judge(answer: http.client.HTTPResponse) -> str:
    """Return the status, or say what it means. Raises NotSent."""
    status = f"{answer.status} {answer.reason}".strip()[:ANSWER]
    if 200 <= answer.status < 300:
        return status
    if 300 <= answer.status < 400:
        raise NotSent(
            f"{status}: a redirect is not followed; give the address it leads to", again=False
        )
    again = answer.status >= 500 or answer.status in AGAIN
    raise NotSent(status, again=again, after_s=_after(answer) if again else None)


def _after(answer: http.client.HTTPResponse) -> float | None:
    text = answer.getheader("Retry-After", "").strip()
    return min(float(text), LONGEST_WAIT_S) if text.isdigit() and len(text) < 7 else None


def _connection(target: Target, addresses: Sequence[str]) -> http.client.HTTPConnection:
    """Return a connection that goes to one of the checked addresses, under the host's own name."""

    class Checked(http.client.HTTPConnection):
        def connect(self) -> None:
            plain = _connect(addresses, target.port)
            plain.settimeout(READ_S)
            self.sock = _secured(plain, target.host) if target.scheme == "https" else plain

    made = Checked(target.host, target.port)
    made.default_port = 443 if target.scheme == "https" else 80  # for the Host header
    return made


def _secured(plain: socket.socket, host: str) -> ssl.SSLSocket:
    """Return the connection under TLS, checked against the host's own name."""
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def _connect(addresses: Sequence[str], port: int) -> socket.socket:
    """Return a connection to the first address that takes one, of at most three."""
    fault: OSError = OSError("no address was found")
    for address in addresses[:3]:
        try:
            return socket.create_connection((address, port), CONNECT_S)
        except OSError as exc:
            fault = exc
    raise fault
