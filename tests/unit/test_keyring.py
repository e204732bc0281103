"""The cipher of secret arguments."""

from __future__ import annotations

import pytest

from tasks.keyring import Keyring, new_key


def test_what_was_encrypted_can_be_read() -> None:
    keys = Keyring([new_key()])
    assert keys.decrypt(keys.encrypt(b"123456")) == b"123456"


def test_a_new_first_key_still_opens_what_the_old_one_closed() -> None:
    old, new = new_key(), new_key()
    closed = Keyring([old]).encrypt(b"123456")
    assert Keyring([new, old]).decrypt(closed) == b"123456"


def test_another_key_opens_nothing() -> None:
    closed = Keyring([new_key()]).encrypt(b"123456")
    with pytest.raises(ValueError, match="no key of JOB_ENCRYPTION_KEYS"):
        Keyring([new_key()]).decrypt(closed)


def test_no_key_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="one Fernet key at least"):
        Keyring([])
