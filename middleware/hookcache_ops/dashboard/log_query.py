"""
CloudWatch Logs Insights, the part that dashboard tables use, read into a plan and applied to receipts.

    SOURCE '...' | filter CONDITION | stats AGGREGATE as name, ... by FIELD, ... | sort name desc | limit N

CONDITION is made of `field = value`, `!=`, `<`, `>`, `<=`, `>=`, `field in [..]`, `ispresent(field)`, `and`, `or`, `not`
and parentheses; AGGREGATE is count(*), sum, avg, min, max or pct(field, p). Members that are lists are numbered as Insights
numbers them: the first value of the metric Latency is `Latency.0`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Test = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(
    r"""\s*(?:("(?:[^"\\]|\\.)*"|'[^']*')|(-?\d+(?:\.\d+)?)|([@A-Za-z_][\w@.]*)|(!=|<=|>=|[=<>()\[\],*]))"""
)
_AGGREGATES = ("count", "sum", "avg", "min", "max", "pct")
COMMANDS = ("fields", "filter", "stats", "sort", "limit", "display")


class QueryError(ValueError):
    """A query outside the part understood here."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`percent` only for pct; `field` is "*" for count."""

    kind: str
    field: str
    percent: float
    name: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a table shows: rows that pass `test`, grouped by `by`, as columns `by` + `aggregates`."""

    test: Test
    aggregates: tuple[Aggregate, ...]
    by: tuple[str, ...]
    sort: str
    descending: bool
    limit: int
    fields: frozenset[str]


def parse(query: str) -> Plan:
    """
    Raises:
        QueryError: outside the part understood here; the message names it.
    """
    reader = _Reader()
    for part in _split(query):
        command, _, rest = part.strip().partition(" ")
        if command == "SOURCE":
            continue
        if command not in COMMANDS:
            raise QueryError(f"the command {command!r} is not known here")
        reader.read(command, rest.strip())
    return reader.plan()


def reader_of(path: str) -> Callable[[Mapping[str, Any]], Any]:
    """Reads a member by Insights' name for it; None where it is absent."""
    name, _, rest = path.partition(".")
    if not rest:
        return lambda record: record.get(name)
    if rest.isdigit():
        at = int(rest)
        return lambda record: _numbered(record.get(name), at)
    inner = reader_of(rest)

    def read(record: Mapping[str, Any]) -> Any:
        value = record.get(name)
        return inner(value) if isinstance(value, Mapping) else None

    return read


def _numbered(value: Any, at: int) -> Any:
    if isinstance(value, list):
        return value[at] if at < len(value) else None
    return value if at == 0 and isinstance(value, int | float) else None


def _split(query: str) -> list[str]:
    """The commands; a bar inside quotes separates nothing."""
    return re.findall(r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^|"'])+""", query)


