"""
A double of `hookcache.items.Items`: items in a dictionary, under the product's own condition and update expressions.

Expressions are compiled once and then evaluated in microseconds, so that a model checker can visit every state. What it
may be believed in is what the contract suite shows: it passes there beside the real engines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from hookcache.items import Conflict

Item = dict[str, dict[str, Any]]
Values = Mapping[str, Any]
Truth = Callable[[Item, Values], bool]

_TOKEN = re.compile(r"\s*(<>|<=|>=|=|<|>|\(|\)|,|[#:]?\w+)")
_NO_ITEM: Item = {}


class MemoryItems:
    """Items by key and kind. Stored items are never changed in place, so that a state may keep hold of them."""

    def __init__(self) -> None:
        self.stored: dict[tuple[bytes, str], Item] = {}

    def get(self, key: bytes, kind: str, *, consistent: bool = False) -> Item | None:
        return self.stored.get((key, kind))

    def put(self, item: Item, condition: str = "", values: Values | None = None) -> Item | Conflict | None:
        place = item["pk"]["B"], item["kind"]["S"]
        old = self.stored.get(place)
        if condition and not truth_of(condition)(old or _NO_ITEM, values or {}):
            return Conflict(old)
        self.stored[place] = item
        return old

    def update(
        self, key: bytes, kind: str, change: str, condition: str, values: Values, names: Mapping[str, str]
    ) -> Conflict | None:
        done = self.exchange(key, kind, change, condition, values, names)
        return done if isinstance(done, Conflict) else None

    def exchange(
        self, key: bytes, kind: str, change: str, condition: str, values: Values, names: Mapping[str, str]
    ) -> Item | Conflict | None:
        old = self.stored.get((key, kind))
        if condition and not truth_of(condition, tuple(names.items()))(old or _NO_ITEM, values):
            return Conflict(old)
        sets, removes = _changes(change, tuple(names.items()))
        new = dict(old or {"pk": {"B": key}, "kind": {"S": kind}})
        new |= {name: values[value] for name, value in sets}
        for name in removes:
            new.pop(name, None)
        self.stored[key, kind] = new
        return old

    def put_all(self, items: list[Item]) -> None:
        for item in items:
            self.stored[item["pk"]["B"], item["kind"]["S"]] = item


@lru_cache(maxsize=256)
def truth_of(condition: str, names: tuple[tuple[str, str], ...] = ()) -> Truth:
    """A condition expression as a function of the item and the values."""
    aliases = dict(names)
    tokens = [aliases.get(token, token) for token in _TOKEN.findall(condition)]
    parser = _Parser(tokens)
    truth = parser.either()
    if parser.rest():
        raise ValueError(f"not understood: {parser.rest()} in {condition}")
    return truth


@lru_cache(maxsize=256)
def _changes(change: str, names: tuple[tuple[str, str], ...]) -> tuple[list[tuple[str, str]], list[str]]:
    aliases = dict(names)
    sets_text, _, removes_text = change.removeprefix("SET ").partition(" REMOVE ")
    pairs = [part.split("=") for part in sets_text.split(",")]
    sets = [(aliases.get(name.strip(), name.strip()), value.strip()) for name, value in pairs]
    removes = [aliases.get(name.strip(), name.strip()) for name in removes_text.split(",") if name.strip()]
    return sets, removes


class _Parser:
    """Recursive descent: either, both, not, comparison. A comparison with an absent attribute is false."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._place = 0

    def rest(self) -> list[str]:
        return self._tokens[self._place :]

    def either(self) -> Truth:
        parts = [self._both()]
        while self._take("OR"):
            parts.append(self._both())
        return lambda item, values: any(part(item, values) for part in parts)

    def _both(self) -> Truth:
        parts = [self._one()]
        while self._take("AND"):
            parts.append(self._one())
        return lambda item, values: all(part(item, values) for part in parts)

    def _one(self) -> Truth:
        if self._take("NOT"):
            denied = self._one()
            return lambda item, values: not denied(item, values)
        if self._take("("):
            inner = self.either()
            self._expect(")")
            return inner
        name = self._next()
        if name == "attribute_not_exists":
            self._expect("(")
            absent = self._next()
            self._expect(")")
            return lambda item, values: absent not in item
        sign = self._next()
        if sign == "IN":
            return self._among(name)
        value = self._next()
        return lambda item, values: name in item and _compare(sign, item[name], values[value])

    def _among(self, name: str) -> Truth:
        self._expect("(")
        listed = [self._next()]
        while self._take(","):
            listed.append(self._next())
        self._expect(")")
        return lambda item, values: name in item and any(item[name] == values[each] for each in listed)

    def _take(self, token: str) -> bool:
        if self.rest()[:1] == [token]:
            self._place += 1
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise ValueError(f"{token} expected before {self.rest()}")

    def _next(self) -> str:
        self._place += 1
        return self._tokens[self._place - 1]


def _compare(sign: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    ((left_type, a),), ((right_type, b),) = left.items(), right.items()
    if left_type != right_type:
        return sign == "<>"
    if left_type == "N":
        a, b = int(a), int(b)
    match sign:
        case "=":
            return bool(a == b)
        case "<>":
            return bool(a != b)
        case "<":
            return bool(a < b)
        case ">":
            return bool(a > b)
        case _:
            raise ValueError(f"{sign} is not used by the product")
