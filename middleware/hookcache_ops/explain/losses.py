"""
What each receipt of a log lost, and to what: every answer of the backend is laid to one cause, or was needed. Calls that
failed, and those that checked a hit, count as calls and are no loss.

    key never seen before   near miss of an earlier request (`near.py`), else first sight: that call was needed
    key seen before         expired, refused the last time, or whatever reason the receipt gives
    bypass                  by its reason; whether it would have hit nobody knows, so its amount is "at most"
    table hit               memory tier, if the same key was answered within the memory's seconds: in this environment,
                            then the tier was too small; in another one; or, where receipts do not name theirs, who knows

A near miss may have several candidates; which of them explains it is judged when all is read, so each has a tally.
Bounded: tallies by cause, step and place; what was seen before in `Recent` stores.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hookcache_ops.explain.near import Candidate, NearMisses, Seen
from hookcache_ops.explain.recent import Distinct, Recent, Sample
from hookcache_ops.explain.traced import Trace
from hookcache_ops.receipts import HITS, MOST

if TYPE_CHECKING:
    from hookcache_ops.receipts import Receipt

KEYS = 300_000
EXAMPLES = 3
PAIRS = 50
HOLDERS = 8
"""Environments of which it is remembered that they took a copy of a key: the latest."""
ASKED = frozenset({"miss", "refresh", "observe", "stale"})
STORES = ASKED - {"stale"}
"""These keep their answer, unless it was refused."""
UNCOPIED = frozenset({"hit_memory", "stale"})
"""The one does not prolong its copy's life, the other takes none."""
READ_ONLY = "read_only"
"""A mode that keeps no answer; its receipts bear no refusal."""
ABSENT = ("absent", "")
UNTOLD = (*ABSENT, "not_looked_up", "throttled")
"""Reasons of a miss that do not say that there ever was an answer. No sets: a member of an odd line may be an object."""
CHOSEN = frozenset({"mode_off", "requested"})
"""Bypasses that somebody asked for."""
AGELESS = 1e10
"""Seconds, some three centuries: no answer is that old."""
FORGOTTEN_MS = 3_600_000
"""DynamoDB may drop an item this long after its hard end: an answer kept before and absent now has expired (or left early)."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a tally is of."""

    what: str
    step: str
    detail: str = ""


