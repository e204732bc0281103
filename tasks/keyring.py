"""The cipher of secret arguments: Fernet keys, the first encrypts, all decrypt."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class Keyring:
    """A cipher for the engine.

    Raises: ValueError when no key is given or one is not a Fernet key (44 characters of base 64).
    """

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ValueError("no key was given; one Fernet key at least is expected")
        self._keys = MultiFernet([Fernet(key) for key in keys])

    def encrypt(self, data: bytes) -> bytes:
        """Return `data` encrypted with the first key."""
        return self._keys.encrypt(data)

    def decrypt(self, token: bytes) -> bytes:
        """Return what was encrypted. Raises ValueError when no key fits."""
        try:
            return self._keys.decrypt(token)
        except InvalidToken as exc:
            raise ValueError("no key of JOB_ENCRYPTION_KEYS opens this secret argument") from exc


def new_key() -> str:
    """Make a key."""
    return Fernet.generate_key().decode()
