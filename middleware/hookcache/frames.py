"""
Frames of single values, the smallest parts of a canonical form (`canonical.py` lists them all), and the form they add up to.

Words and numbers that come again are looked up and not spelt again: roles, contexts, names and settings make up most
frames of an event. Longer texts are never remembered.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

from hookcache.errors import Unkeyable
from hookcache.hints import TYPE_CHECKING, Any
from hookcache.outcome import Reason

if TYPE_CHECKING:
    from hookcache.images import ImageDigest

MAX_INTEGER_BITS = 1_024
"""Whole floats reach 2**1024; a longer integer is no number that a model is asked for (B4)."""

WORD = 48
"""Texts up to here are looked up before they are spelt."""

# A string that points at content held elsewhere. Outside the image blocks nothing here can read what it points to, so
# neither its content nor its name may stand in a key (P41, S14).
REFERENCE = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*://|arn:)", re.IGNORECASE)


# No more: an event may hold any number of them with one hash, and each is compared with all that are held.
@lru_cache(maxsize=64)
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
    """Names in the order of the form. Raises `Unkeyable` (`event_shape`) where they cannot be ordered, which no JSON holds."""
    try:
        return sorted(members)
    except TypeError:
        raise Unkeyable(Reason.EVENT_SHAPE) from None


def plain_frame(text: Any) -> bytes:
    """The frame of a name, or of a text outside the prompt. Raises `Unkeyable`: `event_shape`, or `reference` (P41)."""
    if not isinstance(text, str):
        raise Unkeyable(Reason.EVENT_SHAPE)
    if REFERENCE.match(text):
        raise Unkeyable(Reason.REFERENCE)
    return text_frame(text)


def text_frame(text: str) -> bytes:
    """The frame of a text whatever it says: part of a prompt, or a member that holds no reference."""
    encoded = utf8(text)
    return count_frame(b"s", len(encoded)) + encoded


# Few, and in every event: roles, contexts and model names; names of members and their values.
word_frame = lru_cache(maxsize=512)(text_frame)
plain_word_frame = lru_cache(maxsize=512)(plain_frame)


def utf8(text: str) -> bytes:
    """UTF-8 in which lone surrogates keep their code point: the one spelling of text that is digested (B15)."""
    return text.encode("utf-8", "surrogatepass")


def framed(part: bytes) -> bytes:
    """Length, then content: no part can run into the next."""
    return len(part).to_bytes(8, "big") + part


def count_frame(kind: bytes, count: int) -> bytes:
    return kind + count.to_bytes(8, "big")


Piece = bytes | str
"""Part of a canonical form, several frames. A long text of plain ASCII stands for its own bytes, to be encoded in parts."""

APART = 4_096
"""From here on a text is a piece of its own, which spares a copy."""
LONG_TEXT = 65_536
"""From here on it is not even encoded whole: copies of a page's 4 MB take as long as their digest."""


def joined(pieces: Iterable[Piece]) -> bytes:
    """The pieces as one."""
    return b"".join([piece if isinstance(piece, bytes) else piece.encode("ascii") for piece in pieces])


class Form:
    """One walk over one event. `out` collects frames for the next piece; `images` are consumed in order of position."""

    __slots__ = ("_pieces", "images", "out")

    def __init__(self, digests: Sequence[ImageDigest]) -> None:
        self.out: list[bytes] = []
        self.images = iter(digests)
        self._pieces: list[Piece] = []

    def apart(self, text: str) -> None:
        """A text as a piece of its own."""
        content = text if len(text) >= LONG_TEXT and text.isascii() else utf8(text)
        self.out.append(count_frame(b"s", len(content)))
        self._pieces += (b"".join(self.out), content)
        self.out.clear()

    def pause(self, *_: Any) -> None:
        """What comes next is part of another piece."""
        self._pieces.append(b"".join(self.out))
        self.out.clear()

    def end(self) -> list[Piece]:
        return [*self._pieces, b"".join(self.out)]
