"""
Frames of single values: the smallest parts of a canonical form (`canonical.py` lists them all).

Words and numbers that come again are looked up and not spelt again: roles, contexts, names and settings make up most
frames of an event. Longer texts are never remembered.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from hookcache.errors import Unkeyable
from hookcache.outcome import Reason

MAX_INTEGER_BITS = 1_024
"""Whole floats reach 2**1024; a longer integer is no number that a model is asked for (B4)."""

WORD = 48
"""Texts up to here are looked up before they are spelt."""

# A string that points at content held elsewhere. Outside the image blocks nothing here can read what it points to, so
# neither its content nor its name may stand in a key (P41, S14).
REFERENCE = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*://|arn:)", re.IGNORECASE)


@lru_cache(maxsize=1_024)
def number_frame(number: float) -> bytes:
    """
    The frame of a number by its exact value: `0`, `0.0`, `-0.0` and `0e0` are one, 2**53 + 1 and its float are two (E2).

    That is also how Python compares numbers, so those that come again are looked up and not spelt again.

    Raises:
        Unkeyable: `number`, for NaN, infinities and integers past 1,024 bits (B4).
    """
    if isinstance(number, float):
        if not number.is_integer():  # NaN and the infinities are none either
            if number - number != 0:
                raise Unkeyable(Reason.NUMBER)
            return b"d" + struct.pack(">d", number)
        number = int(number)
    if number.bit_length() > MAX_INTEGER_BITS:
        raise Unkeyable(Reason.NUMBER)
    encoded = number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)
    return count_frame(b"i", len(encoded)) + encoded


def sorted_names(members: Collection[Any]) -> list[Any]:
    try:
        return sorted(members)
    except TypeError:
        raise Unkeyable(Reason.EVENT_SHAPE) from None


def name_frame(name: Any) -> bytes:
    if not isinstance(name, str):
        raise Unkeyable(Reason.EVENT_SHAPE)
    if REFERENCE.match(name):
        raise Unkeyable(Reason.REFERENCE)
    return text_frame(name)


def text_frame(text: str) -> bytes:
    encoded = utf8(text)
    return count_frame(b"s", len(encoded)) + encoded


# Roles, contexts and model names: few, and in every event.
word_frame = lru_cache(maxsize=512)(text_frame)
plain_word_frame = lru_cache(maxsize=512)(name_frame)


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def framed(part: bytes) -> bytes:
    """Length, then content: no part can run into the next."""
    return len(part).to_bytes(8, "big") + part


def count_frame(kind: bytes, count: int) -> bytes:
    return kind + count.to_bytes(8, "big")
