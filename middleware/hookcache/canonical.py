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

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from itertools import combinations, islice

from hookcache.errors import Unkeyable
from hookcache.frames import (
    APART,
    REFERENCE,
    WORD,
    Form,
    Piece,
    count_frame,
    joined,
    number_frame,
    plain_frame,
    plain_word_frame,
    sorted_names,
    utf8,
    word_frame,
)
from hookcache.hints import TYPE_CHECKING, Any
from hookcache.outcome import Reason
from hookcache.references import PAGE_FILES

if TYPE_CHECKING:
    from hookcache.images import ImageDigest
    from hookcache.request import HookRequest

SCHEMA = 1
"""Version of the canonical form and of the entries made under it. Another version never hits (P43)."""

MAX_DEPTH = 64
CACHE_POINT = "<<CACHEPOINT>>"

_DIGESTED = frozenset({"uri", "bucketOwner"})

Writer = Callable[[Form, Any, int], None]


def canonical_form(request: HookRequest, digests: Sequence[ImageDigest]) -> bytes:
    """What `canonical_pieces` gives, in one piece."""
    return joined(canonical_pieces(request, digests))


def canonical_pieces(request: HookRequest, digests: Sequence[ImageDigest]) -> list[Piece]:
    """
    The canonical form of `request` in pieces, for whoever digests it.

    Args:
        request: a parsed event.
        digests: one per `request.images`, in the same order.

    Raises:
        Unkeyable: `number` (NaN, infinity, longer than 1,024 bits), `event_size` (deeper than 64 levels), `event_shape`
            (something that is not JSON), `reference` (P41).

    Promises: P2, P3, P4, P43.
    """
    form = Form(digests)
    if request.references:  # these members count by the objects they name: one list of digests each (P41)
        behind = islice(digests, len(digests) - len(PAGE_FILES) * len(request.references), None)
        resolved = {name: _objects([next(behind) for _ in PAGE_FILES]) for name in request.references}
        _Place({**_KNOWN, **resolved})(form, request.event, 0)
    elif not _host_event(form, request.event):
        _EVENT(form, request.event, 0)
    return form.end()


def value_form(value: Any) -> bytes:
    """The canonical bytes of one JSON value by itself, for the trace. Raises `Unkeyable` as `canonical_form` does."""
    form = Form(())
    _value(form, value, 0)
    return joined(form.end())


def image_form(image: Any, digest: ImageDigest) -> bytes:
    """The canonical bytes of one `image` member by itself, for the trace. Raises `Unkeyable` as `canonical_form` does."""
    form = Form((digest,))
    _IMAGE_BLOCK(form, {"image": image}, 0)
    return joined(form.end())


def _objects(objects: Sequence[ImageDigest]) -> Writer:
    def write(form: Form, _value: Any, _depth: int) -> None:
        form.out.append(count_frame(b"l", len(objects)))
        form.out.extend([_image_frame(digest) for digest in objects])

    return write


def _image_frame(digest: ImageDigest) -> bytes:
    return count_frame(b"x", digest.size_bytes) + digest.sha256


