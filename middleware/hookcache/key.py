"""
The key: a keyed digest of everything that can change the answer.

    key = HMAC-SHA-256(secret for keys, frames of: schema, namespace, backend identity, generation; SHA-256 of canonical form)

32 bytes, never cut (P2, S9). Without the secret a guessed prompt cannot be confirmed (P37). Every use of the secret has
a derived secret of its own, so that no digest made for one purpose means anything for another.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from hookcache.canonical import SCHEMA
from hookcache.frames import LONG_TEXT, Piece, framed
from hookcache.hints import NewType
from hookcache.mac import Mac
from hookcache.value import value

CacheKey = NewType("CacheKey", bytes)

DISPLAY_BYTES = 8


@value
class Secrets:
    """The derived secrets of one HMAC secret, and the id under which its entries are known."""

    keys: bytes
    tags: bytes
    index: bytes
    trace: bytes
    bodies: bytes
    key_id: str

    def __repr__(self) -> str:
        return f"Secrets(key_id={self.key_id!r})"

    @classmethod
    def derive(cls, secret: bytes) -> Secrets:
        def purpose(name: str) -> bytes:
            return hmac.digest(secret, b"hookcache " + name.encode(), "sha256")

        shown = hashlib.blake2b(purpose("id"), digest_size=DISPLAY_BYTES).hexdigest()
        return cls(
            purpose("keys"), purpose("tags"), purpose("index"), purpose("trace"), purpose("bodies"), key_id=shown
        )


class Keyer:
    """
    Makes keys under one secret and namespace. One instance serves look-up, store, lease and erase (P5).

    Args:
        secrets: of the HMAC secret in force; its id is part of the namespace, so a new secret is a cold cache.
        namespace: the operator's word for who may share answers (P7).
    """

    def __init__(self, secrets: Secrets, namespace: str) -> None:
        self._secrets = secrets
        self.namespace = f"{namespace}/{secrets.key_id}"
        self._index = Mac(secrets.index)
        self._before_form: tuple[object, Mac] = (None, Mac(secrets.keys, b""))  # as the last key had it

    def key_of(self, form: bytes, identity: bytes, generation: str, rollout: str = "") -> CacheKey:
        """
        The key of a canonical form answered by `identity` in `generation`.

        `rollout` is the caller's own word from the client context, empty where there is none (P51).
        """
        return self.key_of_digest(form_digest([form]), identity, generation, rollout)

    def key_of_digest(self, form_sha256: bytes, identity: bytes, generation: str, rollout: str = "") -> CacheKey:
        """As `key_of`, of a form whose digest is known: so an entry can be keyed anew under another secret (docs/adr/0015)."""
        about = (SCHEMA, identity, generation, rollout)
        known, begun = self._before_form
        if known != about:
            parts = (b"key", b"%d" % SCHEMA, self.namespace.encode(), identity, generation.encode(), rollout.encode())
            begun = Mac(self._secrets.keys, b"".join(map(framed, parts)))
            self._before_form = about, begun
        return CacheKey(begun.digest(form_sha256))

    def shown(self, key: CacheKey) -> str:
        """A short digest of the key for receipts: tells keys apart for a reader, opens nothing."""
        return hashlib.blake2b(key, key=self._secrets.trace, digest_size=DISPLAY_BYTES).hexdigest()

    def traced(self, component: str, value: bytes) -> str:
        """A short digest of one component of a request, for the trace (P58)."""
        mac = hashlib.blake2b(key=self._secrets.trace, digest_size=DISPLAY_BYTES, person=component.encode())
        mac.update(value)
        return mac.hexdigest()

    def image_index(self, sha256: bytes) -> bytes:
        """Under which the keys of all requests that hold an image of this digest are found again, for erase (P46)."""
        return self._indexed(b"image", sha256)

    def form_index(self, sha256: bytes) -> bytes:
        """Under which the keys of one canonical form, by its SHA-256, are found again: any identity and generation (P46)."""
        return self._indexed(b"form", sha256)

    def shown_index(self, shown: str) -> bytes:
        """Under which a key is found again by the `key_id` of its receipts (docs/adr/0007)."""
        return self._indexed(b"shown", shown.encode())

    def indexes(self, origin: Sequence[bytes], key: CacheKey) -> list[bytes]:
        """
        Every index that a fetch must write before it calls the backend.

        `origin` is the SHA-256 of the canonical form, then that of each image.
        """
        found_by = [self.form_index(origin[0]), *(self.image_index(digest) for digest in origin[1:])]
        return list(dict.fromkeys([*found_by, self.shown_index(self.shown(key))]))

    def control_key(self, backend: str) -> CacheKey:
        """Where the CONTROL item of this namespace and backend lies."""
        return CacheKey(self._indexed(b"control", backend.encode()))

    def _indexed(self, what: bytes, content: bytes) -> bytes:
        parts = b"".join(map(framed, (what, self.namespace.encode(), content)))
        return self._index.digest(parts)


def form_digest(pieces: Iterable[Piece]) -> bytes:
    """SHA-256 of a canonical form in pieces: long texts are encoded part by part, as they are digested."""
    digest = hashlib.sha256()
    for piece in pieces:
        if isinstance(piece, bytes):
            digest.update(piece)
            continue
        for start in range(0, len(piece), LONG_TEXT):
            digest.update(piece[start : start + LONG_TEXT].encode("ascii"))
    return digest.digest()
