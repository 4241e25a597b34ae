"""
The embedded-metrics objects in a piece of log text, whatever it is wrapped in.

Log services quote what they deliver: in JSON, in JSON inside JSON, in CSV, pretty-printed over many lines. Each text is
read by the cheapest way that fits; what cannot be read gives nothing.

Names in them are whoever's who wrote the log: one with a line end in it, which no receipt of ours has, would forge a line of
each text that tells it. So it is spelt out here, where all records come in (`\\u000a`).
"""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from hookcache_ops.output import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = re.compile(r'\{"_aws":\s*\{"Timestamp":\s*(\d{10,14}),\s*"CloudWatchMetrics":')
_PLAIN = re.compile(_HEAD.pattern.encode())
_DIRECT = re.compile(r'\{"_aws":')
_OPENING = re.compile(r"[\[{]")
# One without an end is stepped over as well: to look again from each quote within it would take time by its square.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?')
_decode = json.JSONDecoder().raw_decode


def plain_record(line: bytes) -> dict[str, Any] | None:
    """
    The object that a line is, whole and unwrapped, as a function's own log has it; None for every other form.

    Nearly all lines of a large log are like that. The metric definitions are more than half of each and the same every
    time, so they are stepped over: the cut is right whenever the rest parses, and anything unusual takes the long way.
    """
    head = _PLAIN.match(line)
    if head is None:
        return None
    cut = line.find(b"]}]}", head.end())
    comma = line.find(b",", cut, cut + 6) if cut > 0 else -1
    if comma < 0:
        return None
    try:
        record: dict[str, Any] = from_json(b"{" + line[comma + 1 :], cache_strings="keys")
    except ValueError:
        return None
    record["_aws"] = {"Timestamp": int(head[1])}
    return record if line.isascii() and b"\\" not in line and b"\x7f" not in line else _in_lines(record)


def records_in(text: str) -> Iterator[dict[str, Any]]:
    """Every embedded-metrics object in a piece of log text, outermost spelling first, by the cheapest way that fits."""
    return map(_in_lines, _records_in(text))


def _in_lines(value: Any, levels: int = 4) -> Any:
    """
    The same with every name in one line, down to where any text tells of them. What a check quotes (`check_detail`) stays as it
    was: it is written as JSON only.
    """
    match value:
        case str():
            return one_line(value)
        case dict() if levels:
            return {
                one_line(name): each if name == "values" else _in_lines(each, levels - 1)
                for name, each in value.items()
            }
        case list() if levels:
            return [_in_lines(each, levels - 1) for each in value]
    return value


def _records_in(text: str) -> Iterator[dict[str, Any]]:
    direct = _DIRECT.search(text)
    if direct is not None:
        while direct is not None:
            record, end = _record_at(text, direct.start())
            if record is not None:
                yield record
            direct = _DIRECT.search(text, end)
        return
    found = list(_records_of_documents(text))
    yield from found or _records_in_strings(text)


def _records_of_documents(text: str) -> Iterator[dict[str, Any]]:
    """Records inside whole JSON documents, which subscriptions write end to end on one line."""
    opening = _OPENING.search(text)
    while opening is not None:
        try:
            value, end = _decode(text, opening.start())
        except (ValueError, RecursionError):
            return
        yield from _walk(value)
        opening = _OPENING.search(text, end)


def _record_at(text: str, start: int) -> tuple[dict[str, Any] | None, int]:
    """
    The object that opens at `start`, and where it ends; stepping over the definitions as `plain_record` does.
    """
    head = _HEAD.match(text, start)
    if head is not None:
        cut = text.find("]}]}", head.end())
        comma = text.find(",", cut, cut + 6) if cut > 0 else -1
        if comma > 0:
            try:
                record, end = _decode("{" + text[comma + 1 :], 0)
            except (ValueError, RecursionError):
                pass
            else:
                record["_aws"] = {"Timestamp": int(head[1])}
                return record, comma + end
    try:
        record, end = _decode(text, start)
    except (ValueError, RecursionError):
        return None, start + 1
    return (record, end) if isinstance(record.get("_aws"), dict) else (None, end)


def _records_in_strings(text: str) -> Iterator[dict[str, Any]]:
    """Records quoted inside JSON strings or CSV fields, on a line that is only a part of its document."""
    if '""_aws""' in text:
        try:
            rows = list(csv.reader([text]))
        except csv.Error:  # a field beyond the reader's limit, or a line end within a line
            return
        for cell in (cell for row in rows for cell in row if "_aws" in cell):
            yield from _records_in(cell)
        return
    for match in _STRING.finditer(text):
        if "_aws" in match[0] and len(match[0]) > len('"_aws"'):
            try:
                inner = json.loads(match[0], strict=False)
            except ValueError:
                continue
            yield from _records_in(inner)


def _walk(value: Any) -> Iterator[dict[str, Any]]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if isinstance(item.get("_aws"), dict):
                yield item
            else:
                stack.extend(reversed(item.values()))
        elif isinstance(item, list):
            stack.extend(reversed(item))
        elif isinstance(item, str) and '"_aws"' in item:
            yield from _records_in(item)
