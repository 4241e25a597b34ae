"""
INDEX items: under which keys an image, a canonical form or a receipt's `key_id` was asked for, so that erase finds them.

    pk      keyed digest of what the keys are found by (`Keyer.indexes`)
    kind    "INDEX#" and the key in hex: one item per key
    key     the key
    ttl     later than the entry's own

They are written before the backend is asked, so that an erase sees fetches in flight (P46). They hold no content. Each is kept for as long
as any could be needed, whatever lifetimes are in force: it is written over the one of an entry that may live longer.
"""

from __future__ import annotations

from hookcache.clock import EpochMillis
from hookcache.entry import Item
from hookcache.key import CacheKey
from hookcache.lease import TOMBSTONE_SECONDS

PREFIX = "INDEX#"
KEY_BYTES = 32
LONGEST_SECONDS = 30 * 86_400 + TOMBSTONE_SECONDS
"""The longest lifetime that a context may have, and a tombstone's."""


def index_kind(key: CacheKey) -> str:
    """The sort key of every index item of `key`."""
    return PREFIX + key.hex()


def index_item(index: bytes, key: CacheKey, now: EpochMillis) -> Item:
    """The item that lets `key` be found under `index`, of an entry made `now` or before."""
    ttl = str(now // 1000 + LONGEST_SECONDS)
    return {"pk": {"B": index}, "kind": {"S": index_kind(key)}, "key": {"B": key}, "ttl": {"N": ttl}}


def indexed_key(item: Item) -> CacheKey | None:
    """The key that an index item names; None where it is not one of ours."""
    try:
        key = CacheKey(bytes(item["key"]["B"]))
        return key if len(key) == KEY_BYTES and item["kind"]["S"] == index_kind(key) else None
    except (KeyError, TypeError):
        return None
