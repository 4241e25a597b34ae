"""
The trace: keyed digests of each component of a request, so that two receipts can say what changed, without content (P58).

Digests are made under a secret of their own: whoever reads the log can tell that two texts differ, and can confirm no guess.
Two requests have equal components exactly if they have one key; no component tells how long anything is.

Each text has three shapes beside its digest, digests too, of the text with something made alike: two texts that differ
and share one are known to differ in that alone.

    spacing    white space, line ends, Unicode form and invisible characters made alike
    values     only its words, and those with digits, the names of months and days, and hex digits made alike
    order      only its words, sorted
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

from hookcache.canonical import CACHE_POINT, image_form, value_form
from hookcache.errors import Unkeyable
from hookcache.frames import utf8
from hookcache.hints import Any
from hookcache.images import ImageDigest
from hookcache.key import Keyer
from hookcache.request import HookRequest

SHAPED_CHARS = 256 * 1024
"""Texts of a request have shapes up to so many characters together; those beyond have none."""

COMPOSED_CHARS = 500
"""Words up to here are brought into one Unicode form."""

MOST_NUMBERS = 50
"""Unknown members of `inferenceConfig` that have a digest each."""

SHAPES = ("spacing", "values", "order")
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
"""Characters that show nothing: soft hyphen, zero widths, marks of direction, byte order mark."""
_MONTHS = "january february march april june july august september october november december"
_DAYS = "monday tuesday wednesday thursday friday saturday sunday"
_SHORT = "jan feb mar apr may jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun am pm"
_TIME_WORDS = frozenset(f"{_MONTHS} {_DAYS} {_SHORT}".split())
_HEX = frozenset("abcdefABCDEF")
_DIGIT = re.compile(r"\d")
_WORD = re.compile(r"\w+")
_KNOWN_TOP = frozenset({"messages", "system", "inferenceConfig", "context", "modelId"})
_KNOWN_NUMBERS = frozenset({"temperature", "topP", "topK", "maxTokens"})
_KNOWN_BLOCK = frozenset({"text", "image"})


def components(
    keyer: Keyer,
    request: HookRequest,
    digests: Sequence[ImageDigest] | None,
    identity: bytes,
    generation: str,
    rollout: str = "",
) -> dict[str, Any]:
    """
    The components of a request as short digests, 16 hexadecimal letters each.

    `blocks` is their kinds in order (`t` text, `i` image), `system`, `texts` and `images` their contents; `numbers` go by
    name; `unknown` covers all other members together. `shapes` has a list of three per text, empty where it was too long.

    Args:
        digests: one per `request.images`; None where the images were not read, and `images` is then left out.

    Raises:
        Unkeyable: as `canonical_form`, for the same requests.
    """
    event = request.event
    content: list[Mapping[str, Any]] = event["messages"][0]["content"]
    texts = [block["text"] for block in content if "text" in block]
    system = [_frame(block, "text") for block in event["system"]]
    shapes = _Shapes(keyer)

    def shown(component: str, value: bytes) -> str:
        return keyer.traced(component, value)

    told: dict[str, Any] = {
        "blocks": "".join("i" if "image" in block else "t" for block in content),
        "system": [shown("system", frame) for frame in system],
        "texts": [shown("text", utf8(text)) for text in texts],
        "numbers": _numbers(keyer, event["inferenceConfig"]),
        "context": shown("context", _frame(event, "context")),
        "model": shown("model", _frame(event, "modelId")),
        "identity": shown("identity", identity),
        "generation": shown("generation", utf8(generation)),
        "namespace": shown("namespace", keyer.namespace.encode()),
        "unknown": shown("unknown", b"".join(value_form(part) for part in _unknown(request))),
        "shapes": {
            "system": [shapes.of(block.get("text")) for block in event["system"]],
            "texts": [shapes.of(text) for text in texts],
        },
    }
    if digests is not None:
        told["images"] = _images(keyer, content, digests)
    if rollout:
        told["rollout"] = shown("rollout", utf8(rollout))
    return told


def without_images(keyer: Keyer, request: HookRequest) -> dict[str, Any] | None:
    """The components of a request whose images nobody reads, as of one that is bypassed; None if it has no form."""
    try:
        return components(keyer, request, None, b"", "")
    except Unkeyable:
        return None


def _numbers(keyer: Keyer, numbers: Mapping[str, Any]) -> dict[str, str]:
    """By name; the unknown ones together where they are many, for a line that is too long for a log is lost."""
    known = {name: value for name, value in numbers.items() if name in _KNOWN_NUMBERS}
    rest = {name: value for name, value in numbers.items() if name not in _KNOWN_NUMBERS}
    told = {name: keyer.traced("number", value_form(value)) for name, value in known.items()}
    if len(rest) > MOST_NUMBERS:
        return told | {"*": keyer.traced("number", value_form(rest))}
    return told | {
        keyer.traced("name", utf8(name)): keyer.traced("number", value_form(value)) for name, value in rest.items()
    }


class _Shapes:
    """Makes shapes while there is room: an event of 6 MB must not cost its caller a second."""

    def __init__(self, keyer: Keyer) -> None:
        self._keyer = keyer
        self._left = SHAPED_CHARS

    def of(self, text: object) -> list[str]:
        if not isinstance(text, str) or len(text) > self._left:
            return []
        self._left -= len(text)
        return [self._keyer.traced(name, utf8(form)) for name, form in zip(SHAPES, shape_forms(text), strict=True)]


def shape_forms(text: str) -> tuple[str, str, str]:
    """What the three shapes of a text are digests of."""
    visible = INVISIBLE.sub("", _composed(text.replace(CACHE_POINT, "")))
    spaced = " ".join(visible.split())
    words = _WORD.findall(spaced)
    return spaced, " ".join(_without_values(words)), " ".join(sorted(words))


def _composed(text: str) -> str:
    """A text in Unicode's form C, word by word: to put many marks of one letter in order takes the square of their number."""
    if text.isascii():
        return text
    import unicodedata  # 0.1 MB, and few functions trace

    compose = partial(unicodedata.normalize, "NFC")
    return " ".join([compose(word) if len(word) <= COMPOSED_CHARS else word for word in text.split()])


