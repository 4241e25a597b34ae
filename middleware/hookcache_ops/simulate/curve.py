"""
The miss-ratio curve of the memory tier: which share of the look-ups it does not answer, by its size.

Two lines. `miss_ratio` is hookcache's own tier at each size, copies expiring as they do: a replay for each point.
`unexpiring` is the same tier if no copy ever expired: stack distances, one pass. Where the two lie apart, lifetimes cost
more hits than bytes do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hookcache.memory import SLOT_BYTES
from hookcache.outcome import Outcome
from hookcache.settings import MOST_MEMORY_BYTES
from hookcache_ops.simulate.engine import Replay
from hookcache_ops.simulate.sampling import Figure
from hookcache_ops.simulate.stack import distances, hits_within
from hookcache_ops.simulate.tally import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hookcache_ops.simulate.deployed import Deployed
    from hookcache_ops.simulate.log import Log
    from hookcache_ops.simulate.scenario import Scenario
    from hookcache_ops.simulate.trace import Request

POINTS = 10
SMALLEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Point:
    """One size of the memory tier."""

    size_bytes: int
    miss_ratio: Figure
    unexpiring: float

    def to_json(self) -> dict[str, Any]:
        return {
            "size_bytes": self.size_bytes,
            "miss_ratio": self.miss_ratio.to_json(),
            "unexpiring": round(self.unexpiring, 9),
        }


def curve(deployed: Deployed, log: Log, sizes: Sequence[int], progress: Callable[[int], None]) -> list[Point]:
    """The points at `sizes`, ascending."""
    base, requests, rate = deployed.scenario, log.in_time, log.sample.rate
    asked = list(looked_up(base, log))
    ascending = distances(asked)
    look_ups = _look_ups(log, base)
    # SHARDS-adj: what the sample holds too few or too many of is taken for requests that any size answers.
    missing = look_ups - len(asked) / rate
    found = []
    replay = None
    for size in sorted(set(sizes), reverse=True):
        if replay is None or size * rate < replay.needed_bytes:  # else a tier as small as this answers the same
            scenario = base.but(f"{size}", memory_bytes=size)
            replay = Replay(scenario, log.experience, rate, log.first_ms, deployed.changed, counts_only=True)
            replay.run(requests, progress)
        else:
            progress(len(requests))
        hits = Estimate(log.tally, log.sampled, replay.tally, rate).figure(
            lambda sums: sums.outcomes[Outcome.HIT_MEMORY.value]
        )
        if log.payloads:
            hits = Figure(hits.value + missing, hits.error)
        share = hits.over(look_ups)
        without = (hits_within(ascending, size * rate) / rate + missing) / look_ups if look_ups else 0.0
        found.append(Point(size, Figure(_share(1 - share.value), share.error), _share(1 - without)))
    return found[::-1]


def looked_up(base: Scenario, log: Log) -> Iterator[tuple[int, bytes, int, bool]]:
    """The look-ups of the sample as (environment, key, bytes held in memory, whether an answer made for it is kept)."""
    for request in log.in_time:
        key = base.key_of(request)
        if key is not None and request.outcome is not Outcome.BYPASS:
            size = log.experience.size_bytes(request) + SLOT_BYTES
            yield base.environment_of(request), key, size, request.kept


def _look_ups(log: Log, base: Scenario) -> float:
    """All look-ups of the log; of payloads, those that the sample stands for."""
    if not log.payloads:
        return log.tally.total(lambda sums: sums.requests - sums.outcomes[Outcome.BYPASS.value])
    taken = sum(_is_looked_up(base, request) for request in log.in_time)
    return log.requests * taken / max(1, len(log.in_time))


def _is_looked_up(base: Scenario, request: Request) -> bool:
    return base.key_of(request) is not None


def usual_sizes(base: Scenario, log: Log) -> list[int]:
    """Sizes in equal ratio, from a small part of all entries to more than all of them or the most there can be, the deployed size among them."""
    held: dict[bytes, int] = {key: size for _, key, size, _ in looked_up(base, log)}
    whole = sum(held.values()) / log.sample.rate
    deployed = base.settings.memory_bytes
    low, high = max(SMALLEST, min(whole / 64, deployed / 4)), max(SMALLEST * 4, whole * 1.25, deployed)
    high = min(high, MOST_MEMORY_BYTES)
    step = (high / low) ** (1 / (POINTS - 1))
    return sorted({*(_rounded(low * step**at) for at in range(POINTS)), deployed})


def _rounded(size: float) -> int:
    """To a whole number of 64 KiB."""
    return max(SMALLEST, round(size / SMALLEST) * SMALLEST)


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))
