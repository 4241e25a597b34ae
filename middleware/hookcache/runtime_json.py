"""
What Lambda's own runtime would write of a handler's answer: a cache in the handler's process must keep and return the same.

The runtime writes with simplejson. Python's own `json`, without which no hit could be parsed in its time, knows fewer kinds
and writes a named tuple as a list. So an answer is first made of plain kinds, as the runtime would see it.

Beside it what Lambda takes of an event that is sent on (`spelt`).

Source: awslambdaric 4.2.2, lambda_runtime_marshaller.py; simplejson 4.3.0, encoder.py. On real AWS: *unverified*.
"""

from __future__ import annotations

import json
import re
import sys
from decimal import Decimal

from hookcache.hints import Any

_TEXT_OR_INFINITY = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|Infinity')  # nothing is tried twice, so nothing held: B7


def written(answer: Any) -> bytes:
    """
    The answer as JSON, equal after parsing to what the runtime would post.

    Raises:
        Exception: it cannot be written, by the runtime as little but for a few odd kinds (a key that is bytes, JSON made by
            simplejson's `RawJSON`); or a method of the answer's own kinds raised.
    """
    text = json.dumps(_plain(answer), ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace")  # half a character: as it was


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int or kind is float or kind is bool or value is None:
        return value
    if kind is dict:
        return {name: _plain(each) for name, each in value.items()}
    if kind is list:
        return [_plain(each) for each in value]
    return _of_other_kind(value)


def _of_other_kind(value: Any) -> Any:
    """In the runtime's own order of questions."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return str(value, "utf-8")
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    members = _members(value)
    if isinstance(members, dict):
        return {name: _plain(each) for name, each in members.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Decimal):
        return float("nan") if value.is_nan() else json.loads(str(value))  # its digits as they stand: 2 is no 2.0
    raise TypeError(f"{type(value).__name__} is no JSON")


def _members(value: Any) -> Any:
    """The members of a named tuple, or of what else says `_asdict`; a dict's are its own."""
    told = getattr(value, "_asdict", None)
    if callable(told):
        try:
            members = told()
        except TypeError:  # it wants arguments, so it means something else
            return value
        if not isinstance(members, dict):
            raise TypeError("_asdict() gave no dict")
        return members
    return value


def spelt(event: Any) -> bytes:
    """
    The event as bytes for the backend: deep-equal, and never longer than the host's own spelling (P5, B7).

    Non-ASCII text goes as UTF-8; a lone surrogate, which UTF-8 cannot spell, is escaped as the host does.
    One nested almost as deep as the runtime could read is written with a higher limit of recursion (B6).
    """
    try:
        return _spelt(event)
    except RecursionError:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(4 * limit)
        try:
            return _spelt(event)
        finally:
            sys.setrecursionlimit(limit)


def _spelt(event: Any) -> bytes:
    spelling = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    if "Infinity" in spelling:  # Python's word, which Lambda refuses, for a number such as 1e999, which it takes (B4)
        spelling = _TEXT_OR_INFINITY.sub(lambda found: "1e999" if found[0] == "Infinity" else found[0], spelling)
    try:
        return spelling.encode()
    except UnicodeEncodeError:  # only what has no form in UTF-8 is escaped
        return spelling.encode("utf-8", "backslashreplace")