class _Place:
    """
    How the members of an object are spelt at one place of an event: by a writer of their own where `known` has one. That
    an object stands there, and a list where one belongs, is what `parse` has made sure of.

    `usual` lists names in orders that the host gives them in. What such an object looks like is worked out once; any other
    object is sorted and spelt by the same rules when it comes.
    """

    def __init__(self, known: Mapping[str, Writer], *usual: tuple[str, ...]) -> None:
        self._known = known
        self._steps = {names: self._spelt(names) for names in usual}

    def __call__(self, form: Form, members: Any, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise Unkeyable(Reason.EVENT_SIZE)
        append = form.out.append
        depth += 1
        for frame, name, write in self._steps.get(tuple(members)) or self._spelt(members):
            append(frame)
            write(form, members[name], depth)
        if not members:
            append(count_frame(b"o", 0))

    def _spelt(self, members: Collection[Any]) -> list[tuple[bytes, Any, Writer]]:
        """Frame, name and writer of each member in the order of the form; the first frame begins with the object's own."""
        own, known, steps = count_frame(b"o", len(members)), self._known, []
        for name in sorted_names(members):
            steps.append((own + plain_frame(name), name, known.get(name, _value)))
            own = b""
        return steps


def _list(form: Form, items: Sequence[Any], depth: int, item: Writer) -> None:
    if depth >= MAX_DEPTH:
        raise Unkeyable(Reason.EVENT_SIZE)
    form.out.append(count_frame(b"l", len(items)))
    for each in items:
        item(form, each, depth + 1)


def _list_of(item: Writer) -> Writer:
    return lambda form, items, depth: _list(form, items, depth, item)


def _block(form: Form, block: Any, depth: int) -> None:
    (_IMAGE_BLOCK if "image" in block else _TEXT_BLOCK)(form, block, depth)


def _location(form: Form, location: Any, depth: int) -> None:
    """An image's bytes stand for its place; a member we do not know may select part of it, then the place counts too."""
    form.out.append(_image_frame(next(form.images)))
    plain = location.keys() <= _DIGESTED
    _LOCATION(form, {} if plain else location, depth)


def _system_text(form: Form, text: Any, depth: int) -> None:
    _text(form, text.replace(CACHE_POINT, "") if isinstance(text, str) else text, depth)


def _text(form: Form, text: Any, depth: int) -> None:
    if not isinstance(text, str):
        _value(form, text, depth)
    elif len(text) <= WORD:
        form.out.append(word_frame(text))
    elif len(text) >= APART:
        form.apart(text)
    else:
        encoded = utf8(text)
        form.out += (count_frame(b"s", len(encoded)), encoded)


def _value(form: Form, value: Any, depth: int) -> None:
    match value:
        case str() if len(value) <= WORD:
            form.out.append(plain_word_frame(value))
        case str():
            if REFERENCE.match(value):
                raise Unkeyable(Reason.REFERENCE)
            _text(form, value, depth)
        case None:
            form.out.append(b"n")
        case bool():
            form.out.append(b"t" if value else b"f")
        case int() | float():
            form.out.append(number_frame(value))
        case Mapping():
            _ANYWHERE(form, value, depth)
        case list() | tuple():
            _list(form, value, depth, _value)
        case _:
            raise Unkeyable(Reason.EVENT_SHAPE)


def _host_event(form: Form, event: Any) -> bool:
    """Spell an event with the host's members, in the host's order and of the host's kinds; False, and nothing, for others."""
    message, numbers = event["messages"][0], event["inferenceConfig"]
    names = tuple(numbers)
    if tuple(event) != _NAMES or tuple(message) != _MESSAGE_NAMES or names not in _NUMBER_NAMES:
        return False
    model, role, context, values = event["modelId"], message["role"], event["context"], numbers.values()
    if type(model) is not str or type(role) is not str or not _NUMBER_TYPES.issuperset(map(type, values)):
        return False
    if len(model) + len(role) + len(context) > WORD:
        return False  # longer texts are never remembered
    before, between = _around_blocks(model, role, context, names, *values)
    form.out.append(before)
    _blocks(form, message["content"], 3, _block, "")
    form.out.append(between)
    _blocks(form, event["system"], 1, _SYSTEM, CACHE_POINT)  # of the host's names the last: nothing stands behind it
    return True


def _blocks(form: Form, blocks: Sequence[Any], depth: int, other: Writer, left_out: str) -> None:
    """As `_list(form, blocks, depth, other)`, in which a block of nothing but a text, as most are, is spelt at once."""
    form.out.append(count_frame(b"l", len(blocks)))
    for block in blocks:
        text = block.get("text")
        if type(text) is not str or len(block) != 1:
            other(form, block, depth + 1)
            continue
        form.out.append(_TEXT_ALONE)
        _text(form, text.replace(left_out, ""), depth)


@lru_cache(maxsize=128, typed=True)  # true equals 1, and is another request
def _around_blocks(model: str, role: str, context: str, names: tuple[str, ...], *values: float) -> list[bytes]:
    """What stands before and between the two lists of blocks of the host's event: the same for most requests."""
    form, numbers = Form(()), dict(zip(names, values, strict=True))
    members = (model, [{"role": role, "content": ()}], (), numbers, context)
    _PAUSING_EVENT(form, dict(zip(_NAMES, members, strict=True)), 0)
    return [joined([piece]) for piece in form.end()[:2]]


_NAMES = ("modelId", "messages", "system", "inferenceConfig", "context")
_MESSAGE_NAMES = ("role", "content")
_MORE_NUMBERS = [names for count in range(4) for names in combinations(("topP", "topK", "maxTokens"), count)]
_NUMBER_NAMES = frozenset([("temperature", *names) for names in _MORE_NUMBERS])
_NUMBER_TYPES = frozenset({int, float, bool})

_ANYWHERE = _Place({})
_LOCATION = _Place({"uri": _text})
_SOURCE = _Place({"s3Location": _location}, ("s3Location",))
_IMAGE_BLOCK = _Place({"image": _Place({"source": _SOURCE}, ("format", "source"))}, ("image",))
_TEXT_BLOCK = _Place({"text": _text}, ("text",))
_SYSTEM = _Place({"text": _system_text}, ("text",))
_TEXT_ALONE = count_frame(b"o", 1) + plain_frame("text")
_KNOWN: Mapping[str, Writer] = {
    "messages": _list_of(_Place({"content": _list_of(_block)}, _MESSAGE_NAMES)),
    "system": _list_of(_SYSTEM),
    "inferenceConfig": _Place({}, *_NUMBER_NAMES),
    "context": _text,
    "modelId": _text,
}
_EVENT = _Place(_KNOWN, _NAMES)
_PAUSES = {"messages": _list_of(_Place({"content": Form.pause}, _MESSAGE_NAMES)), "system": Form.pause}
_PAUSING_EVENT = _Place({**_KNOWN, **_PAUSES}, _NAMES)
