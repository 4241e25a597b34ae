"""
INDEX items: under which keys an image, a canonical form or a receipt's `key_id` was asked for, so that erase finds them.

    pk      keyed digest of what the keys are found by (`Keyer.indexes`)
    kind    "INDEX#" and the key in hex: one item per key
    key     the key
    ttl     later than the entry's own

They are written before the backend is asked, so that an erase sees fetches in flight (P46). They hold no content.
"""

from __future__ import annotations

from hookcache.entry import Item
from hookcache.key import CacheKey

PREFIX = "INDEX#"
KEY_BYTES = 32


def index_kind(key: CacheKey) -> str:
    """The sort key of every index item of `key`."""
    return PREFIX + key.hex()


def index_item(index: bytes, key: CacheKey, ttl_seconds: int) -> Item:
    """The item that lets `key` be found under `index`."""
    return {"pk": {"B": index}, "kind": {"S": index_kind(key)}, "key": {"B": key}, "ttl": {"N": str(ttl_seconds)}}


def indexed_key(item: Item) -> CacheKey | None:
    """The key that an index item names; None where it is not one of ours."""
    try:
        key = CacheKey(bytes(item["key"]["B"]))
        return key if len(key) == KEY_BYTES and item["kind"]["S"] == index_kind(key) else None
    except (KeyError, TypeError):
        return None
