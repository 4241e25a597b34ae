"""
The trace of a receipt as comparable parts, and what differs between two of them.

    settings   identity, generation, namespace, rollout, model, context, unknown members
    numbers    by name
    system     each block          texts   each block          images   each image, where they were read
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SETTINGS = ("identity", "generation", "namespace", "rollout", "model", "context", "unknown")
SHAPES = ("spacing", "values", "order")
Shapes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """The components of one request as numbers of 64 bits. `shapes` of a text is empty where it was too long for any."""

    settings: tuple[int, ...]
    numbers: tuple[tuple[str, int], ...]
    blocks: str
    system: tuple[int, ...]
    texts: tuple[int, ...]
    images: tuple[int, ...]
    system_shapes: tuple[Shapes, ...]
    text_shapes: tuple[Shapes, ...]
    images_read: bool

    @classmethod
    def of(cls, components: object) -> Trace | None:
        """None where there is no trace, or one that this version cannot read."""
        if not isinstance(components, Mapping) or not components:
            return None
        try:
            shapes = components.get("shapes") or {}
            return cls(
                tuple(_digest(components.get(name, "")) for name in SETTINGS),
                tuple(sorted((str(name), _digest(value)) for name, value in components["numbers"].items())),
                str(components["blocks"]),
                _digests(components["system"]),
                _digests(components["texts"]),
                _digests(components.get("images", ())),
                tuple(_digests(each) for each in shapes.get("system", ())),
                tuple(_digests(each) for each in shapes.get("texts", ())),
                "images" in components,
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def shapes_of(self, kind: str, at: int) -> Shapes:
        shapes = self.system_shapes if kind == "system" else self.text_shapes
        return shapes[at] if at < len(shapes) else ()


@dataclass(frozen=True, slots=True)
class Difference:
    """
    One component that differs. `kind` is one of SETTINGS, or `numbers`, `system`, `text`, `image`, `blocks`.

    `at` counts from 1, 0 where the kind has no places; `how` is the shape that both texts share, the number's name with
    what became of it, or empty.
    """

    kind: str
    at: int = 0
    how: str = ""


def differences(one: Trace, other: Trace) -> list[Difference]:
    """What differs between two requests, in the order of the trace; empty if they share one key."""
    bypassed = not (one.images_read and other.images_read)
    found = [
        Difference(name)
        for name, mine, theirs in zip(SETTINGS, one.settings, other.settings, strict=True)
        if mine != theirs and not (bypassed and name in {"identity", "generation"})
    ]
    if one.numbers != other.numbers:
        found.append(Difference("numbers", how=changed_numbers(one.numbers, other.numbers)))
    if one.blocks != other.blocks:
        found.append(Difference("blocks"))
    for kind, mine, theirs in (("system", one.system, other.system), ("text", one.texts, other.texts)):
        for at in range(max(len(mine), len(theirs))):
            if mine[at : at + 1] != theirs[at : at + 1]:
                how = shared_shape(one.shapes_of(kind, at), other.shapes_of(kind, at))
                found.append(Difference(kind, at + 1, how))
    if not bypassed:
        places = range(max(len(one.images), len(other.images)))
        found += [Difference("image", at + 1) for at in places if one.images[at : at + 1] != other.images[at : at + 1]]
    return found


HOW = {
    "spacing": "only white space or invisible characters differ",
    "punctuation": "the same words with other punctuation",
    "values": "only numbers, dates or ids differ",
    "order": "the same words in another order",
}
"""What `shared_shape` finds, in words."""


def shared_shape(one: Shapes, other: Shapes) -> str:
    """
    In what two texts with these shapes differ alone: `spacing`, `punctuation`, `values`, `order`; empty if in more.

    Two texts equal but for their punctuation share the shapes of values and of order, and no others do.
    """
    if len(one) != len(SHAPES) or len(other) != len(SHAPES):
        return ""
    spacing, values, order = (mine == theirs for mine, theirs in zip(one, other, strict=True))
    if spacing:
        return "spacing"
    if values and order:
        return "punctuation"
    return "values" if values else "order" if order else ""


def changed_numbers(one: tuple[tuple[str, int], ...], other: tuple[tuple[str, int], ...]) -> str:
    """Which numbers changed, and whether one is there only at times: `maxTokens (at times absent)`."""
    mine, theirs = dict(one), dict(other)
    names = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    known = {"temperature", "topP", "topK", "maxTokens"}
    told = (
        f"{name if name in known else 'another number'}{' (at times absent)' if name not in mine or name not in theirs else ''}"
        for name in names
    )
    return ", ".join(told)


def _digest(text: object) -> int:
    return int(str(text), 16) if text else 0


def _digests(texts: object) -> tuple[int, ...]:
    return tuple(_digest(text) for text in texts)  # type: ignore[attr-defined]
