"""Exceptions -> what is kept of them, and what groups equal ones: class, cleaned message, own frame."""

from __future__ import annotations

import hashlib
import re
import sysconfig
import traceback
from types import TracebackType

from tasks.engine.errors import Permanent, RetryAfter

TRACEBACK_LIMIT = 16 * 1024
MESSAGE_LIMIT = 2000
TITLE_LIMIT = 200
LIBRARY = (sysconfig.get_path("stdlib"), "site-packages", "/huey/", "dist-packages")
# Read from left to right: what tells failures apart stays, what differs from job to job goes.
WORDS = re.compile(
    r"""(?P<kept>\b[245]\d\d[ -][245]\.\d{1,2}\.\d{1,3}\b    # an SMTP answer: 550 5.1.1
      | \b(?:HTTP|status|code|errno)[ :=/]{1,2}\d{1,3}\b | ^\[?[1-5]\d\d\b
      | (?P<q>['"])[A-Za-z_][A-Za-z_.]{0,40}(?P=q) )           # a name: KeyError('course')
      | '[^']*' | "[^"]*" | <[^>]*>
      | \b[\w.+%-]+@[\w.-]+                                      # an address
      | \b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\b                    # a UUID
      | \b(?=[A-Za-z_-]*\d)[0-9A-Za-z_-]{20,}\b               # an id or a token
      | \b(?:0x)?(?=[a-fA-F]*\d)[0-9a-fA-F]{6,}\b             # hexadecimal
      | \d+(?:[.,:]\d+)*""",
    re.VERBOSE | re.IGNORECASE,
)


def clean(text: str) -> str:
    """Return the first line of a message without its figures, ids, addresses and quoted values."""
    line = text.strip().partition("\n")[0][:400]
    return WORDS.sub(lambda found: found["kept"] or "…", line)[:TITLE_LIMIT]


def place_of(exc: BaseException) -> tuple[str, str]:
    """Return the innermost own frame as (file:function, path:line in function); empty without one."""
    frames = own_frames(exc.__traceback__)
    if not frames:
        return "", ""
    last = frames[-1]
    parts = last.filename.split("/")
    return f"{parts[-1]}:{last.name}", f"{'/'.join(parts[-3:])}:{last.lineno} in {last.name}"[-200:]


def own_frames(tb: TracebackType | None) -> list[traceback.FrameSummary]:
    """Return the frames that belong to the application, outermost first."""
    frames = traceback.extract_tb(tb)
    return [f for f in frames if not any(part and part in f.filename for part in LIBRARY)]


def safe_text(exc: BaseException) -> str:
    """Return str(exc), also where that raises."""
    try:
        return str(exc)
    except Exception:
        return f"<{type(exc).__name__} whose text cannot be read>"


def error_type(exc: BaseException) -> str:
    """Name an error as people know it: the name that Permanent gives, or the cause's class."""
    if isinstance(exc, Permanent | RetryAfter):
        cause = exc.__cause__
        given = exc.error_type if isinstance(exc, Permanent) else None
        return given or type(cause or exc).__name__
    return type(exc).__name__


def describe(exc: BaseException, secrets: tuple[str, ...] = ()) -> dict[str, str]:
    """Return what is kept of an error, secret values replaced.

    Returns: type, message, traceback, fingerprint (16 hex, equal for equal failures), and of its
        group title (the cleaned message), said (its first line as it came) and place (the innermost
        own frame).
    """
    try:
        text = "".join(traceback.format_exception(exc))
    except Exception:
        text = "".join(traceback.format_tb(exc.__traceback__))
    kind, message = hide(error_type(exc), secrets), hide(safe_text(exc), secrets)
    title, (frame, place) = clean(message), place_of(exc)
    mark = hashlib.sha256(f"{kind}|{title}|{frame}".encode(errors="replace")).hexdigest()[:16]
    return {
        "type": kind, "message": message[:MESSAGE_LIMIT], "fingerprint": mark, "title": title,
        "said": message.strip().partition("\n")[0][:TITLE_LIMIT],
        "traceback": hide(text[-TRACEBACK_LIMIT:], secrets), "place": place,
    }  # fmt: skip


def hide(text: str, secrets: tuple[str, ...]) -> str:
    """Replace the plain values of secret arguments."""
    for value in secrets:
        text = text.replace(value, "••••")
    return text
