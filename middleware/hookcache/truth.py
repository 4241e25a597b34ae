"""
The truth check: a share of hits also asks the backend, and what it says is compared with what was kept (P59).

    wanted(lookup)            is this hit one of the share?
    judge(lookup, kept, new)  the comparison as the receipt tells it; counts for or against the context
    distrusts(lookup)         are the kept answers of this context wrong too often?

A difference is a matter for review, and no proof: models vary, also at temperature 0. So a field that says the same in other
words, or lies outside what the host reads (`output`, and the words in `textractBlocks`), is `drift`; only another content of
these is a `false_hit`.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from enum import StrEnum

from hookcache.chance import drawn
from hookcache.clock import Clock
from hookcache.embedded import json_in
from hookcache.hints import TYPE_CHECKING, Any
from hookcache.policy import Mode
from hookcache.value import value

if TYPE_CHECKING:
    from hookcache.lookup import Lookup

ALARM_FACTOR = 10.0
"""The rate that is to be found, as a multiple of the tolerated one (`check_limit`)."""
FALSE_ALARM, MISSED_ALARM = 0.001, 0.05
"""Chance that a context at its tolerated rate is distrusted, and that one at ten times that rate passes one round of tests."""
DISTRUST_SECONDS = 3_600.0
NEAR_WORDS = 0.9
MOST_FIELDS = 20_000
MOST_PATHS = 20
MOST_CHARS = 200
_MISSING = object()
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_ -]{0,63}")
_WORD = re.compile(r"\w+")
_DIGIT = re.compile(r"\d")


class Finding(StrEnum):
    """What one check found; `unanswered` where the backend failed to answer it, or its answer cannot be compared."""

    AGREES = "agrees"
    DRIFT = "drift"
    FALSE_HIT = "false_hit"
    UNANSWERED = "unanswered"


@value
class Difference:
    """One field that is not the same: where, what was kept, what is said now; `near` if it says the same in other words."""

    path: str
    kept: Any
    new: Any
    near: bool


@value
class Comparison:
    """Two answers, field by field; `usage` is left out, for the units of a call are no part of what it says."""

    fields: int
    differences: tuple[Difference, ...]

    @property
    def finding(self) -> Finding:
        if not self.differences:
            return Finding.AGREES
        return Finding.DRIFT if all(each.near for each in self.differences) else Finding.FALSE_HIT

    def shown(self, detail: str) -> dict[str, Any]:
        """As a receipt holds it: counts and paths; values only where the operator asked for content."""
        told: dict[str, Any] = {
            "result": self.finding.value,
            "fields": self.fields,
            "differing": len(self.differences),
            "paths": [each.path for each in self.differences[:MOST_PATHS]],
        }
        if detail == "content":
            told["values"] = [[_cut(each.kept), _cut(each.new)] for each in self.differences[:MOST_PATHS]]
        return told


def compare(kept: bytes, new: Any) -> Comparison:
    """The kept answer beside a new one. JSON within the answer's text is compared as JSON."""
    fields, differences = 0, []
    old = json.loads(kept)
    if isinstance(old, dict) and isinstance(new, dict):
        old, new = ({name: value for name, value in each.items() if name != "usage"} for each in (old, new))
    for path, was, is_now in _leaves(old, new):
        fields += 1
        if not _same(was, is_now):
            near = not _is_read(path) or _near(was, is_now)
            differences.append(Difference(_shown(path), was, is_now, near))
        if fields >= MOST_FIELDS:
            break
    return Comparison(fields, tuple(differences))


