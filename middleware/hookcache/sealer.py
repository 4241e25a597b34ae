"""
The stored form of an entry: compressed, sealed under a tag, bounded when opened again.

A stored entry names its own key, namespace, schema and fence under an HMAC tag, so that a planted, moved or damaged one
is a miss and an alarm, never an answer (P6, S45). Sizes declared in an item bound what is inflated from it (F13).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import zlib
from collections.abc import Callable
from functools import lru_cache

from hookcache.canonical import SCHEMA
from hookcache.cipher import EXTRA_BYTES, BodyCipher
from hookcache.cipher import NAME as CIPHER
from hookcache.clock import EpochMillis
from hookcache.codec import compress, inflate
from hookcache.entry import ANSWER_BYTES, Entry, Fence, Item
from hookcache.errors import EntryRejected
from hookcache.frames import framed
from hookcache.key import CacheKey
from hookcache.mac import Mac
from hookcache.outcome import Reason
from hookcache.value import value

INLINE_BYTES = 350 * 1024
DIGEST_BYTES, HOUR_SECONDS = 32, 3_600


@value
class Tombstone:
    """The mark that an entry was erased: fills with a smaller fence are refused (P13)."""

    fence: Fence


@value
class Sealed:
    """An entry ready to be written: its item, and the body that goes to the overflow bucket under `overflow_name`."""

    item: Item
    overflow_name: str | None
    overflow_body: bytes


class Sealer:
    """
    Seals entries of one namespace and opens them again.

    Args:
        cipher: opens encrypted bodies; without it they are of another schema.
        encrypts: whether new bodies are encrypted; entries of either kind are opened.
    """

    def __init__(
        self, tag_secret: bytes, namespace: str, cipher: BodyCipher | None = None, *, encrypts: bool = False
    ) -> None:
        self._mac = Mac(tag_secret)
        self._namespace = namespace
        self._cipher = cipher
        self._encrypts = encrypts

    def seal(self, entry: Entry) -> Sealed:
        """The stored form of `entry`. Promises: P6, P49."""
        codec, stored = compress(entry.body)
        cipher = self._cipher if self._encrypts else None
        if cipher is not None:
            stored = cipher.seal(stored, _place(entry.key, entry.fence))
        item: Item = {
            "pk": {"B": entry.key},
            "kind": {"S": "ENTRY"},
            "schema": {"N": str(SCHEMA)},
            "namespace": {"S": self._namespace},
            "fence": {"N": str(entry.fence)},
            "created_ms": {"N": str(entry.created_ms)},
            "fresh_until_ms": {"N": str(entry.fresh_until_ms)},
            "hard_until_ms": {"N": str(entry.hard_until_ms)},
            "codec": {"S": codec},
            "plain_bytes": {"N": str(len(entry.body))},
            "stored_bytes": {"N": str(len(stored))},
            "sha256": {"B": hashlib.sha256(stored).digest()},
            "about": {"S": _about(entry)},
            "ttl": {"N": str(entry.hard_until_ms // 1000 + HOUR_SECONDS)},
        }
        if entry.origin:
            item["origin"] = {"B": self._masked(entry.key, b"".join(entry.origin))}
        if cipher is not None:
            item["cipher"] = {"S": CIPHER}
        overflow_name = None
        if len(stored) > INLINE_BYTES:
            # A name of its own per fence: an older writer's late put cannot replace the body of a newer entry.
            overflow_name = f"{_folder(entry.key)}{entry.fence}-{hashlib.sha256(stored).hexdigest()}"
            item["overflow"] = {"S": overflow_name}
        else:
            item["body"] = {"B": stored}
        item["tag"] = {"B": self._tag(item)}
        return Sealed(item, overflow_name, stored if overflow_name else b"")

    def open(self, key: CacheKey, item: Item, fetch_overflow: Callable[[str, int], bytes]) -> Entry | Tombstone:
        """
        The entry or tombstone in an item read under `key`.

        Args:
            fetch_overflow: reads an overflow object by name, at most so many bytes.

        Raises:
            EntryRejected: `schema` (made under other rules, P43, F12) or `corrupt` (anything else that is not as sealed).
            TierUnavailable: the overflow bucket could not be asked.
        """
        try:
            if item["schema"]["N"] != str(SCHEMA):
                raise EntryRejected(Reason.SCHEMA)
            self._verify(key, item)
            if "erased" in item:
                return Tombstone(Fence(int(item["fence"]["N"])))
            return self._open(key, item, fetch_overflow)
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError, zlib.error):
            raise EntryRejected(Reason.CORRUPT) from None

    def origin_of(self, key: CacheKey, item: Item) -> tuple[bytes, ...]:
        """
        The digests that `Entry.origin` had, of an item that `open` took; empty where its writer knew none.

        They lie masked under the secret: in clear they would let a table's reader confirm a guessed request (P37).
        """
        digests = self._masked(key, bytes(item["origin"]["B"])) if "origin" in item else b""
        return tuple(digest for (digest,) in struct.iter_unpack(f"{DIGEST_BYTES}s", digests))

    def _masked(self, key: CacheKey, digests: bytes) -> bytes:
        """The digests, exclusive-or a stream that only the secret's holder can make; twice is once. One stream per key."""
        blocks = range(len(digests) // DIGEST_BYTES)
        stream = b"".join([self._mac.digest(b"origin" + key + b"%d" % each) for each in blocks])
        mixed = int.from_bytes(digests, "big") ^ int.from_bytes(stream, "big")
        return mixed.to_bytes(len(digests), "big")

    def is_damaged(self, key: CacheKey, item: Item) -> bool:
        """True for an item of our schema that nobody of ours sealed; one of another schema is not ours to judge (F39)."""
        try:
            if item["schema"]["N"] != str(SCHEMA):
                return False
            self._verify(key, item)
        except (EntryRejected, KeyError, ValueError, TypeError, AttributeError):
            return True
        return False

    def tombstone(self, key: CacheKey, fence: Fence, ttl_seconds: int, overflow_name: str | None = None) -> Item:
        """The item that says `key` was erased under `fence`; it remembers the body that was to be deleted."""
        item: Item = {
            "pk": {"B": key},
            "kind": {"S": "ENTRY"},
            "schema": {"N": str(SCHEMA)},
            "namespace": {"S": self._namespace},
            "fence": {"N": str(fence)},
            "erased": {"BOOL": True},
            "ttl": {"N": str(ttl_seconds)},
        }
        if overflow_name is not None:
            item["overflow"] = {"S": overflow_name}
        return item | {"tag": {"B": self._tag(item)}}

    def _verify(self, key: CacheKey, item: Item) -> None:
        if not hmac.compare_digest(bytes(item["tag"]["B"]), self._tag(item)):
            raise EntryRejected(Reason.CORRUPT)
        if bytes(item["pk"]["B"]) != key or item["namespace"]["S"] != self._namespace or item["kind"]["S"] != "ENTRY":
            raise EntryRejected(Reason.CORRUPT)

    def _open(self, key: CacheKey, item: Item, fetch_overflow: Callable[[str, int], bytes]) -> Entry:
        stored_bytes, plain_bytes = _number(item, "stored_bytes"), _number(item, "plain_bytes")
        if not (0 < plain_bytes <= ANSWER_BYTES and 0 < stored_bytes <= ANSWER_BYTES + EXTRA_BYTES):
            raise EntryRejected(Reason.CORRUPT)
        stored = fetch_overflow(item["overflow"]["S"], stored_bytes) if "overflow" in item else bytes(item["body"]["B"])
        if len(stored) != stored_bytes or hashlib.sha256(stored).digest() != bytes(item["sha256"]["B"]):
            raise EntryRejected(Reason.CORRUPT)
        if "cipher" in item:
            if self._cipher is None or item["cipher"]["S"] != CIPHER:
                raise EntryRejected(Reason.SCHEMA)
            stored = self._cipher.open(stored, _place(key, _number(item, "fence")))
        about = _told(item["about"]["S"])
        return Entry(
            key=key,
            fence=Fence(_number(item, "fence")),
            created_ms=EpochMillis(_number(item, "created_ms")),
            fresh_until_ms=EpochMillis(_number(item, "fresh_until_ms")),
            hard_until_ms=EpochMillis(_number(item, "hard_until_ms")),
            body=inflate(item["codec"]["S"], stored, plain_bytes),
            usage=about["usage"],
            context=about["context"],
            backend_version=about["backend_version"],
            cost=about["cost"],
        )

    def _tag(self, item: Item) -> bytes:
        """
        HMAC over every attribute, name and value framed, sorted by name.

        The body stands in it by its digest, which `_open` compares with the body. `ttl` is left out: it only says when
        the table may drop the item, and no reader believes it (P10).
        """
        parts: list[bytes] = []
        for name in sorted(item.keys() - {"tag", "ttl", "body"}):
            ((kind, value),) = item[name].items()
            raw = bytes(value) if kind == "B" else str(value).encode()
            parts += (_heading(name, kind), len(raw).to_bytes(8, "big"), raw)
        return self._mac.digest(b"".join(parts))


@lru_cache(maxsize=64)  # the attributes of our items are few
def _heading(name: str, kind: str) -> bytes:
    return framed(name.encode()) + framed(kind.encode())


_spelt, _told = json.JSONEncoder(separators=(",", ":")).encode, json.JSONDecoder().decode


def _place(key: CacheKey, fence: int) -> bytes:
    return key + b"%d" % fence


def _about(entry: Entry) -> str:
    about = {"usage": dict(entry.usage), "context": entry.context, "backend_version": entry.backend_version}
    return _spelt(about | {"cost": dict(entry.cost)})


def _number(item: Item, name: str) -> int:
    return int(item[name]["N"])


def body_of(key: CacheKey, item: Item | None) -> str | None:
    """The overflow object of an item under `key`. Only one that bears the key's own name: a planted item may name another's (T5)."""
    name = str((item or {}).get("overflow", {}).get("S", ""))
    return name if name.startswith(_folder(key)) else None


def _folder(key: CacheKey) -> str:
    return f"entries/{key.hex()}/"
