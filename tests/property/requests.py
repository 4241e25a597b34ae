"""
Generated events over tiny alphabets, and an oracle for when two of them are the same request.

`normal` says it in another way than the canonical form does: as nested Python values, equal exactly where E1-E4 allow it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from fakes import image_block
from hookcache.canonical import canonical_form
from hookcache.errors import Unkeyable
from hookcache.images import ImageDigest
from hookcache.request import parse

CACHE_POINT = "<<CACHEPOINT>>"
URIS = ("s3://b/temp/1", "s3://b/temp/2")
"""Both name the same bytes, so that a form may tell them apart by nothing but content."""
DIGEST = ImageDigest(b"\x07" * 32, 7, "", "")

texts = st.sampled_from(
    ["", "a", "b", "ab", "a\0b", "s", CACHE_POINT, f"a{CACHE_POINT}", "\ud83d", "\u00e9", "e\u0301", "0"]
)
numbers = st.sampled_from([0, 0.0, -0.0, 1, 1.0, -1, 0.5, 255, 256, 2**53, 2**53 + 1, float(2**53), 1e300])
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
names = st.sampled_from(["", "a", "b", "ab", "__proto__", "text", "uri"])
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=6,
)
extras = st.dictionaries(names, values, max_size=2)


@st.composite
def blocks(draw: st.DrawFn) -> dict[str, Any]:
    if draw(st.booleans()):
        return {"text": draw(texts)}
    owner = draw(st.sampled_from([None, "123456789012"]))
    return image_block(draw(st.sampled_from(URIS)), draw(st.sampled_from(["jpeg", "png"])), owner)


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    event = {
        "modelId": "LambdaHook",
        "messages": [{"role": "user", "content": draw(st.lists(blocks(), max_size=3))}],
        "system": draw(st.lists(st.builds(lambda text: {"text": text}, texts), max_size=2)),
        "inferenceConfig": draw(st.dictionaries(st.sampled_from(["temperature", "topK"]), scalars, max_size=2)),
        "context": draw(st.sampled_from(["OCR", "Extraction", ""])),
    }
    return event | {name: value for name, value in draw(extras).items() if name not in event}


def form_of(event: Any) -> bytes | None:
    """The canonical form, None where the request is bypassed."""
    try:
        request = parse(event)
        return canonical_form(request, [DIGEST] * len(request.images))
    except Unkeyable:
        return None


# -------------------------------------------------------------------- the oracle


def normal(event: Mapping[str, Any]) -> Any:
    """A hashable value, equal for two well-formed events exactly where they may share an answer."""
    event = copy.deepcopy(dict(event))
    for block in event["system"]:
        if isinstance(block.get("text"), str):
            block["text"] = block["text"].replace(CACHE_POINT, "")  # E4
    for block in event["messages"][0]["content"]:
        location = block.get("image", {}).get("source", {}).get("s3Location")
        if location is not None:
            content = location.keys() <= {"uri", "bucketOwner"}  # E3
            block["image"]["source"]["s3Location"] = {"bytes": True} if content else {"bytes": True, "at": location}
    return _hashable(event)


def _hashable(value: Any) -> Any:
    match value:
        case bool() | None:
            return ("word", repr(value))
        case int() | float():
            return ("number", Fraction(value))  # E2
        case str():
            return ("text", tuple(map(ord, value)))
        case dict():
            return ("object", frozenset((name, _hashable(member)) for name, member in value.items()))  # E1
        case _:
            return ("list", tuple(map(_hashable, value)))


# -------------------------------------------------------------------- mutations


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path in a JSON value, the root's included."""
    yield at
    for step, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from paths(inner, (*at, step))


def at_path(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


REPLACEMENTS: tuple[Any, ...] = (None, True, False, 0, 1, 0.25, "", "x", CACHE_POINT, [], [None], {}, {"x": 0})


def mutants(event: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every event that one change, removal, addition, doubling or swap away from `event`, with the path that was touched."""
    for path in paths(event):
        if path:
            for replacement in REPLACEMENTS:
                yield (
                    path,
                    _edited(event, path[:-1], lambda holder, p=path, r=replacement: holder.__setitem__(p[-1], r)),
                )
            yield path, _edited(event, path[:-1], lambda holder, p=path: holder.pop(p[-1]))
        target = at_path(event, path)
        if isinstance(target, dict):
            yield path, _edited(event, path, lambda holder: holder.__setitem__("novel", 0))
            if target:
                yield path, _edited(event, path, _renamed)
        if isinstance(target, list):
            yield path, _edited(event, path, lambda holder: holder.append({"text": "novel"}))
            if target:
                yield path, _edited(event, path, lambda holder: holder.append(copy.deepcopy(holder[0])))
                yield path, _edited(event, path, lambda holder: holder.reverse())


def _renamed(holder: dict[str, Any]) -> None:
    name = next(iter(holder))
    holder[name + "x"] = holder.pop(name)


def _edited(event: Any, path: tuple[Any, ...], edit: Any) -> Any:
    changed = copy.deepcopy(event)
    edit(at_path(changed, path))
    return changed


def is_volatile(path: tuple[Any, ...]) -> bool:
    """The whole volatile list: `uri` and `bucketOwner` of an image whose bytes were digested."""
    return path[:1] == ("messages",) and path[-2:-1] == ("s3Location",) and path[-1] in {"uri", "bucketOwner"}
