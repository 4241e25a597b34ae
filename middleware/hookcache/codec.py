"""
How a body is spelt where it lies: compressed in the table where that makes it smaller, and inflated within bounds (P49,
F13); in memory as this process reads it quickest.
"""

from __future__ import annotations

import marshal
import zlib
from collections.abc import Callable

from hookcache.errors import EntryRejected
from hookcache.outcome import Reason
from hookcache.usage import Response, parsed

COMPRESS_FROM_BYTES = 1_024
ZLIB_LEVEL = 6


def compress(body: bytes) -> tuple[str, bytes]:
    """The codec's name and what is stored under it."""
    if len(body) > COMPRESS_FROM_BYTES:
        packed = zlib.compress(body, ZLIB_LEVEL)
        if len(packed) < len(body):
            return "zlib", packed
    return "plain", body


def inflate(codec: str, stored: bytes, plain_bytes: int) -> bytes:
    """
    The body in `stored`, never more than its declared size plus one byte (F13).

    Raises:
        EntryRejected: `schema` (a codec that is not known here) or `corrupt`.
        zlib.error: the stored bytes are no stream of its kind.
    """
    if codec == "plain":
        body = stored
    elif codec == "zlib":
        stream = zlib.decompressobj()
        body = stream.decompress(stored, plain_bytes + 1)
        if not stream.eof or stream.unused_data:
            raise EntryRejected(Reason.CORRUPT)
    else:
        raise EntryRejected(Reason.SCHEMA)
    if len(body) != plain_bytes:
        raise EntryRejected(Reason.CORRUPT)
    return body


def quick(body: bytes) -> bytes | None:
    """
    What `body` says, in Python's own spelling, which is read several times quicker than JSON and gives the same values, types
    and orders; None where that would be longer. For this process alone: it may differ between versions of Python.
    """
    try:
        spelt = marshal.dumps(parsed(body))
    except (ValueError, RecursionError):
        return None
    return spelt if len(spelt) <= len(body) else None


unquick: Callable[[bytes], Response] = marshal.loads
"""The answer that `quick` spelt in this process, anew each time (P8)."""
