"""What a webhook's channel keeps sealed: its URL and secret, under JOB_ENCRYPTION_KEYS."""

from __future__ import annotations

import json

from tasks import settings
from tasks.alerts.models import AlertChannel
from tasks.keyring import Keyring


def opened(channel: AlertChannel) -> dict[str, str]:
    """Return a webhook's URL and secret. Raises ValueError where no key opens them."""
    found: dict[str, str] = json.loads(_keyring().decrypt(channel.sealed.encode()))
    return found


def seal(channel: AlertChannel, url: str, secret: str) -> None:
    """Keep a webhook's URL and secret."""
    plain = json.dumps({"url": url, "secret": secret}).encode()
    channel.sealed = _keyring().encrypt(plain).decode()


def _keyring() -> Keyring:
    return Keyring(settings.get().job_encryption_keys)
