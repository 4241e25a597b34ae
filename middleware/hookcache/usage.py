"""
The `usage` of an answer: what the host meters and charges by.

The host adds up every number it finds there, under whatever name, and some versions price an unknown unit as its nearest
neighbour. So a miss passes the backend's numbers on unchanged, and a hit returns the same names with zeros (P32).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache

from hookcache.hints import Any
from hookcache.value import value

MOST_UNITS = 50
_UNIT = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")

Response = Any
"""A parsed JSON reply of the backend."""

_raw_decode = json.JSONDecoder().raw_decode


def parsed(body: bytes) -> Response:
    """What `json.loads(body)` gives, for which a hit has no time: it looks for other encodings and for blanks at both ends."""
    # An object in UTF-8: in any other encoding a zero byte would stand before or behind the brace.
    if body.startswith(b'{"'):
        text = body.decode("utf-8", "surrogatepass")
        value, end = _raw_decode(text)
        if end == len(text):
            return value
    return json.loads(body)


@value
class Metered:
    """
    A reply whose `usage` is safe for the host.

    `units` are its numbers, finite and not negative. `sound` is False if a number or the whole `usage` had to go: such an
    answer is not kept. `removed` counts the members taken out.
    """

    response: Response
    units: Mapping[str, float]
    sound: bool
    removed: int


def metered(response: Response) -> Metered:
    """
    `response` with its usage repaired, everything else untouched and in its order.

    Texts, lists, objects and booleans are removed and counted; a NaN, infinite or negative number, and a usage that is no
    object, are removed and make the answer unsound (P33, S54).
    """
    if not isinstance(response, dict) or "usage" not in response:
        return Metered(response, {}, sound=True, removed=0)
    usage = response["usage"]
    if not isinstance(usage, dict):
        return Metered({name: value for name, value in response.items() if name != "usage"}, {}, sound=False, removed=1)
    numbers = {name: value for name, value in usage.items() if _is_number(value)}
    units = {name: value for name, value in numbers.items() if _is_count(value)}
    removed = len(usage) - len(units)
    if removed:
        response = {name: dict(units) if name == "usage" else value for name, value in response.items()}
    return Metered(response, units, sound=len(units) == len(numbers), removed=removed)


def without_charge(response: Response, units: Mapping[str, float] | None = None) -> Response:
    """
    A kept answer as a hit returns it: every number of `usage` is 0 under its own name, none added, none dropped (P32).

    Args:
        units: what `metered` found in it, where that is known: if that is all of its usage, nothing is to repair.
    """
    usage = response.get("usage") if type(response) is dict else None
    if type(usage) is dict and units is not None and usage == units:
        return {**response, "usage": dict.fromkeys(usage, 0)}
    repaired = metered(response).response
    if not isinstance(repaired, dict) or "usage" not in repaired:
        return repaired
    zeros = dict.fromkeys(repaired["usage"], 0)
    return {name: zeros if name == "usage" else value for name, value in repaired.items()}


def with_usage_of(kept: Response, other: Response) -> Response:
    """A kept answer with the usage of another one in its place; without one if the other has none."""
    if not isinstance(kept, dict):
        return kept
    charged = isinstance(other, dict) and "usage" in other
    rest = {name: value for name, value in kept.items() if name != "usage" or charged}
    return rest | ({"usage": other["usage"]} if charged else {})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(number: float) -> bool:
    """Finite, not negative, and within what a metric can hold: JSON may spell an integer that no float reaches."""
    try:
        return math.isfinite(number) and number >= 0
    except OverflowError:
        return False


def shown_units(units: Mapping[str, float]) -> dict[str, float]:
    """
    Units as a receipt names them: a name that is no plain word is content of an answer and goes under `other`, as do all
    but the first fifty (P36).
    """
    shown: dict[str, float] = {}
    for name, count in units.items():
        name_shown = name if plain_unit(name) and len(shown) < MOST_UNITS else "other"
        together = shown.get(name_shown, 0) + count
        shown[name_shown] = together if _is_count(together) else max(shown[name_shown], count)  # JSON has no infinity
    return shown


@lru_cache(maxsize=256)
def plain_unit(name: str) -> bool:
    """True for a unit's name that a receipt may show: a plain word."""
    return _UNIT.fullmatch(name) is not None


def same_answer(body: bytes, response: Response) -> bool:
    """Is a kept answer equal to a new one, whatever their usage? What `observe` compares (P50)."""
    kept = json.loads(body)
    if not (isinstance(kept, dict) and isinstance(response, dict)):
        return bool(kept == response)
    return {**kept, "usage": None} == {**response, "usage": None}