@dataclass(slots=True)
class Tally:
    """Calls laid to one place, what they cost, and enough to tell their pattern."""

    calls: int = 0
    cost: float = 0.0
    own_cost: float = 0.0
    milliseconds: float = 0.0
    unpriced: int = 0
    first_ms: int = 0
    last_ms: int = 0
    values: Distinct = field(default_factory=Distinct)
    groups: Distinct = field(default_factory=Distinct)
    gaps_ms: Sample[tuple[int, int]] = field(default_factory=Sample)
    functions: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[tuple[str, str]] = field(default_factory=list)

    def add(
        self, receipt: Receipt, earlier: Seen | None = None, value: int = 0, rest: int = 0, *, by_age: bool = False
    ) -> None:
        """`by_age`: the gap is the age of the earlier answer, and not the time since it was last used."""
        self.calls += 1
        self.cost += receipt.metrics.get("Cost", 0)
        self.own_cost += receipt.metrics.get("OwnCost", 0)
        self.milliseconds += receipt.metrics.get("Latency", 0)
        self.unpriced += bool(receipt.members.get("unpriced_units"))
        self.first_ms = min(self.first_ms or receipt.time_ms, receipt.time_ms)
        self.last_ms = max(self.last_ms, receipt.time_ms)
        if earlier is None:
            return
        self.values.add(value)
        self.groups.add(rest)
        since_ms = earlier.born_ms if by_age else earlier.last_ms
        if since_ms is not None:
            self.gaps_ms.add((since_ms, receipt.time_ms))
        pair = (earlier.function, receipt.function)
        if pair in self.functions or len(self.functions) < PAIRS:
            self.functions[pair] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append((earlier.request_id, receipt.request_id))

    @property
    def cost_unknown(self) -> bool:
        """No unit of these calls has a price: what they cost is not 0, nobody knows it (P55)."""
        return bool(self.unpriced) and not self.cost

    def merge(self, other: Tally) -> None:
        self.first_ms = min(filter(None, (self.first_ms, other.first_ms)), default=0)
        self.last_ms = max(self.last_ms, other.last_ms)
        for name in ("calls", "cost", "own_cost", "milliseconds", "unpriced"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.values.merge(other.values)
        self.groups.merge(other.groups)
        self.gaps_ms.merge(other.gaps_ms)
        self.functions.update(other.functions)
        self.examples = [*self.examples, *other.examples][:EXAMPLES]


class Losses:
    """
    Adds receipts up by cause, in the order of the log.

    Args:
        memory_seconds: how long the memory tier keeps a copy; a table hit that soon after the last one is its loss.
    """

    def __init__(self, memory_seconds: float = 300.0) -> None:
        self._memory_ms = memory_seconds * 1000
        self._keys: Recent[Seen] = Recent(KEYS)
        self.near = NearMisses()
        self.tallies: dict[Place, Tally] = {}
        self.near_tallies: dict[tuple[str, tuple[Candidate, ...]], list[Tally]] = {}
        self.outcomes: Counter[str] = Counter()
        self.asked = Tally()
        self.first_sights = Tally()
        self.memory_hits = Tally()
        self.untraced = 0
        self._window = 0
        self._window_bytes = 0
        self.working_set_bytes = 0

    def add(self, receipt: Receipt) -> None:
        self.outcomes[receipt.outcome] += 1
        key = _key(receipt.members.get("key_id"))
        seen = None if key is None else self._keys.get(key)
        if receipt.outcome == "bypass":
            self._add_bypass(receipt)
        elif receipt.outcome in ASKED:
            self._add_call(receipt, seen)
        elif receipt.metrics.get("BackendLatency", 0) > 0:
            self.asked.add(receipt)  # in vain, or to check a hit: a call all the same
        elif receipt.outcome == "hit_memory":
            self.memory_hits.add(receipt)
        elif receipt.outcome == "hit_table":
            self._add_table_hit(receipt, seen)
        if key is not None and receipt.outcome != "failed":  # which left no answer, and took none away
            self._remember(key, receipt, seen)

    def _add_bypass(self, receipt: Receipt) -> None:
        self.asked.add(receipt)
        reason = str(receipt.members.get("reason") or "")
        if reason in CHOSEN:
            return
        components = receipt.members.get("components")
        if reason == "sampling" and isinstance(components, dict) and isinstance(components.get("numbers"), dict):
            reason = "sampling:present" if "temperature" in components["numbers"] else "sampling:absent"
        self._tally("bypass", receipt.step, reason).add(receipt, Seen(receipt.time_ms, "", ""))

    def _add_call(self, receipt: Receipt, seen: Seen | None) -> None:
        self.asked.add(receipt)
        reason = str(receipt.members.get("reason") or "")
        if reason == "would_hit":
            return
        if reason not in (UNTOLD if seen is None else ABSENT):
            expired = reason == "expired"
            self._tally("freshness" if expired else "reason", receipt.step, "" if expired else reason).add(
                receipt, seen, by_age=expired
            )
        elif seen is not None and _began_ms(receipt) < seen.first_ms:
            self.first_sights.add(receipt)  # whoever was answered sooner was answered by another fetch, or by this one
        elif seen is not None:
            self._add_return(receipt, seen)

    def _add_return(self, receipt: Receipt, seen: Seen) -> None:
        """A key that was seen before and is absent now."""
        if seen.refusal:
            self._tally("refused", receipt.step, seen.refusal).add(receipt, seen)
        elif seen.kept and receipt.time_ms - seen.last_ms > FORGOTTEN_MS:
            self._tally("freshness", receipt.step).add(receipt, seen, by_age=True)
        else:
            self._tally("reason", receipt.step, "absent").add(receipt, seen)

    def _add_table_hit(self, receipt: Receipt, seen: Seen | None) -> None:
        if seen is None or not seen.kept:
            return
        own = _environment(receipt)
        holders = {name for name, at in seen.puts if 0 <= receipt.time_ms - at < self._memory_ms}
        if not holders:
            return
        named = "" not in holders and bool(own)
        self._tally("memory", "", ("memory" if own in holders else "environments") if named else "").add(receipt, seen)

    def _remember(self, key: int, receipt: Receipt, seen: Seen | None) -> None:
        outcome, refusal = receipt.outcome, _refusal(receipt)
        if seen is None:
            seen = Seen(receipt.time_ms, receipt.request_id, receipt.function)
            self._meet(receipt, seen)
            self._keys.put(key, seen)
        seen.first_ms = min(seen.first_ms or receipt.time_ms, receipt.time_ms)
        if outcome == "bypass":
            return  # it left no answer, and what was there stays
        seen.last_ms, seen.request_id = max(seen.last_ms, receipt.time_ms), receipt.request_id
        born_ms = _born_ms(receipt)
        if born_ms is not None:
            seen.born_ms = max(seen.born_ms or born_ms, born_ms)
        seen.kept = outcome in HITS or (outcome in ASKED and not refusal)
        if seen.kept and outcome not in UNCOPIED:
            own = _environment(receipt)
            others = [put for put in seen.puts if put[0] != own]
            seen.puts = (*others[1 - HOLDERS :], (own, receipt.time_ms))
        seen.refusal = refusal
        window = receipt.time_ms // int(self._memory_ms or 1)
        if window != self._window:
            self._window, self._window_bytes = window, 0
        if seen.kept and seen.window != window:
            seen.window = window
            self._window_bytes += _entry_bytes(receipt)
            self.working_set_bytes = max(self.working_set_bytes, self._window_bytes)

    def _meet(self, receipt: Receipt, seen: Seen) -> None:
        """The first receipt of a key: is it a near miss?"""
        trace = Trace.of(receipt.members.get("components"))
        absent = receipt.outcome in ASKED and receipt.members.get("reason") in UNTOLD
        if trace is None:
            self.untraced += absent
            if absent:
                self.first_sights.add(receipt)
            return
        found = self.near.meet(receipt.step, trace, seen, look=absent)
        if not absent:
            return
        if not found:
            self.first_sights.add(receipt)
            return
        place = (receipt.step, tuple(each.candidate for each in found))
        tallies = self.near_tallies.setdefault(place, [Tally() for _ in found])
        for tally, each in zip(tallies, found, strict=True):
            tally.add(receipt, each.earlier, each.value, each.rest)

    def _tally(self, what: str, step: str, detail: str = "") -> Tally:
        place = Place(what, step, detail)
        tally = self.tallies.get(place)
        if tally is None:
            tally = self.tallies[place] = Tally()
        return tally


def _began_ms(receipt: Receipt) -> float:
    return receipt.time_ms - receipt.metrics.get("Latency", 0)


def _born_ms(receipt: Receipt) -> int | None:
    """When the answer that is kept now was made, from which its freshness counts; None where the receipt does not tell."""
    age = receipt.members.get("age_seconds")
    if isinstance(age, int | float) and 0 <= age < AGELESS:
        return round(receipt.time_ms - age * 1000)
    return round(_began_ms(receipt)) if receipt.outcome in STORES and not _refusal(receipt) else None


def _entry_bytes(receipt: Receipt) -> int:
    """The size of the kept answer; 0 where the member is no number of bytes."""
    size = receipt.members.get("entry_bytes")
    return int(size) if isinstance(size, int | float) and 0 <= size < MOST else 0


def _refusal(receipt: Receipt) -> str:
    """Why its answer was not kept: the mode says so where nothing else does."""
    told = str(receipt.members.get("refusal") or "")
    unkept = receipt.outcome in ASKED and receipt.members.get("mode") == READ_ONLY
    return told or (READ_ONLY if unkept else "")


def _environment(receipt: Receipt) -> str:
    """The word that the receipt has for its environment; empty where an earlier version wrote it."""
    return sys.intern(str(receipt.members.get("environment") or ""))


def _key(key_id: object) -> int | None:
    try:
        return int(str(key_id), 16) if key_id else None
    except ValueError:
        return None
