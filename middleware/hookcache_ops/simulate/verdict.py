"""
All scenarios of one log side by side, and which of them to take.

The best is the largest gain in net savings over the deployed settings; where the log has no prices, the fewest backend
calls; and if neither changes to speak of, the least own cost, which memory hits in place of table hits lower,
of those scenarios that cost no more in all. A gain counts only beyond its own error and beyond one part in a thousand of what the backend costs, and of gains
that lie within a fiftieth of the best the smaller change wins: it stands first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hookcache_ops.simulate.engine import Replay
from hookcache_ops.simulate.tally import COUNTED, Estimate, Sums, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hookcache_ops.simulate.deployed import Deployed
    from hookcache_ops.simulate.log import Log
    from hookcache_ops.simulate.scenario import Scenario

NEAR = 0.98
LEAST_GAIN = 0.001
LEAST_OF_OWN = 0.002
"""A gain in own cost alone, such as fewer table reads, counts from this share of the own cost on."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What scenarios are compared by: less is better. `least` is the smallest change that counts."""

    name: str
    of: Callable[[Sums], float]
    least: Callable[[Estimate], float]


@dataclass(frozen=True, slots=True)
class Told:
    """One scenario, its figures, and its gain over the deployed settings."""

    scenario: Scenario
    estimate: Estimate
    gain: float
    gain_error: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    `told` begins with the deployed settings; `best` is None where nothing is worth a change.

    `measure` is what a gain is in: `money`, else `backend_calls`, else, where these do not change, `own_cost`.
    """

    told: list[Told]
    best: Told | None
    measure: str

    @property
    def deployed(self) -> Told:
        return self.told[0]


def compare(
    deployed: Deployed, scenarios: Sequence[Scenario], log: Log, progress: Callable[[str, int], None] | None = None
) -> Verdict:
    """Replay them all."""
    tallies, base = [], deployed.scenario
    for scenario in (base, *scenarios):
        # What expired in the log has expired here, but where the scenario has a freshness of its own.
        as_expired = frozenset() if scenario.sets_freshness and scenario is not base else deployed.changed
        replay = Replay(scenario, log.experience, log.sample.rate, log.first_ms, as_expired)
        tallies.append(replay.run(log.in_time, _named(progress, scenario.name)))
    in_money = log.tally.total(lambda sums: sums.spent + sums.saved) > 0
    verdict = _judged((base, *scenarios), tallies, log, _money if in_money else _calls)
    if verdict.best is not None:
        return verdict
    dearer = [each.scenario for each in verdict.told if each.gain < 0]
    own = _judged((base, *scenarios), tallies, log, _own_money, but=dearer)
    return verdict if own.best is None else own


def _judged(
    scenarios: Sequence[Scenario], tallies: Sequence[Tally], log: Log, measure: Measure, but: Sequence[Scenario] = ()
) -> Verdict:
    told = []
    for scenario, tally in zip(scenarios, tallies, strict=True):
        estimate = Estimate(log.tally, log.sampled, tally, log.sample.rate)
        # Both of the same sample, so that what they share drops out of the error.
        change = estimate.change(tallies[0], measure.of)
        told.append(Told(scenario, estimate, -change.value, change.error))
    return Verdict(told, _best([each for each in told if each.scenario not in but], measure), measure.name)


def _named(progress: Callable[[str, int], None] | None, name: str) -> Callable[[int], None] | None:
    return None if progress is None else lambda done: progress(name, done)


def _best(told: Sequence[Told], measure: Measure) -> Told | None:
    least = measure.least(told[0].estimate)
    worth = [each for each in told[1:] if each.gain > max(least, each.gain_error, 0.0)]
    if not worth:
        return None
    most = max(each.gain for each in worth)
    return next(each for each in worth if each.gain >= NEAR * most)


def _own(sums: Sums) -> float:
    return sums.own


def _spent(sums: Sums) -> float:
    return sums.spent


def _asked(sums: Sums) -> float:
    return sums.calls


_money = Measure(
    "money", lambda sums: sums.spent + sums.own, lambda deployed: LEAST_GAIN * deployed.figure(_spent).value
)
_calls = Measure("backend_calls", _asked, lambda deployed: LEAST_GAIN * deployed.figure(_asked).value)
_own_money = Measure("own_cost", _own, lambda deployed: LEAST_OF_OWN * deployed.figure(_own).value)


def disagreement(log: Log, verdict: Verdict) -> float:
    """The share of the sampled requests that the replay of the deployed settings counts under another outcome than the log."""
    replay, logged = verdict.deployed.estimate.replay, log.sampled
    apart = sum(
        abs(replay.total(lambda sums, n=name: sums.outcomes[n]) - logged.total(lambda sums, n=name: sums.outcomes[n]))  # type: ignore[misc]
        for name in COUNTED
    )
    return apart / 2 / max(1, len(log.in_time))


def figures(told: Told) -> dict[str, Any]:
    """One scenario for JSON."""
    return {
        "name": told.scenario.name,
        "advice": told.scenario.advice,
        **told.estimate.to_json(),
        "gain": {"value": round(told.gain, 9), "error_95": round(told.gain_error, 9)},
    }