class _Reader:
    def __init__(self) -> None:
        self._tests: list[Test] = []
        self._aggregates: list[Aggregate] = []
        self._by: list[str] = []
        self._sort, self._descending, self._limit = "", True, 1000
        self._fields: set[str] = set()

    def read(self, command: str, rest: str) -> None:
        tokens = _tokens(rest)
        if command == "filter":
            test, left = self._any(tokens)
            if left:
                raise QueryError(f"{left[0]!r} is out of place in the filter")
            self._tests.append(test)
        elif command == "stats":
            self._stats(tokens)
        elif command == "sort":
            self._sort, self._descending = tokens[0], tokens[1:] != ["asc"]
        elif command == "limit":
            self._limit = int(rest)

    def plan(self) -> Plan:
        tests, names = tuple(self._tests), {a.name for a in self._aggregates}
        if not self._aggregates:
            raise QueryError("the query has no stats: only grouped tables are drawn from receipts")
        if self._sort and self._sort not in names | set(self._by):
            raise QueryError(f"sort names {self._sort!r}, which is no column")
        return Plan(
            lambda record: all(test(record) for test in tests),
            tuple(self._aggregates),
            tuple(self._by),
            self._sort or self._aggregates[0].name,
            self._descending,
            self._limit,
            frozenset(self._fields),
        )

    def _stats(self, tokens: list[str]) -> None:
        while tokens:
            kind = tokens.pop(0)
            if kind not in _AGGREGATES:
                raise QueryError(f"the aggregate {kind!r} is not known here")
            end = tokens.index(")") if ")" in tokens else -1
            if end < 0 or tokens[0] != "(":
                raise QueryError(f"{kind} needs brackets")
            inside = [word for word in tokens[1:end] if word != ","]
            tokens = tokens[end + 1 :]
            if len(inside) != (2 if kind == "pct" else 1):
                raise QueryError(f"{kind} takes {'a field and a percentage' if kind == 'pct' else 'one field'}")
            name = f"{kind}({', '.join(inside)})"
            if tokens[:1] == ["as"]:
                name, tokens = tokens[1], tokens[2:]
            self._aggregates.append(Aggregate(kind, inside[0], float(inside[1]) if kind == "pct" else 0.0, name))
            self._fields |= {inside[0]} - {"*"}
            if tokens[:1] == ["by"]:
                self._by = [word for word in tokens[1:] if word != ","]
                self._fields |= set(self._by)
                return
            if tokens[:1] == [","]:
                tokens = tokens[1:]

    def _any(self, tokens: list[str]) -> tuple[Test, list[str]]:
        left, rest = self._all(tokens)
        while rest and rest[0] == "or":
            right, rest = self._all(rest[1:])
            left = _either(left, right)
        return left, rest

    def _all(self, tokens: list[str]) -> tuple[Test, list[str]]:
        left, rest = self._one(tokens)
        while rest and rest[0] == "and":
            right, rest = self._one(rest[1:])
            left = _both(left, right)
        return left, rest

    def _one(self, tokens: list[str]) -> tuple[Test, list[str]]:
        if not tokens:
            raise QueryError("the filter ends too early")
        first, rest = tokens[0], tokens[1:]
        if first == "not":
            test, rest = self._one(rest)
            return (lambda record: not test(record)), rest
        if first == "(":
            inner, rest = self._any(rest)
            if rest[:1] != [")"]:
                raise QueryError("a bracket is not closed")
            return inner, rest[1:]
        if first == "ispresent" and rest[:1] == ["("] and rest[2:3] == [")"]:
            self._fields.add(rest[1])
            present = reader_of(rest[1])
            return (lambda record: present(record) is not None), rest[3:]
        return self._comparison(first, rest)

    def _comparison(self, path: str, rest: list[str]) -> tuple[Test, list[str]]:
        if len(rest) < 2:
            raise QueryError(f"{path!r} is compared with nothing")
        self._fields.add(path)
        read = reader_of(path)
        sign, rest = rest[0], rest[1:]
        if sign == "in":
            end = rest.index("]") if "]" in rest else 0
            among = [_literal(word) for word in rest[1:end] if word != ","]  # no set: a member may be an object
            return (lambda record: read(record) in among), rest[end + 1 :]
        if sign not in _COMPARE:
            raise QueryError(f"{sign!r} is no comparison known here")
        compare, wanted = _COMPARE[sign], _literal(rest[0])
        return (lambda record: _holds(compare, read(record), wanted)), rest[1:]


def _either(left: Test, right: Test) -> Test:
    return lambda record: left(record) or right(record)


def _both(left: Test, right: Test) -> Test:
    return lambda record: left(record) and right(record)


def _holds(compare: Callable[[Any, Any], bool], value: Any, wanted: Any) -> bool:
    if value is None:
        return False
    try:
        return compare(value, wanted)
    except TypeError:
        return False


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def _literal(token: str) -> str | float:
    if token[0] in "\"'":
        return token[1:-1]
    try:
        return float(token)
    except ValueError:
        raise QueryError(f"{token!r} is neither a text in quotes nor a number") from None


def _tokens(text: str) -> list[str]:
    found, at, text = [], 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise QueryError(f"cannot read {text[at:].strip()[:20]!r}")
        found.append(match[0].strip())
        at = match.end()
    return found
