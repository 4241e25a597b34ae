"""
The canonical form once more, written straight from its table (`canonical.py`, module docstring) and nothing else.

No pieces, no fast ways, no usual orders: what the product's form must equal, byte for byte.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hookcache.errors import Unkeyable
from hookcache.images import ImageDigest
from hookcache.outcome import Reason

Path = tuple[str, ...]
BLOCK: Path = ("messages", "*", "content", "*")
LOCATION: Path = (*BLOCK, "image", "source", "s3Location")
PROMPTS = {("context",), ("modelId",), (*BLOCK, "text"), ("system", "*", "text"), (*LOCATION, "uri")}
"""Where a text is a text, whatever it looks like. Elsewhere one that points at content is no input of ours (P41)."""


def plain_form(event: Mapping[str, Any], digests: Sequence[ImageDigest]) -> bytes:
    return _spelt(event, (), 0, iter(digests), within_image=False)


def _spelt(value: Any, path: Path, depth: int, images: Iterator[ImageDigest], *, within_image: bool) -> bytes:
    if isinstance(value, str):
        text = value.replace("<<CACHEPOINT>>", "") if path == ("system", "*", "text") else value
        if path not in PROMPTS or (within_image and path == (*BLOCK, "text")):
            _no_reference(value)
        return _text(text)
    if isinstance(value, Mapping | list | tuple) and depth >= 64:
        raise Unkeyable(Reason.EVENT_SIZE)
    if isinstance(value, list | tuple):
        parts = (_spelt(each, (*path, "*"), depth + 1, images, within_image=within_image) for each in value)
        return b"l" + _count(len(value)) + b"".join(parts)
    if isinstance(value, Mapping):
        return _object(value, path, depth, images, within_image=within_image or (path == BLOCK and "image" in value))
    return _scalar(value)


def _object(
    members: Mapping[str, Any], path: Path, depth: int, images: Iterator[ImageDigest], *, within_image: bool
) -> bytes:
    before = b""
    if path == LOCATION:
        digest = next(images)
        before = b"x" + _count(digest.size_bytes) + digest.sha256
        if set(members) <= {"uri", "bucketOwner"}:
            members = {}
    frames = []
    for name in sorted(members):
        _no_reference(name)
        frames.append(_text(name))
        frames.append(_spelt(members[name], (*path, name), depth + 1, images, within_image=within_image))
    return before + b"o" + _count(len(members)) + b"".join(frames)


def _scalar(value: Any) -> bytes:
    if value is None:
        return b"n"
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, float) and not value.is_integer():
        return b"d" + struct.pack(">d", value)
    whole = int(value)
    digits = whole.to_bytes(whole.bit_length() // 8 + 1, "big", signed=True)
    return b"i" + _count(len(digits)) + digits


def _text(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return b"s" + _count(len(encoded)) + encoded


def _count(count: int) -> bytes:
    return struct.pack(">Q", count)


def _no_reference(text: str) -> None:
    if re.match(r"\s*([a-z][a-z0-9+.-]*://|arn:)", text, re.IGNORECASE):
        raise Unkeyable(Reason.REFERENCE)
