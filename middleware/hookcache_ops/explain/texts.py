"""How two texts differ, in words and as a short diff: what is invisible is named and shown by its code point."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from hookcache.trace import INVISIBLE, shape_forms
from hookcache_ops.explain.traced import HOW, shared_shape

AROUND = 36
LINES = 12
LONG_LINE = 160
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d)?|\b\d\d?:\d\d(?::\d\d)?\b|\b\d\d?[./]\d\d?[./]\d{2,4}\b|\b1[5-9]\d{8}(?:\d{3})?\b"
    r"|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]* \d",
    re.IGNORECASE,
)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-|\b(?=[a-f]*\d)[0-9a-f]{16,}\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TextDifference:
    """`said` names it; `cause` is a cause's name (`causes.py`) or empty; the snippets stand around the first difference."""

    said: str
    cause: str
    line: int
    column: int
    before: str
    after: str
    diff: tuple[str, ...]


def difference_of(one: str, other: str) -> TextDifference:
    """What two texts that differ differ in."""
    at = _first(one, other)
    cause, said = _named(one, other, at)
    line = one.count("\n", 0, at) + 1
    column = at - (one.rfind("\n", 0, at) + 1) + 1
    before, after = (shown(_snippet(text, at)) for text in (one, other))
    return TextDifference(said, cause, line, column, before, after, tuple(_diff(one, other)))


def shown(text: str) -> str:
    """A text with what is invisible in it spelt out, on one line."""
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    plain = {"\n": "⏎", "\r": "␍", "\t": "⇥"}.get(character)
    if plain is not None:
        return plain
    odd = INVISIBLE.match(character) or unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp", "Mn"}
    if odd or (character != " " and unicodedata.category(character) == "Zs"):
        return f"<U+{ord(character):04X}>"
    return character


def _named(one: str, other: str, at: int) -> tuple[str, str]:
    forms = [tuple(map(hash, shape_forms(text))) for text in (one, other)]
    how = shared_shape(forms[0], forms[1])
    if how == "spacing":
        return "spacing", f"only what cannot be seen differs: {', '.join(_invisible(one, other))}"
    if how == "order":
        return "attribute_order", HOW[how]
    if how == "values":
        cause, kind = _value_kind(one, other, at)
        return cause, f"{HOW[how]}; {kind}"
    return ("punctuation", HOW[how]) if how == "punctuation" else ("", "other words")


def _invisible(one: str, other: str) -> Iterator[str]:
    if one.count("\r") != other.count("\r"):
        yield "line ends (CRLF against LF)"
    zero_width = [sorted(INVISIBLE.findall(text)) for text in (one, other)]
    if zero_width[0] != zero_width[1]:
        points = sorted({f"U+{ord(character):04X}" for text in zero_width for character in text})
        yield f"invisible characters ({', '.join(points)})"
    if any(unicodedata.normalize("NFC", text) != text for text in (one, other)):
        yield "Unicode form (an accented letter as one character or as two, NFC against NFD)"
    if [line.rstrip() for line in one.splitlines()] == [line.rstrip() for line in other.splitlines()]:
        if one.splitlines() != other.splitlines():
            yield "spaces at the end of a line"
        elif one.count("\r") == other.count("\r"):
            yield "a line end at the end"
    elif "".join(one.split()) == "".join(other.split()) or " ".join(one.split()) == " ".join(other.split()):
        yield "white space"


def _value_kind(one: str, other: str, at: int) -> tuple[str, str]:
    """What the first differing value is, judged on the line around it."""
    for text in (one, other):
        around = text[max(0, at - 40) : at + 40]
        if any(match.start() - 1 <= min(at, 40) <= match.end() + 16 for match in _TIME.finditer(around)):
            return "time_stamp", "it looks like a time stamp"
        if any(match.start() <= min(at, 40) <= match.end() + 40 for match in _UUID.finditer(around)):
            return "time_stamp", "it looks like an id of one request"
    return "values_changed", "a number"


def _first(one: str, other: str) -> int:
    """Where two texts part."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # the longest common beginning, by halves
        middle = (low + high + 1) // 2
        if one.startswith(other[:middle]):
            low = middle
        else:
            high = middle - 1
    return low


def _snippet(text: str, at: int) -> str:
    start, end = max(0, at - AROUND), min(len(text), at + AROUND)
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def _diff(one: str, other: str) -> Iterator[str]:
    """A unified diff where lines are short and tell the change, else one of words around it."""
    lines = one.splitlines(), other.splitlines()
    if max(map(len, (*lines[0], *lines[1])), default=0) <= LONG_LINE and sum(map(len, lines)) <= 20_000:
        told = [line for line in difflib.unified_diff(*lines, n=1, lineterm="") if line[:3] not in {"---", "+++"}]
    else:
        told = list(_word_diff(one, other))
    yield from (line[:1] + shown(line[1:]) for line in told[:LINES])
    if len(told) > LINES:
        yield f"  … {len(told) - LINES} lines more"


def _word_diff(one: str, other: str) -> Iterator[str]:
    at = _first(one, other)
    start = max(0, at - 400)
    words = [text[start : at + 800].split(" ") for text in (one, other)]
    for tag, a, b, c, d in difflib.SequenceMatcher(None, words[0], words[1], autojunk=False).get_opcodes():
        if tag != "equal":
            yield from (
                f"{sign}{' '.join(part)}" for sign, part in (("-", words[0][a:b]), ("+", words[1][c:d])) if part
            )
