"""
The canonical form: typed, length-prefixed bytes of a request, equal only for requests that may share an answer (P2).

    value     frame
    null      n
    true      t            false  f
    number    i <len> <two's complement>          whole numbers, however they were spelt (E2)
              d <8 bytes IEEE 754>                the others
    text      s <len> <UTF-8, lone surrogates kept by code point>
    list      l <count> frames
    object    o <count> (name frame, value frame) sorted by name (E1)
    image     x <byte length> <SHA-256>           in place of `uri` and `bucketOwner` of a digested image (E3)
    reference l <count> images                    in place of a member that names resolved objects (P41)

Lengths and counts are 8 bytes, big-endian. Every member of the event is framed, unknown ones included (P3). A frame says
its type and length before its content, so no text can pass for another frame (S9, B16). `<<CACHEPOINT>>` is taken out of
`system` texts only (E4), as the host takes it out of the user's.

Any change of these rules raises `SCHEMA`; tests/unit/golden_keys.json pins them (P43).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hookcache.errors import Unkeyable
from hookcache.outcome import Reason
from hookcache.references import PAGE_FILES

if TYPE_CHECKING:
    from hookcache.images import ImageDigest
    from hookcache.request import HookRequest

SCHEMA = 1
"""Version of the canonical form and of the entries made under it. Another version never hits (P43)."""

MAX_DEPTH = 64
MAX_INTEGER_BITS = 1_024
"""Whole floats reach 2**1024; a longer integer is no number that a model is asked for (B4)."""

CACHE_POINT = "<<CACHEPOINT>>"

# A string that points at content held elsewhere. Outside the image blocks nothing here can read what it points to, so
# neither its content nor its name may stand in a key (P41, S14).
_REFERENCE = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*://|arn:)", re.IGNORECASE)

_DIGESTED = frozenset({"uri", "bucketOwner"})

Writer = Callable[[Any, int], None]


def canonical_form(request: HookRequest, digests: Sequence[ImageDigest]) -> bytes:
    """
    The bytes that stand for `request` in its key.

    Args:
        request: a parsed event.
        digests: one per `request.images`, in the same order.

    Raises:
        Unkeyable: `number` (NaN, infinity, longer than 1,024 bits), `event_size` (deeper than 64 levels), `event_shape`
            (something that is not JSON), `reference` (P41).

    Promises: P2, P3, P4, P43.
    """
    each, blocks = iter(digests), len(digests) - len(PAGE_FILES) * len(request.references)
    form = _Form(iter([next(each) for _ in range(blocks)]))
    form.resolve(request.references, each)
    return form.of(request.event)


def value_form(value: Any) -> bytes:
    """The canonical bytes of one JSON value by itself, for the trace. Raises `Unkeyable` as `canonical_form` does."""
    return _Form(iter(())).of_value(value)


def image_form(image: Any, digest: ImageDigest) -> bytes:
    """The canonical bytes of one `image` member by itself, for the trace. Raises `Unkeyable` as `canonical_form` does."""
    return _Form(iter((digest,))).of_image(image)


class _Form:
    """One walk over one event. `_out` collects frames; images are consumed in order of position."""

    def __init__(self, digests: Iterator[ImageDigest]) -> None:
        self._out: list[bytes] = []
        self._digests = digests
        text, value = self._text, self._value
        self._event: dict[str, Writer] = {
            "messages": self._list_of(self._object_of({"content": self._list_of(self._block)})),
            "system": self._list_of(self._object_of({"text": self._system_text})),
            "context": text,
            "modelId": text,
        }
        self._text_block = self._object_of({"text": text})
        self._image_block = self._object_of({"image": self._object_of({"source": self._source, "format": value})})

    def resolve(self, names: Sequence[str], digests: Iterator[ImageDigest]) -> None:
        """From now on these members of the event count by the objects they name: one list of digests each (P41)."""
        for name in names:
            self._event[name] = self._objects([next(digests) for _ in PAGE_FILES])

    def _objects(self, objects: Sequence[ImageDigest]) -> Writer:
        def write(_value: Any, _depth: int) -> None:
            self._out.append(b"l" + _length(len(objects)))
            for digest in objects:
                self._image(digest)

        return write

    def _image(self, digest: ImageDigest) -> None:
        self._out.append(b"x" + _length(digest.size_bytes) + digest.sha256)

    def of(self, event: Mapping[str, Any]) -> bytes:
        self._object_of(self._event)(event, 0)
        return b"".join(self._out)

    def of_value(self, value: Any) -> bytes:
        self._value(value, 0)
        return b"".join(self._out)

    def of_image(self, image: Any) -> bytes:
        self._image_block({"image": image}, 0)
        return b"".join(self._out)

    def _object_of(self, known: Mapping[str, Writer]) -> Writer:
        def write(members: Any, depth: int) -> None:
            if not isinstance(members, Mapping):
                self._value(members, depth)
                return
            if depth >= MAX_DEPTH:
                raise Unkeyable(Reason.EVENT_SIZE)
            self._out.append(b"o" + _length(len(members)))
            for name in _sorted_names(members):
                if _REFERENCE.match(name):
                    raise Unkeyable(Reason.REFERENCE)
                self._text(name, depth)
                known.get(name, self._value)(members[name], depth + 1)

        return write

    def _list_of(self, item: Writer) -> Writer:
        def write(items: Any, depth: int) -> None:
            if not isinstance(items, list | tuple):
                self._value(items, depth)
                return
            if depth >= MAX_DEPTH:
                raise Unkeyable(Reason.EVENT_SIZE)
            self._out.append(b"l" + _length(len(items)))
            for each in items:
                item(each, depth + 1)

        return write

    def _block(self, block: Any, depth: int) -> None:
        (self._image_block if "image" in block else self._text_block)(block, depth)

    def _source(self, source: Any, depth: int) -> None:
        self._object_of({"s3Location": self._location})(source, depth)

    def _location(self, location: Any, depth: int) -> None:
        """An image's bytes stand for its place; a member we do not know may select part of it, then the place counts too."""
        self._image(next(self._digests))
        plain = location.keys() <= _DIGESTED
        self._object_of({"uri": self._text})({} if plain else location, depth)

    def _system_text(self, text: Any, depth: int) -> None:
        self._text(text.replace(CACHE_POINT, "") if isinstance(text, str) else text, depth)

    def _text(self, text: Any, depth: int) -> None:
        if not isinstance(text, str):
            self._value(text, depth)
            return
        encoded = text.encode("utf-8", "surrogatepass")
        self._out.append(b"s" + _length(len(encoded)))
        self._out.append(encoded)

    def _value(self, value: Any, depth: int) -> None:
        match value:
            case None:
                self._out.append(b"n")
            case bool():
                self._out.append(b"t" if value else b"f")
            case str():
                if _REFERENCE.match(value):
                    raise Unkeyable(Reason.REFERENCE)
                self._text(value, depth)
            case int() | float():
                self._out.append(number_frame(value))
            case Mapping():
                self._object_of({})(value, depth)
            case list() | tuple():
                self._list_of(self._value)(value, depth)
            case _:
                raise Unkeyable(Reason.EVENT_SHAPE)


def number_frame(number: float) -> bytes:
    """
    The frame of a number by its exact value: `0`, `0.0`, `-0.0` and `0e0` are one, 2**53 + 1 and its float are two (E2).

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
    return b"i" + _length(len(encoded)) + encoded


def _sorted_names(members: Mapping[Any, Any]) -> list[str]:
    try:
        names = sorted(members)
    except TypeError:
        raise Unkeyable(Reason.EVENT_SHAPE) from None
    if not all(isinstance(name, str) for name in names):
        raise Unkeyable(Reason.EVENT_SHAPE)
    return names


def _length(count: int) -> bytes:
    return count.to_bytes(8, "big")
