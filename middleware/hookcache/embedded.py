"""JSON within the text of an answer, as the host's steps look for it."""

from __future__ import annotations

import json
import re

from hookcache.hints import Any

_FENCED = re.compile(r"```[A-Za-z]*[ \t]*\r?\n(.*?)```", re.DOTALL)


def json_in(text: str) -> Any | None:
    """
    The JSON object or list that the host would find in an answer: bare, in a code fence, or amid prose.

    Amid prose it is taken only from the first bracket on, with no bracket behind it: a cut-off answer may contain whole
    objects, which must not pass for the answer (S24).
    """
    fenced = _FENCED.search(text)
    for candidate in [text, *([fenced[1]] if fenced else [])]:
        try:
            found = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        return found if isinstance(found, dict | list) else None
    start = min((place for place in (text.find("{"), text.find("[")) if place >= 0), default=-1)
    if start < 0:
        return None
    try:
        found, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return None if "{" in text[end:] or "[" in text[end:] else found


def strings_in(value: Any) -> list[str]:
    """Every text among the values of a JSON value, names of members left out."""
    pending, found = [value], []
    while pending:
        match pending.pop():
            case str() as text:
                found.append(text)
            case dict() as members:
                pending.extend(members.values())
            case list() as items:
                pending.extend(items)
    return found
