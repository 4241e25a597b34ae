"""Bounded stores of a long log: the most recent entries, a fair sample, and a count of different values."""

from __future__ import annotations

import random
from typing import Generic, TypeVar

Value = TypeVar("Value")

DISTINCT = 2_048
_SCRAMBLE = 0x9E3779B97F4A7C15
_ALL = (1 << 64) - 1


class Recent(Generic[Value]):
    """
    The entries put last, between `entries` / 2 and `entries` of them.

    Two generations: when the younger is full, it becomes the elder one and the elder is forgotten.
    """

    def __init__(self, entries: int) -> None:
        self._half = max(1, entries // 2)
        self._young: dict[int, Value] = {}
        self._old: dict[int, Value] = {}
        self.forgot = False

    def get(self, key: int) -> Value | None:
        found = self._young.get(key)
        return found if found is not None else self._old.get(key)

    def put(self, key: int, value: Value) -> None:
        self._young[key] = value
        if len(self._young) >= self._half:
            self.forgot = self.forgot or bool(self._old)
            self._old, self._young = self._young, {}


class Sample(Generic[Value]):
    """Up to `size` of all values added, each as likely as any other; the same for the same log."""

    def __init__(self, size: int = 500) -> None:
        self._size = size
        self._seen = 0
        self._chance = random.Random(7)
        self.values: list[Value] = []

    def add(self, value: Value) -> None:
        self._seen += 1
        if len(self.values) < self._size:
            self.values.append(value)
        elif (place := self._chance.randrange(self._seen)) < self._size:
            self.values[place] = value

    def merge(self, other: Sample[Value]) -> None:
        for value in other.values:
            self.add(value)


class Distinct:
    """How many different values were added: exact up to `DISTINCT`, then within about 3 % (the smallest hashes are kept)."""

    def __init__(self) -> None:
        self._kept: set[int] = set()
        self._below = _ALL + 1

    def add(self, value: int) -> None:
        mixed = (value * _SCRAMBLE ^ (value >> 29)) & _ALL
        if mixed < self._below:
            self._kept.add(mixed)
            if len(self._kept) > 2 * DISTINCT:
                self._shrink()

    def merge(self, other: Distinct) -> None:
        self._below = min(self._below, other._below)
        self._kept = {mixed for mixed in self._kept | other._kept if mixed < self._below}

    def __len__(self) -> int:
        return round(len(self._kept) * (_ALL + 1) / self._below)

    def _shrink(self) -> None:
        kept = sorted(self._kept)[:DISTINCT]
        self._below = kept[-1] + 1
        self._kept = set(kept)