def _leaves(old: Any, new: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Pairs of values that are neither both objects nor both lists, with their way from the top."""
    pending: list[tuple[tuple[str, ...], Any, Any]] = [((), old, new)]
    while pending:
        path, was, is_now = pending.pop()
        if isinstance(was, str) and isinstance(is_now, str) and path[-1:] == ("text",):
            inner = json_in(was), json_in(is_now)
            if inner[0] is not None and inner[1] is not None:
                was, is_now = inner
        if isinstance(was, dict) and isinstance(is_now, dict):
            names = dict.fromkeys([*was, *is_now])
            pending.extend(
                ((*path, name), was.get(name, _MISSING), is_now.get(name, _MISSING)) for name in reversed(names)
            )
        elif isinstance(was, list) and isinstance(is_now, list):
            longest = max(len(was), len(is_now))
            pending.extend(
                ((*path, f"[{place}]"), _at(was, place), _at(is_now, place)) for place in reversed(range(longest))
            )
        else:
            yield path, was, is_now


def _at(values: list[Any], place: int) -> Any:
    return values[place] if place < len(values) else _MISSING


def _is_read(path: tuple[str, ...]) -> bool:
    """Is this what the host reads? Of `textractBlocks` the blocks and their texts; places and confidences are never the same."""
    if path[:1] != ("textractBlocks",):
        return not path or path[0].startswith("output")
    return path[-1] == "Text" or (path[1:2] in {(), ("Blocks",)} and len(path) <= 3)


def _same(was: Any, is_now: Any) -> bool:
    return isinstance(was, bool) == isinstance(is_now, bool) and bool(was == is_now)


def _near(was: Any, is_now: Any) -> bool:
    """Texts with the same figures and nearly the same words. A figure that changed is another content."""
    if not (isinstance(was, str) and isinstance(is_now, str)):
        return False
    old, new = (Counter(_WORD.findall(text.casefold())) for text in (was, is_now))
    figures = [{word: count for word, count in words.items() if _DIGIT.search(word)} for words in (old, new)]
    return figures[0] == figures[1] and (old & new).total() >= NEAR_WORDS * max(old.total(), new.total())


def _shown(path: tuple[str, ...]) -> str:
    """The way to a field; a name that is no plain word might be content, and is not shown (P36)."""
    steps = (step if step.startswith("[") else f".{step if _PLAIN.fullmatch(step) else '?'}" for step in path)
    return "".join(steps).removeprefix(".")


def _cut(value: Any) -> str | None:
    return None if value is _MISSING else json.dumps(value, ensure_ascii=False)[:MOST_CHARS]


class TruthCheck:
    """
    Which hits are checked in this environment, and which contexts it no longer trusts.

    Each check moves a sum for its context: the log of how much likelier what was found is at `ALARM_FACTOR` times the
    tolerated rate of false hits than at that rate itself. Past `log((1 - MISSED_ALARM) / FALSE_ALARM)` the context is
    bypassed for `DISTRUST_SECONDS`; below `log(MISSED_ALARM / (1 - FALSE_ALARM))` a new round of tests begins. Another
    backend, generation or invalidation leaves the answers behind that were judged, and with them sum and distrust.

    In mode `read_only` it is the backend that is under suspicion: it convicts nothing that is kept.
    Source: Wald, "Sequential Tests of Statistical Hypotheses", 1945.
    """

    def __init__(self, clock: Clock, draw: Callable[[], float] = drawn) -> None:
        self._clock = clock
        self._draw = draw
        self._lock = threading.Lock()
        self._sums: dict[str, tuple[Hashable, float]] = {}
        self._distrusted_until_ms: dict[str, tuple[Hashable, int]] = {}
        """By context, with the era they are of."""

    def wanted(self, lookup: Lookup) -> bool:
        """Is this hit one of the share that is checked?"""
        share = lookup.rules.check_share
        return share > 0 and lookup.mode is Mode.ON and self._draw() < share

    def distrusts(self, lookup: Lookup) -> bool:
        """Were so many kept answers of this context wrong that none is served for a while?"""
        context = lookup.request.context
        if context not in self._distrusted_until_ms or lookup.mode is not Mode.ON:
            return False
        era, until_ms = self._distrusted_until_ms[context]
        return era == lookup.standing.era(context) and self._clock.now_ms() < until_ms

    def judge(self, lookup: Lookup, kept: bytes, new: Mapping[str, Any]) -> dict[str, Any]:
        """Compare, count, and say it as the receipt does. Promise: P59."""
        context, rules = lookup.request.context, lookup.rules
        era = lookup.standing.era(context)
        try:
            comparison = compare(kept, new)
            shown = comparison.shown(rules.check_detail)
        except Exception:  # P18, P22: what cannot be compared must not send the caller to the backend a second time
            return {"result": Finding.UNANSWERED.value}
        with self._lock:
            of, moved = self._sums.get(context, (era, 0.0))
            moved = (moved if of == era else 0.0) + evidence(comparison.finding, rules.check_limit)
            if moved >= math.log((1 - MISSED_ALARM) / FALSE_ALARM):
                self._distrusted_until_ms[context] = era, self._clock.now_ms() + int(DISTRUST_SECONDS * 1000)
                moved = 0.0
            self._sums[context] = era, 0.0 if moved <= math.log(MISSED_ALARM / (1 - FALSE_ALARM)) else moved
        return shown


def evidence(finding: Finding, tolerated: float) -> float:
    """How much likelier one finding is at `ALARM_FACTOR` times the tolerated rate of false hits, as a logarithm."""
    if finding is Finding.FALSE_HIT:
        return math.log(ALARM_FACTOR)
    return math.log((1 - ALARM_FACTOR * tolerated) / (1 - tolerated))
