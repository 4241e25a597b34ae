"""
CloudWatch's metric math, the part that dashboards use: parsed here, evaluated here and, from the same tree, in the page.

    expression   comparison with AND, OR, && and ||     m1 > 0 AND m2 > 0
    arithmetic   + - * / ^, unary minus, parentheses    100 * (m1 + m2) / m3
    functions    SUM AVG MIN MAX over a list or a series, FILL IF RATE PERIOD RUNNING_SUM ABS CEIL FLOOR, METRICS()

A tree is JSON: a number, {"ref": id}, {"op": sign, "args": [...]}, {"call": NAME, "args": [...]}, {"list": [...]}. A series
holds one number or None for each bucket. Where either side has no value, or a divisor is 0, there is no value.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Series = list[float | None]
Value = float | Series | list[Series]

_TOKEN = re.compile(
    r"\s*(?:(\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+)|([A-Za-z][A-Za-z0-9_]*)|(&&|\|\||[<>=!]=|[-+*/^()<>,\[\]]))"
)
_LEVELS = (("OR", "||"), ("AND", "&&"), ("<", ">", "<=", ">=", "==", "!="), ("+", "-"), ("*", "/"), ("^",))
_SAME = {"||": "OR", "&&": "AND"}
_ARITY = {
    **dict.fromkeys(("SUM", "AVG", "MIN", "MAX", "RATE", "PERIOD", "RUNNING_SUM", "ABS", "CEIL", "FLOOR"), (1, 1)),
    "FILL": (2, 2),
    "IF": (2, 3),
    "METRICS": (0, 1),
}


class MathError(ValueError):
    """An expression that CloudWatch would refuse, or that lies outside the part understood here."""


def parse(text: str) -> Any:
    """
    The tree of an expression.

    Raises:
        MathError: not understood; the message says where.
    """
    tokens = list(_tokens(text))
    tree, rest = _binary(tokens, 0)
    if rest:
        raise MathError(f"{rest[0]!r} is out of place in {text!r}")
    return tree


def references(tree: Any) -> set[str]:
    """The ids that a tree reads."""
    if not isinstance(tree, dict):
        return set()
    if "ref" in tree:
        return {tree["ref"]}
    parts = tree["args"] if "args" in tree else tree["list"]
    return {ref for part in parts for ref in references(part)}


def _tokens(text: str) -> Iterator[str]:
    at, end = 0, len(text.rstrip())
    if not end:
        raise MathError("the expression is empty")
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise MathError(f"cannot read {text[at:].strip()[:20]!r} in {text!r}")
        yield match[0].strip()
        at = match.end()


def _binary(tokens: list[str], level: int) -> tuple[Any, list[str]]:
    if level == len(_LEVELS):
        return _unary(tokens)
    left, rest = _binary(tokens, level + 1)
    while rest and rest[0].upper() in _LEVELS[level]:
        sign = _SAME.get(rest[0], rest[0].upper())
        right, rest = _binary(rest[1:], level + 1)
        left = {"op": sign, "args": [left, right]}
    return left, rest


def _unary(tokens: list[str]) -> tuple[Any, list[str]]:
    if not tokens:
        raise MathError("the expression ends too early")
    first, rest = tokens[0], tokens[1:]
    if first == "-":
        part, rest = _unary(rest)
        return {"op": "-", "args": [0, part]}, rest
    if first == "(":
        tree, rest = _binary(rest, 0)
        return tree, _expect(")", rest)
    if first == "[":
        parts, rest = _several(rest, "]")
        return {"list": parts}, rest
    if first[0].isdigit() or first[0] == ".":
        return float(first), rest
    if rest and rest[0] == "(":
        return _call(first, rest[1:])
    if not (first[0].isalpha() and first[0].islower()):
        raise MathError(f"{first!r} is no id of a metric: ids begin with a small letter")
    return {"ref": first}, rest


def _call(name: str, tokens: list[str]) -> tuple[Any, list[str]]:
    if name not in _ARITY:
        raise MathError(f"the function {name} is not known here")
    parts, rest = _several(tokens, ")")
    low, high = _ARITY[name]
    if not low <= len(parts) <= high:
        raise MathError(f"{name} takes {low if low == high else f'{low} to {high}'} arguments, not {len(parts)}")
    return {"call": name, "args": parts}, rest


def _several(tokens: list[str], end: str) -> tuple[list[Any], list[str]]:
    parts: list[Any] = []
    if tokens and tokens[0] == end:
        return parts, tokens[1:]
    while True:
        tree, tokens = _binary(tokens, 0)
        parts.append(tree)
        if tokens and tokens[0] == ",":
            tokens = tokens[1:]
            continue
        return parts, _expect(end, tokens)


def _expect(token: str, tokens: list[str]) -> list[str]:
    if not tokens or tokens[0] != token:
        raise MathError(f"{token!r} is missing")
    return tokens[1:]


# Evaluation; page.js does the same in the browser, and a test holds the two together ---------------------------------


def evaluate(tree: Any, known: Mapping[str, Series], period: float) -> Value:
    """The value of a tree over series of equal length; `period` is the width of a bucket in seconds."""
    if isinstance(tree, int | float):
        return float(tree)
    if "ref" in tree:
        return known[tree["ref"]]
    if "op" in tree:
        left, right = (evaluate(part, known, period) for part in tree["args"])
        return _each(_OPERATORS[tree["op"]], left, right)
    if "list" in tree:
        return [_as_series(evaluate(part, known, period), known) for part in tree["list"]]
    return _apply(tree["call"], tree["args"], known, period)


def _apply(name: str, parts: list[Any], known: Mapping[str, Series], period: float) -> Value:
    if name == "PERIOD":
        return period
    if name == "METRICS":
        return list(known.values())
    values = [evaluate(part, known, period) for part in parts]
    if name in _FOLDS:
        return _fold(_FOLDS[name], values[0])
    if name == "FILL":
        return _fill(_as_series(values[0], known), values[1])
    if name == "IF":
        yes, no = _as_series(values[1], known), _as_series(values[2] if len(values) == 3 else math.nan, known)
        return [
            None if t is None else (a if t else b)
            for t, a, b in zip(_as_series(values[0], known), yes, no, strict=True)
        ]
    series = _as_series(values[0], known)
    if name == "RATE":
        return [None, *(None if a is None or b is None else (b - a) / period for a, b in itertools.pairwise(series))]
    if name == "RUNNING_SUM":
        return _running(series)
    return _each(lambda value, _zero: _ROUND[name](value), values[0], 0.0)


def _each(step: Callable[[float, float], float | None], left: Value, right: Value) -> float | Series:
    if isinstance(left, list) or isinstance(right, list):
        length = len(left) if isinstance(left, list) else len(right)  # type: ignore[arg-type]
        pairs = zip(_stretched(left, length), _stretched(right, length), strict=True)
        return [None if a is None or b is None else step(a, b) for a, b in pairs]
    found = step(left, right)
    return math.nan if found is None else found


def _stretched(value: Value, length: int) -> Sequence[float | None]:
    if not isinstance(value, list):
        return [value] * length
    if value and isinstance(value[0], list):
        raise MathError("a list of series stands where one series is needed: wrap it in SUM, AVG, MIN or MAX")
    return value  # type: ignore[return-value]


def _fold(fold: Callable[[list[float]], float], value: Value) -> float | Series:
    """Over a list: bucket by bucket, of the values present. Over one series: one number."""
    if isinstance(value, float):
        return value
    if value and isinstance(value[0], list):
        columns = ([v for v in column if v is not None] for column in zip(*value, strict=True))
        return [fold(column) if column else None for column in columns]
    present = [v for v in value if isinstance(v, float | int)]
    return float(fold(present)) if present else math.nan


def _fill(series: Series, filler: Value) -> Series:
    fillers = _stretched(filler, len(series))
    return [fillers[at] if value is None else value for at, value in enumerate(series)]


def _running(series: Series) -> Series:
    total = 0.0
    found: Series = []
    for value in series:
        total += value or 0.0
        found.append(total)
    return found


def _as_series(value: Value, known: Mapping[str, Series]) -> Series:
    """As long as the others; a number that is none (NaN) is no value."""
    stretched = _stretched(value, _length(known))
    return [None if number is not None and math.isnan(number) else number for number in stretched]


def _length(known: Mapping[str, Series]) -> int:
    return len(next(iter(known.values()), []))


def _divide(a: float, b: float) -> float | None:
    return None if b == 0 else a / b


def _power(a: float, b: float) -> float | None:
    try:
        found = a**b
    except (OverflowError, ZeroDivisionError):
        return None
    return None if isinstance(found, complex) else found


_OPERATORS: dict[str, Callable[[float, float], float | None]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "^": _power,
    "<": lambda a, b: float(a < b),
    ">": lambda a, b: float(a > b),
    "<=": lambda a, b: float(a <= b),
    ">=": lambda a, b: float(a >= b),
    "==": lambda a, b: float(a == b),
    "!=": lambda a, b: float(a != b),
    "AND": lambda a, b: float(bool(a) and bool(b)),
    "OR": lambda a, b: float(bool(a) or bool(b)),
}
_FOLDS: dict[str, Callable[[list[float]], float]] = {
    "SUM": math.fsum,
    "AVG": lambda values: math.fsum(values) / len(values),
    "MIN": min,
    "MAX": max,
}
_ROUND: dict[str, Callable[[float], float]] = {"ABS": abs, "CEIL": math.ceil, "FLOOR": math.floor}
