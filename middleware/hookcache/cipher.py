"""
Optional encryption of stored bodies: AES-256-GCM under a key of each entry's own (P38, docs/adr/0008).

Who may read the table or the overflow bucket, but not the HMAC secret, then reads no answer. Each body's key is derived
from the secret, the entry's key and its fence, so a body opens nowhere but in its place, and deleting the secret deletes
every body for good, copies and backups included.
"""

from __future__ import annotations

import hmac
import os
from importlib.util import find_spec

from hookcache.errors import EntryRejected
from hookcache.hints import Any
from hookcache.outcome import Reason

NAME = "aes-256-gcm"
"""Stands in every entry that is encrypted by this rule."""
NONCE_BYTES = 12
EXTRA_BYTES = NONCE_BYTES + 16
"""How much longer an encrypted body is."""


def is_installed() -> bool:
    """Whether bodies can be encrypted here: the package is no part of the standard artifact."""
    return find_spec("cryptography") is not None


class BodyCipher:
    """Encrypts and opens bodies under one derived secret. The library is imported by the first body, not before."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def seal(self, body: bytes, place: bytes) -> bytes:
        """`body` encrypted for `place`: nonce, ciphertext, tag; `EXTRA_BYTES` longer."""
        nonce = os.urandom(NONCE_BYTES)
        sealed: bytes = self._key(place).encrypt(nonce, body, place)
        return nonce + sealed

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """
        The body that was sealed for `place`.

        Raises:
            EntryRejected: `corrupt` if it was sealed elsewhere or altered; `schema` where the library is missing.
        """
        if not is_installed():
            raise EntryRejected(Reason.SCHEMA)
        from cryptography.exceptions import InvalidTag

        try:
            body: bytes = self._key(place).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)
        except (InvalidTag, ValueError):
            raise EntryRejected(Reason.CORRUPT) from None
        return body

    def _key(self, place: bytes) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 10 to 20 ms, paid only where it is used

        return AESGCM(hmac.digest(self._secret, b"body\0" + place, "sha256"))
