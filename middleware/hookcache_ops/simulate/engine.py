"""
The replay: a log's requests, one after the other, through hookcache's own memory tier and judgement under other settings.

    time      request A       request B         request A ends
      ------------|---------------|--------------------|---------->
    A: memory, table, then a flight until its end      |  its answer is stored, in the table and in A's memory
    B, of the same key, meanwhile: joins the flight and ends with it

`hookcache.memory.MemoryTier` holds the copies and `hookcache.policy.judge` says what may be served; entries are stand-ins
with the sizes and times of real ones. What was a fact of the log stays one: a request without a key is bypassed, a call
that failed fails if it is made, an answer that was refused is refused, an order that invalidated an answer invalidates it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hookcache.clock import EpochMillis
from hookcache.entry import Entry, Fence
from hookcache.memory import SLOT_BYTES, MemoryTier
from hookcache.outcome import Outcome, Reason
from hookcache.policy import Fresh, Mode, Stale, judge
from hookcache_ops.simulate.environments import TOLERANCE_MS
from hookcache_ops.simulate.tally import Tally
from hookcache_ops.simulate.trace import FORGETS, GB_SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hookcache.key import CacheKey
    from hookcache.policy import Rules
    from hookcache_ops.simulate.experience import Experience
    from hookcache_ops.simulate.scenario import Scenario
    from hookcache_ops.simulate.trace import Request

RUNTIME_GIGABYTES = 0.18
"""What the function needs beside its memory tier: Python, its libraries and a few answers on their way."""

PROGRESS = 20_000


class ReplayClock:
    """Stands where the replay stands."""

    def __init__(self) -> None:
        self.ms = EpochMillis(0)

    def now_ms(self) -> EpochMillis:
        return self.ms

    def elapsed(self) -> float:
        return self.ms / 1000

    def sleep(self, seconds: float) -> None:
        self.ms = EpochMillis(self.ms + round(seconds * 1000))


class StandIn(Entry):
    """An entry whose body is not at hand: its size in memory and what its answer cost are."""

    __slots__ = ("size_bytes", "worth")
    size_bytes: int
    worth: float

    def __init__(self, key: CacheKey, created_ms: int, rules: Rules, size_bytes: int, worth: float) -> None:
        fresh_until_ms, hard_until_ms = (
            EpochMillis(created_ms + seconds * 1000) for seconds in (rules.fresh_seconds, rules.hard_seconds)
        )
        super().__init__(key, Fence(0), EpochMillis(created_ms), fresh_until_ms, hard_until_ms, b"", {}, "", "", {})
        object.__setattr__(self, "size_bytes", size_bytes)
        object.__setattr__(self, "worth", worth)

    def held_bytes(self) -> int:
        return self.size_bytes

    def quickened(self) -> Entry:
        return self


@dataclass(slots=True)
class Flight:
    """
    One fetch in progress: who waits for it, and the entry it will bring, None if it brings none that may be kept.

    `stores` is False where it had no lease: then it is good for those of its own environment who wait, and for no tier (P54).
    """

    key: CacheKey
    end_ms: int
    environment: int
    entry: StandIn | None
    fails: bool
    followers: list[int]
    stores: bool = True


class Replay:
    """
    One run of one scenario.

    Args:
        rate: of the sample; memory tiers are made as much smaller.
        first_ms: the beginning of the log: entries made earlier are in the table when the replay begins.
        as_expired: steps in which an answer that had expired in the log has expired in the replay.
        counts_only: leave money and time aside, which is faster.
    """

    def __init__(
        self,
        scenario: Scenario,
        experience: Experience,
        rate: float,
        first_ms: int,
        as_expired: frozenset[str] = frozenset(),
        *,
        counts_only: bool = False,
    ) -> None:
        self.tally = Tally()
        self.needed_bytes = 0
        """With tiers of so many bytes or more no copy would have made room for another."""
        self._scenario = scenario
        self._experience = experience
        self._bytes = max(1, round(scenario.settings.memory_bytes * rate))
        self._seconds = scenario.settings.memory_seconds
        self._first_ms = first_ms
        self._as_expired = as_expired
        self._counts_only = counts_only
        self._extra = extra_gigabytes(scenario.settings.memory_bytes, experience.gigabytes) * GB_SECOND / 1000
        self._clock = ReplayClock()
        self._tiers: dict[int, MemoryTier] = {}
        self._table: dict[CacheKey, StandIn] = {}
        self._flights: dict[CacheKey, Flight] = {}
        self._landing: list[tuple[int, int, Flight]] = []
        self._number = 0

    def run(self, requests: Iterable[Request], progress: Callable[[int], None] | None = None) -> Tally:
        """Replay `requests`, in the order of their starts; `progress` hears of each 20,000."""
        for number, request in enumerate(requests, 1):
            self._land(request.start_ms + TOLERANCE_MS)
            self._clock.ms = EpochMillis(request.start_ms)
            self._answer(request)
            if progress is not None and number % PROGRESS == 0:
                progress(PROGRESS)
        return self.tally

    def _answer(self, request: Request) -> None:
        key = self._scenario.key_of(request)
        mode = self._scenario.mode(request)
        rules = self._scenario.rules(request.context)
        if key is None or mode is Mode.OFF or request.outcome is Outcome.BYPASS or _samples(request, rules):
            failed = request.fails  # bypassed or not: a call that failed fails if it is made
            self._count(request, Outcome.FAILED if failed else Outcome.BYPASS, asked=request.asked or not failed)
            if key is not None and request.reason in _ALONE:
                self._take_off(request, key, self._entry(request, key, rules, request.start_ms), stores=False)
            return
        expired = request.reason == Reason.EXPIRED.value and request.context in self._as_expired
        if request.reason in FORGETS or expired:
            self._forget(key)
        stale = None
        if mode.looks_up and request.outcome is not Outcome.REFRESH:
            found, stale, from_memory = self._look_up(request, key, rules)
            if found is not None and mode.serves:
                outcome = Outcome.HIT_MEMORY if from_memory else Outcome.HIT_TABLE
                checked = request.checked
                self._count(request, outcome, asked=checked, worth=None if checked else found.worth)
                return
            if mode is Mode.ON and self._follow(request, key):
                return
        self._fetch(request, key, mode, rules, stale)

    def _look_up(self, request: Request, key: CacheKey, rules: Rules) -> tuple[StandIn | None, StandIn | None, bool]:
        """The entry that may be served, one that is stale, and whether memory held the first."""
        now, tier = self._clock.ms, self._tier(self._scenario.environment_of(request))
        copy = tier.get(key)
        if copy is not None:
            if isinstance(judge(copy, now), Fresh):
                return copy, None, True  # type: ignore[return-value]  # only stand-ins are ever put
            tier.drop(key)
        entry = self._table.get(key)
        seeded = entry is None and request.created_ms is not None and request.created_ms < self._first_ms
        if seeded:
            entry = self._table[key] = self._entry(request, key, rules, request.created_ms or 0)
        if entry is None:
            return None, None, False
        match judge(entry, now):
            case Fresh():
                self._put(tier, entry)
                return entry, None, seeded and request.outcome is Outcome.HIT_MEMORY
            case Stale():
                return None, entry, False
        return None, None, False

    def _follow(self, request: Request, key: CacheKey) -> bool:
        """Join a flight of this key, if there is one."""
        flight = self._flights.get(key)
        if flight is None or not (flight.stores or flight.environment == self._scenario.environment_of(request)):
            return False
        waited = float(flight.end_ms - request.start_ms)
        if request.outcome is Outcome.COLLAPSED and request.latency_ms is not None:
            waited = request.latency_ms
        if flight.fails:
            self._count(request, Outcome.FAILED, asked=False, latency_ms=waited)
        elif flight.entry is None:
            self._count(request, Outcome.BYPASS, asked=True)
        else:
            flight.followers.append(self._scenario.environment_of(request))
            self._count(request, Outcome.COLLAPSED, asked=False, latency_ms=waited, worth=flight.entry.worth)
        return True

    def _fetch(self, request: Request, key: CacheKey, mode: Mode, rules: Rules, stale: StandIn | None) -> None:
        if request.fails:
            outcome = Outcome.STALE if stale is not None and rules.stale_if_error else Outcome.FAILED
            self._count(request, outcome, asked=request.asked)
        else:
            outcome = Outcome.REFRESH if request.outcome is Outcome.REFRESH else Outcome.MISS
            self._count(request, Outcome.OBSERVE if mode is Mode.OBSERVE else outcome, asked=True)
        if mode is Mode.READ_ONLY:
            return
        keeps = request.kept and not request.fails
        self._take_off(request, key, self._entry(request, key, rules, request.start_ms) if keeps else None)

    def _take_off(self, request: Request, key: CacheKey, entry: StandIn | None, *, stores: bool = True) -> None:
        end_ms = request.start_ms + round(self._experience.fetch_ms(request) or 0)
        environment = self._scenario.environment_of(request)
        flight = Flight(key, end_ms, environment, entry, request.fails, [], stores)
        self._flights.setdefault(key, flight)
        self._number += 1
        heapq.heappush(self._landing, (end_ms, self._number, flight))

    def _land(self, until_ms: int) -> None:
        """End the flights that are over by then."""
        while self._landing and self._landing[0][0] <= until_ms:
            end_ms, _, flight = heapq.heappop(self._landing)
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]
            if flight.entry is None or not flight.stores:
                continue
            self._clock.ms = EpochMillis(end_ms)
            self._table[flight.key] = flight.entry
            for environment in dict.fromkeys([flight.environment, *flight.followers]):
                self._put(self._tier(environment), flight.entry)

    def _forget(self, key: CacheKey) -> None:
        self._table.pop(key, None)
        for tier in self._tiers.values():
            tier.drop(key)

    def _entry(self, request: Request, key: CacheKey, rules: Rules, created_ms: int) -> StandIn:
        return StandIn(key, created_ms, rules, self._experience.size_bytes(request), request.cost)

    def _tier(self, environment: int) -> MemoryTier:
        tier = self._tiers.get(environment)
        if tier is None:
            tier = self._tiers[environment] = MemoryTier(self._bytes, self._seconds, self._clock)
        return tier

    def _put(self, tier: MemoryTier, entry: StandIn) -> None:
        self.needed_bytes = max(self.needed_bytes, tier.held_bytes + entry.size_bytes + SLOT_BYTES)
        tier.put(entry)

    def _count(
        self,
        request: Request,
        outcome: Outcome,
        *,
        asked: bool,
        worth: float | None = None,
        latency_ms: float | None = None,
    ) -> None:
        if self._counts_only:
            self.tally.groups[request.group].outcomes[outcome] += 1
            return
        if latency_ms is None:
            latency_ms = self._experience.latency_ms(request, outcome)
        own = self._experience.own_cost(request, outcome) + self._extra * (latency_ms or 0.0)
        cost = request.cost if worth is None else worth
        self.tally.add(request.group, outcome, asked=asked, cost=cost, own=own, latency_ms=latency_ms)


_ALONE = frozenset({Reason.TABLE_DOWN.value, Reason.UNLEASED.value})
"""Bypassed for want of a lease: the fetch is a flight all the same, of its own environment."""


def _samples(request: Request, rules: Rules) -> bool:
    """Is it bypassed as a sampling request under these rules (P16)? Only payload logs say what was asked for."""
    temperature, ceiling = request.temperature, rules.temperature_ceiling
    if temperature is None or ceiling is None:
        return False
    return not 0 <= temperature <= ceiling


def extra_gigabytes(memory_bytes: int, function_gigabytes: float) -> float:
    """By how much the function must grow for a tier of so many bytes; 0 where its size is not known."""
    if not function_gigabytes:
        return 0.0
    return max(0.0, memory_bytes / 1024**3 + RUNTIME_GIGABYTES - function_gigabytes)
