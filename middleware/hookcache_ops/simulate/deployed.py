"""
The settings under which a log was made: those told, those that the log itself betrays, and the defaults for the rest.

A hit of age a says that freshness is above a; a miss because of `expired`, so long after the answer was stored, that it is
not above that. Where the default lies outside, the roundest value in between stands for it: all of them explain the log.
Where nothing lies in between, the settings were changed meanwhile: then each expiry of the log is taken as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hookcache.outcome import Outcome, Reason
from hookcache.policy import DAY_SECONDS
from hookcache.request import CONTEXTS, OTHER_CONTEXT
from hookcache_ops.receipts import SourceError
from hookcache_ops.simulate.engine import Replay
from hookcache_ops.simulate.scenario import SIMULATED, Scenario, scenario_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hookcache.key import CacheKey
    from hookcache_ops.simulate.log import Log
    from hookcache_ops.simulate.tally import Sums
    from hookcache_ops.simulate.trace import Request

DEPLOYED = "deployed"
DEFAULT_SECONDS = 7 * DAY_SECONDS
MOST_SECONDS = 30 * DAY_SECONDS
SIZES = (18, 32)
"""Sizes of a memory tier that are tried, as powers of two: 256 KiB to 4 GiB."""
NEAR = 0.01
_ROUND = (30 * DAY_SECONDS, 7 * DAY_SECONDS, DAY_SECONDS, 43_200, 21_600, 3_600, 1_800, 900, 600, 300, 60, 30, 10, 5, 1)


@dataclass(frozen=True, slots=True)
class Deployed:
    """
    The scenario a log was made under.

    `guessed` is the freshness by step that the log betrayed, `guessed_bytes` the size of its memory tier; `changed` are the steps in which it contradicts itself.
    """

    scenario: Scenario
    guessed: Mapping[str, int] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
    guessed_bytes: int | None = None


def deployed(told: Mapping[str, Any], requests: Iterable[Request]) -> Deployed:
    """
    Raises:
        SourceError: a value that was told is none that hookcache takes.
    """
    unknown = told.keys() - set(SIMULATED)
    if unknown:
        raise SourceError(f"{', '.join(sorted(unknown))} is no setting to simulate; use {', '.join(SIMULATED)}")
    if "fresh_seconds" in told or "policy" in told:
        return Deployed(scenario_of({"name": DEPLOYED, **told}))
    found = freshness(requests)
    changed = frozenset(step for step, seconds in found.items() if seconds is None)
    guessed = {step: seconds for step, seconds in found.items() if seconds not in {None, DEFAULT_SECONDS}}
    scenario = scenario_of({"name": DEPLOYED, **told, **_lifetimes(guessed)})
    return Deployed(scenario, {step: seconds for step, seconds in guessed.items() if seconds}, changed)


def _lifetimes(guessed: Mapping[str, int]) -> dict[str, Any]:
    """As settings say them. A policy has no name for `Other`: its freshness is that of all steps which it does not name."""
    policy = {step: {"fresh_seconds": seconds} for step, seconds in guessed.items() if step in CONTEXTS}
    if OTHER_CONTEXT in guessed:
        usual = {step: {"fresh_seconds": DEFAULT_SECONDS} for step in CONTEXTS}
        return {"fresh_seconds": guessed[OTHER_CONTEXT], "policy": usual | policy}
    return {"policy": policy} if policy else {}


def fitted(found: Deployed, told: Mapping[str, Any], log: Log) -> Deployed:
    """
    `found` with what only memory hits can tell, so that a replay finds as many as the log.

    Environments: those guessed from the times of the requests, or a single one, where requests of a test overlap and yet
    shared one memory. Then, unless it was told, the size of the memory tier, as a power of two.
    """
    if log.payloads or not log.in_time:
        return found
    logged = log.sampled.total(_memory_hits)

    def off(scenario: Scenario) -> float:
        replay = Replay(scenario, log.experience, log.sample.rate, log.first_ms, found.changed, counts_only=True)
        return replay.run(log.in_time).total(_memory_hits) - logged

    apart = off(found.scenario)
    if log.guessed_environments and log.environments > 1:
        single = replace(found.scenario, environments=1)
        if abs(apart_single := off(single)) < abs(apart):
            found, apart = replace(found, scenario=single), apart_single
    if "memory_bytes" in told or abs(apart) <= NEAR * len(log.in_time):
        return found
    low, high = SIZES
    while low < high:  # more bytes never hold less
        middle = (low + high) // 2
        low, high = (middle + 1, high) if off(_sized(found.scenario, middle)) < 0 else (low, middle)
    best = min(
        _sized(found.scenario, max(SIZES[0], low - 1)), _sized(found.scenario, low), key=lambda each: abs(off(each))
    )
    if abs(off(best)) > abs(apart) / 2:
        return found
    return replace(found, scenario=best, guessed_bytes=best.settings.memory_bytes)


def _sized(scenario: Scenario, power: int) -> Scenario:
    return scenario_of({"name": scenario.name, "memory_bytes": 2**power}, scenario)


def _memory_hits(sums: Sums) -> float:
    return sums.outcomes[Outcome.HIT_MEMORY]


def freshness(requests: Iterable[Request]) -> dict[str, int | None]:
    """Seconds by step, from requests in the order of their starts; None where the log contradicts itself."""
    stored: dict[CacheKey, int] = {}
    above: dict[str, float] = {}
    below: dict[str, float] = {}
    for request in requests:
        key, step = request.key, request.context
        if key is None:
            continue
        if request.created_ms is not None and request.outcome is not Outcome.STALE:
            above[step] = max(above.get(step, 0.0), (request.start_ms - request.created_ms) / 1000)
            stored[key] = request.created_ms
        elif request.kept:
            if request.reason == Reason.EXPIRED.value and key in stored:
                below[step] = min(below.get(step, float(MOST_SECONDS)), (request.start_ms - stored[key]) / 1000)
            stored[key] = request.start_ms
    return {step: _roundest(above.get(step, 0.0), below.get(step)) for step in above.keys() | below.keys()}


def _roundest(above: float, below: float | None) -> int | None:
    """The roundest number of seconds that is over `above` and not over `below`; None if there is none."""
    if above < DEFAULT_SECONDS <= (below if below is not None else MOST_SECONDS):
        return DEFAULT_SECONDS
    if below is None:
        return MOST_SECONDS  # hits older than the default, and nothing that ever expired
    candidates = (int(above // unit + 1) * unit for unit in _ROUND)
    return next((seconds for seconds in candidates if seconds <= below), None)
