"""
Bytes as a list of edits on a well-formed value: how a fuzzer reaches the code behind the first shape check.

Three bytes are an edit: which node of the value, what happens to it, and which odd value is used. A fuzzer that sees
coverage learns which bytes lead further; one that does not still draws small changes of something real.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MOST_EDITS = 12


@dataclass(frozen=True)
class Nested:
    """A list in a list and so on; made where it is used, since Python cannot copy the deep ones."""

    depth: int

    def made(self) -> Any:
        value: Any = 0
        for _ in range(self.depth):
            value = [value]
        return value


ODD_JSON: tuple[Any, ...] = (
    None, True, False, 0, -0.0, 1, -1, 0.5, 2**53 + 1, 2**63, 10**400, 1e308, float("nan"), float("inf"), float("-inf"),
    "", " ", "a", "\ud83d", "\0", "caf\u00e9", "s3://b/temp/1", " ARN:aws:s3:::b", "<<CACHEPOINT>>", "max_tokens", "end_turn",
    "user", "assistant", "unclassified", "{", "[" * 200, '```json\n{"a": 1}\n```', 'so: {"a": [1]} .', '{"a": 1} {', "1" * 5_000,
    "[" * 100_000, [], {}, [[]], [{}], {"": ""}, {"bytes": "aGk="}, {"text": "a"}, {"image": {}}, {"text": "a", "image": {}},
    {"image": {"source": {"s3Location": {"uri": "s3://b/1"}}}}, {"s3Location": {"uri": "s3://b/2", "page": 1}},
    {"uri": 1}, {1: "a", "b": 2}, {None: 1}, Nested(63), Nested(64), Nested(3_000), ("a", 1), b"bytes", object, {"a"},
)  # fmt: skip
"""What a parsed event, reply or wish may hold, and some things that no JSON parser makes."""


class Edits:
    """Reads decisions from the fuzzer's bytes; past their end every decision is 0."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)
        self.left = len(data)

    def below(self, count: int) -> int:
        self.left = max(0, self.left - 1)
        return next(self._data, 0) % count

    def choice(self, options: Sequence[Any]) -> Any:
        return options[self.below(len(options))]

    def applied(self, seed: Any, odd: Sequence[Any] = ODD_JSON) -> Any:
        """A copy of `seed`, a container, after the edits that the bytes left say."""
        value = copy.deepcopy(seed)
        for _ in range(MOST_EDITS):
            if not self.left:
                break
            places = list(_places(value))
            if not places:
                break
            self._edit(places, odd)
        return value

    def _edit(self, places: list[tuple[Any, Any]], odd: Sequence[Any]) -> None:
        holder, at = self.choice(places)
        match self.below(5):
            case 0 | 1:
                holder[at] = _fresh(self.choice(odd))
            case 2:
                del holder[at]
            case 3:
                other, there = self.choice(places)
                holder[at] = _fresh(other[there])
            case _ if isinstance(holder, dict):
                holder[self.choice(("a", "", "text", "image", "usage", "\ud83d", "s3://b/1", "pages"))] = holder.pop(at)
            case _:
                holder.insert(at, _fresh(self.choice(odd)))


def _fresh(value: Any) -> Any:
    if isinstance(value, Nested):
        return value.made()
    try:
        return copy.deepcopy(value)
    except RecursionError:
        return None


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, index or name) in a value, those of containers in it included; not deeper than it is worth."""
    pending = [value]
    for container in pending:
        if len(pending) > 300:
            return
        members = list(container.items()) if isinstance(container, dict) else list(enumerate(container))
        for at, inner in members:
            yield container, at
            if isinstance(inner, dict | list):
                pending.append(inner)
