"""
Readers of single settings: from a variable's text, or from a value of JSON, to what it means; `Wrong` says what is wrong.

By hand and not by pydantic, which would take 65 ms of every cold start to read twenty texts once (docs/adr/0012).
Messages never show the value: it may be a secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection

from hookcache.hints import Any

Reader = Callable[[Any], Any]


class Wrong(ValueError):
    """A value that the setting may not have; the message says why and does not show it."""


def text(pattern: str = "", least: int = 0, most: int = 100_000) -> Reader:
    """A text that matches `pattern` to its very end, and is neither too short nor too long."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise Wrong("must be a text")
        if not least <= len(value) <= most:
            raise Wrong(f"must have {least} to {most} letters")
        if pattern and not re.fullmatch(pattern, value):
            raise Wrong(f"must match {pattern}")
        return value

    return read


def whole(least: int, most: int) -> Reader:
    """A whole number of JSON."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong("must be a whole number")
        return int(_bounded(value, least, most))

    return read


def number(least: float, most: float, *, above: bool = False) -> Reader:
    """A number between `least` and `most`; `above`: `least` itself is not allowed."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Wrong("must be a number")
        if isinstance(value, float) and not math.isfinite(value):  # an integer may be longer than any float
            raise Wrong("must be a number")
        if above and value == least:
            raise Wrong(f"must be above {least:g}")
        return float(_bounded(value, least, most))

    return read


def spelt(reader: Reader) -> Reader:
    """A number in the digits of a text, with spaces around it or not; `60.0` is a whole one."""

    def read(value: str) -> Any:
        digits = value.strip()
        if re.fullmatch(r"[+-]?[0-9]{1,20}(?:\.0*)?", digits):
            return reader(int(digits.partition(".")[0]))
        if re.fullmatch(r"[+-]?[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]{1,3})?", digits):
            return reader(float(digits))
        raise Wrong("must be a number")

    return read


def one_of(words: Collection[str], make: Callable[[str], Any] = str) -> Reader:
    """One of a few words, as `make` makes of it."""

    def read(value: Any) -> Any:
        if not isinstance(value, str) or value not in words:
            raise Wrong(f"must be one of {', '.join(words)}")
        return make(value)

    return read


def flag(value: Any) -> bool:
    """True or false, as JSON spells them."""
    if not isinstance(value, bool):
        raise Wrong("must be true or false")
    return value


def texts(make: Callable[[list[str]], Any], most: int | None = None, pattern: str = "") -> Reader:
    """A list of texts, at most so many, each of which matches `pattern` to its very end."""

    def read(value: Any) -> Any:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise Wrong("must be a list of texts")
        if most is not None and len(value) > most:
            raise Wrong(f"must list {most} texts at most")
        if pattern and not all(re.fullmatch(pattern, each) for each in value):
            raise Wrong(f"each text must match {pattern}")
        return make(value)

    return read


def _bounded(value: float, least: float, most: float) -> float:
    if not least <= value <= most:
        raise Wrong(f"must be from {least:.15g} to {most:.15g}")
    return value
