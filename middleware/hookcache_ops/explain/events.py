"""
Two events compared by what counts in the key: where they differ, and what differs in their spelling without counting.

    counts        every member, every text character by character, every image by its bytes
    does not      member order, spelling of a number (`0`, `0.0`), name and owner of an image, <<CACHEPOINT>> in `system`
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hookcache.canonical import CACHE_POINT, canonical_pieces
from hookcache.errors import Unkeyable
from hookcache.frames import number_frame
from hookcache.images import ImageDigest
from hookcache.policy import Rules, may_look_up
from hookcache.request import parse
from hookcache_ops.explain.pictures import compared
from hookcache_ops.explain.texts import TextDifference, difference_of, shown
from hookcache_ops.output import one_line

READ = Callable[[Mapping[str, Any]], bytes | None]
_MISSING: Any = object()
_SNIPPET = 120
_SYSTEM_TEXT = re.compile(r"system\[\d+\]\.text")
_ANY_IMAGE = ImageDigest(bytes(32), 1, "", "")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `path` is as in JSON, places counted from 0: `messages[0].content[1].text`."""

    path: str
    said: str
    cause: str = ""
    before: str = ""
    after: str = ""
    text: TextDifference | None = None


@dataclass(slots=True)
class Comparison:
    """
    What two events differ in.

    Attributes:
        without_effect: what does not count.
        bypassed: for each event, why the cache is not used for it under the default rules; empty where it is.
        unread: an image could not be read.
    """

    changes: list[Change] = field(default_factory=list)
    without_effect: list[str] = field(default_factory=list)
    bypassed: tuple[str, str] = ("", "")
    unread: bool = False

    @property
    def same_key(self) -> bool:
        return not (self.changes or self.unread or any(self.bypassed))


def compare(one: Mapping[str, Any], other: Mapping[str, Any], read: READ) -> Comparison:
    """
    Args:
        read: the bytes of the image at an `s3Location`, None where they cannot be had.
    """
    comparison = Comparison(bypassed=(_bypass_of(one), _bypass_of(other)))
    comparison.changes.extend(_walk(one, other, "", read, comparison))
    comparison.without_effect[:] = list(dict.fromkeys(comparison.without_effect))
    return comparison


def _bypass_of(event: Mapping[str, Any]) -> str:
    try:
        request = parse(event)
        canonical_pieces(request, [_ANY_IMAGE] * len(request.images))
    except Unkeyable as unkeyable:
        return unkeyable.reason.value
    decision = may_look_up(request, Rules())
    return decision.reason.value if decision is not None else ""


def _walk(one: Any, other: Any, path: str, read: READ, so_far: Comparison) -> Iterator[Change]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if path.endswith(".s3Location"):
            yield from _image(one, other, path, read, so_far)
            if one.keys() | other.keys() <= {"uri", "bucketOwner"}:  # with any other member the place counts as well
                return
        if list(one) != list(other) and set(one) == set(other):
            so_far.without_effect.append("the order of members")
        for name in sorted({*one, *other}):
            below = f"{path}.{one_line(name)}" if path else one_line(name)
            yield from _walk(one.get(name, _MISSING), other.get(name, _MISSING), below, read, so_far)
    elif isinstance(one, list) and isinstance(other, list):
        for at in range(max(len(one), len(other))):
            mine, theirs = (each[at] if at < len(each) else _MISSING for each in (one, other))
            yield from _walk(mine, theirs, f"{path}[{at}]", read, so_far)
    else:
        yield from _leaf(one, other, path, so_far)


def _leaf(one: Any, other: Any, path: str, so_far: Comparison) -> Iterator[Change]:
    if one is _MISSING or other is _MISSING:
        said = "only the second has it" if one is _MISSING else "only the first has it"
        yield Change(path, said, _absence(path), _told(one), _told(other))
    elif isinstance(one, str) and isinstance(other, str):
        yield from _text(one, other, path, so_far)
    elif _is_number(one) and _is_number(other):
        if _frame(one) != _frame(other):
            yield Change(path, "another number", "numbers", _told(one), _told(other))
        elif json.dumps(one) != json.dumps(other):
            so_far.without_effect.append(f"how a number is written ({json.dumps(one)} and {json.dumps(other)})")
    elif type(one) is not type(other):
        said = f"{_kind(one)} against {_kind(other)}: two things in the key"
        yield Change(path, said, "numbers", _told(one), _told(other))
    elif one != other:
        yield Change(path, "another value", "", _told(one), _told(other))


def _text(one: str, other: str, path: str, so_far: Comparison) -> Iterator[Change]:
    if _SYSTEM_TEXT.fullmatch(path):
        plain = one.replace(CACHE_POINT, ""), other.replace(CACHE_POINT, "")
        if one != other and plain[0] == plain[1]:
            so_far.without_effect.append(f"{CACHE_POINT} in system")
        one, other = plain
    if one != other:
        text = difference_of(one, other)
        yield Change(path, text.said, text.cause, text.before, text.after, text)


def _image(
    one: Mapping[str, Any], other: Mapping[str, Any], path: str, read: READ, so_far: Comparison
) -> Iterator[Change]:
    if one == other:
        return
    bodies = read(one), read(other)
    if bodies[0] is None or bodies[1] is None:
        so_far.unread = True
    elif bodies[0] == bodies[1]:
        so_far.without_effect.append("names and owners of images (their bytes are the same)")
    else:
        cause, said = compared(bodies[0], bodies[1])
        yield Change(path.removesuffix(".source.s3Location"), f"image: {said}", cause)


def _absence(path: str) -> str:
    if path == "inferenceConfig.temperature":
        return "temperature_omitted"
    return "numbers" if path.startswith("inferenceConfig.") else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _frame(value: float) -> bytes:
    try:
        return number_frame(value)
    except Unkeyable:
        return repr(value).encode()


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")


def _told(value: Any) -> str:
    if value is _MISSING:
        return "absent"
    text = shown(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _SNIPPET else f"{text[:_SNIPPET]}…"