def _without_values(words: Sequence[str]) -> Iterator[str]:
    """The words, a run of values as one `0`: a time may be written with or without its fraction of a second."""
    valued = False
    for word in words:
        was, valued = valued, is_value(word)
        if not valued:
            yield word
        elif not was:
            yield "0"


def is_value(word: str) -> bool:
    """True for a word that changes with the time or the call: with a digit, of a date, or all of hex digits as in a UUID."""
    if not word.isalpha():
        return _DIGIT.search(word) is not None
    return word.lower() in _TIME_WORDS or (len(word) in {4, 8, 12} and _HEX.issuperset(word))


def _images(keyer: Keyer, content: Sequence[Mapping[str, Any]], digests: Sequence[ImageDigest]) -> list[str]:
    """One per image block, whose other members count as well; then one per object of a reference (P41)."""
    each = iter(digests)
    blocks = [block["image"] for block in content if "image" in block]
    shown = [keyer.traced("image", image_form(image, next(each))) for image in blocks]
    return [*shown, *(keyer.traced("image", digest.sha256) for digest in islice(each, None))]


def _unknown(request: HookRequest) -> list[Any]:
    """Every member that has no component of its own, in a fixed order."""
    event = request.event
    message = event["messages"][0]
    return [
        {name: value for name, value in event.items() if name not in (*_KNOWN_TOP, *request.references)},
        list(request.references),
        {name: value for name, value in message.items() if name != "content"},
        [{name: value for name, value in block.items() if name not in _KNOWN_BLOCK} for block in message["content"]],
        [{name: value for name, value in block.items() if name != "text"} for block in event["system"]],
    ]


def _frame(members: Mapping[str, Any], name: str) -> bytes:
    """Bytes of a member that should be text: absent, empty and another type are three things."""
    if name not in members:
        return b""
    value = members[name]
    return (
        b"s" + utf8(value.replace(CACHE_POINT, "") if name == "text" else value)
        if isinstance(value, str)
        else value_form(value)
    )
