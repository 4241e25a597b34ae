"""
The lease: one small item per key that says who fetches, until when, and under which fence (docs/protocol.md).

    absent, ended, released ──acquire──> HELD ──renew──> HELD ──release──> DONE | FAILED | REFUSED | FREE
    any ──erase──> ERASED

A lease bounds waiting; it is not what keeps answers right. Fences keep late writers out (P25), and tags keep foreign
bodies out (P6). With clocks further apart than `SKEW` there are extra backend calls, never a wrong answer.

Decisions are pure functions of the item read (`after_conflict`, `observed`): the model checker runs these very functions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from enum import Enum, StrEnum

from hookcache.clock import Clock, EpochMillis
from hookcache.entry import Fence, Item
from hookcache.errors import TierUnavailable
from hookcache.hints import Any, NewType
from hookcache.items import Conflict, Items, Throttled
from hookcache.key import CacheKey
from hookcache.value import replace, value

OwnerId = NewType("OwnerId", str)

SKEW_MS = 2_000
REFUSAL_SECONDS = 60
UNKEPT = "UNKEPT"
"""Note of a leader that could not store its answer for the moment. If the next one cannot either, it is more than a moment."""
NEGATIVE_SECONDS = 60
TOMBSTONE_SECONDS = 24 * 3_600
KIND = "LEASE"
MOST_FENCE = 10**18
"""No clock gives a fence of so many milliseconds; one above it may not fit into a number of DynamoDB's, which has 38 digits."""

_NAMES = {
    "#state": "state",
    "#owner": "owner",
    "#fence": "fence",
    "#end": "end_ms",
    "#ttl": "ttl",
}


class State(StrEnum):
    """What became of the fetch under a lease."""

    HELD = "HELD"
    DONE = "DONE"
    FAILED = "FAILED"
    REFUSED = "REFUSED"
    FREE = "FREE"
    ERASED = "ERASED"


@value
class LeaseItem:
    """
    The item as read.

    `note` is an error type under FAILED, `REFUSED` after a refusal and `UNKEPT` after a failed store, `note_ms` when it was made; `beat_ms` is when the
    holder last said that it lives, by the holder's clock.
    """

    state: State
    owner: str
    fence: Fence
    end_ms: EpochMillis
    note: str = ""
    note_ms: EpochMillis = EpochMillis(0)
    beat_ms: EpochMillis = EpochMillis(0)

    @classmethod
    def decode(cls, item: Item) -> LeaseItem:
        """
        Raises:
            TierUnavailable: the item is not one of ours.
        """
        try:
            return cls(
                State(item["state"]["S"]),
                item.get("owner", {}).get("S", ""),
                _fence_in(item),
                EpochMillis(int(item["end_ms"]["N"])),
                item.get("note", {}).get("S", ""),
                _noted_ms(item),
                EpochMillis(int(item.get("beat_ms", {}).get("N", "0"))),
            )
        except (KeyError, ValueError, TypeError, AttributeError):
            raise TierUnavailable("a lease item is malformed", transient=False) from None

    def is_held(self, now: EpochMillis, skew_ms: int = SKEW_MS) -> bool:
        """
        True while nobody else may take it: held, and not ended beyond what clocks may differ.

        A beat from further in the future than that was made by a wrong clock, and so was the end: such a holder that
        dies would block the key for as long as its clock was ahead.
        """
        return self.state is State.HELD and self.end_ms >= now - skew_ms and self.beat_ms <= now + skew_ms

    def refused_lately(self, now: EpochMillis) -> bool:
        return self.note == State.REFUSED and self.noted_within(REFUSAL_SECONDS, now)

    def unkept_lately(self, now: EpochMillis) -> bool:
        return self.note in {UNKEPT, State.REFUSED} and self.noted_within(REFUSAL_SECONDS, now)

    def noted_within(self, seconds: int, now: EpochMillis) -> bool:
        """A note from the future was made by a wrong clock: it would hold for as long as that clock was ahead."""
        return -SKEW_MS <= now - self.note_ms < seconds * 1000


@value
class Lease:
    """
    The right to fetch `key`: `fence` is larger than that of every earlier holder and erase.

    `refused_lately` is true in the minute after an answer was refused, when nobody waits for this key (P48);
    `unkept_lately` also in the minute after one could not be stored.
    """

    key: CacheKey
    owner: OwnerId
    fence: Fence
    end_ms: EpochMillis
    refused_lately: bool = False
    unkept_lately: bool = False


@value
class Held:
    """Somebody else fetches."""

    item: LeaseItem


@value
class Negative:
    """The backend failed a moment ago with an error of the operator's list: it is not asked again yet (P17)."""

    error_type: str


@value
class TryAbove:
    """The lease is free but its fence is not below ours: our clock is behind. Once more, above the fence seen."""

    seen: Fence


class Sight(Enum):
    """What a follower does about the lease it sees (docs/protocol.md, "What a follower does")."""

    WAIT = "wait"
    LOOK = "look"
    SHARE = "share"
    ACQUIRE = "acquire"
    ALONE = "alone"


def after_conflict(
    old: LeaseItem | None, owner: OwnerId, now: EpochMillis, negative: Collection[str] = (), skew_ms: int = SKEW_MS
) -> Lease | Held | Negative | TryAbove | None:
    """
    What a refused acquire means, from the item that stood in its way; None if that item has gone meanwhile.

    A `Lease` is returned without its key, for the caller to fill in: our own write had arrived, its reply was lost (F8).
    """
    if old is None:
        return None
    if old.state is State.HELD and old.owner == owner:
        return Lease(CacheKey(b""), owner, old.fence, old.end_ms, old.refused_lately(now), old.unkept_lately(now))
    if old.is_held(now, skew_ms):
        return Held(old)
    if old.state is State.FAILED and old.note in negative and old.noted_within(NEGATIVE_SECONDS, now):
        return Negative(old.note)
    return TryAbove(old.fence)


def observed(item: LeaseItem | None, now: EpochMillis, skew_ms: int = SKEW_MS, *, since: Fence = Fence(0)) -> Sight:
    """
    What a follower, who saw the lease held under the fence `since`, does about what it sees now.

    Polls are eventual reads and may show an item older than the one that made this caller wait: such a sight is no news.
    What remains came after the follower began to wait, so that a failure seen here is shared (P17).
    """
    if item is None:
        return Sight.ACQUIRE
    if item.fence < since:
        return Sight.WAIT
    match item.state:
        case State.HELD if item.is_held(now, skew_ms):
            return Sight.ALONE if item.refused_lately(now) else Sight.WAIT
        case State.DONE:
            return Sight.LOOK
        case State.FAILED:
            return Sight.SHARE
        case State.REFUSED:
            return Sight.ALONE
        case _:
            return Sight.ACQUIRE


class LeaseBook:
    """
    The lease items of one table.

    Args:
        lease_seconds: how long a lease holds without a renewal; always an absolute end in wall time.
        skew_ms: how far apart the clocks of two environments may be.
    """

    def __init__(self, items: Items, clock: Clock, lease_seconds: float, skew_ms: int = SKEW_MS) -> None:
        self._items = items
        self._clock = clock
        self._lease_ms = int(lease_seconds * 1000)
        self.skew_ms = skew_ms

    @property
    def beat_seconds(self) -> float:
        """How often a holder renews: three times a lease, so that two lost renewals do not lose it."""
        return self._lease_ms / 3000

    def acquire(self, key: CacheKey, owner: OwnerId, negative: Collection[str] = ()) -> Lease | Held | Negative:
        """
        Take the right to fetch `key`, or learn who holds it: one conditional write, no read before it.

            acquire ........ renew ........ renew ........ end
            |<------- held: others get Held ------------->|<-- takeable, with a larger fence -->

        Args:
            owner: request id, "/" and a random part, so that a repeated write recognises itself.
            negative: error types that are not to be repeated for a minute (P17).

        Raises:
            TierUnavailable: no usable reply; the caller then fetches without a lease (P54).

        Promises: P23, P25. Source: DynamoDB Developer Guide, "Condition expressions", and
        "ReturnValuesOnConditionCheckFailure" of UpdateItem.
        """
        seen: Fence | None = None
        damaged: Item | None = None
        for _ in range(3):
            now = self._clock.now_ms()
            if damaged is None:
                tried = self._try(key, owner, now, seen, negative)
            else:
                tried = self._replace(key, owner, now, damaged)
            if isinstance(tried, Lease):
                return tried
            found = tried.old if tried.old is not None else self._items.get(key, KIND, consistent=True)
            try:
                old = None if found is None else LeaseItem.decode(found)
            except TierUnavailable:
                damaged = found
                continue
            damaged = None
            match after_conflict(old, owner, now, negative, self.skew_ms):
                case Lease() as ours:
                    return replace(ours, key=key)
                case TryAbove(fence):
                    seen = fence
                case None:
                    seen = None
                case other:
                    return other
        raise Throttled("a lease changed hands at every try")

    def read(self, key: CacheKey, *, consistent: bool = False) -> LeaseItem | None:
        """The LEASE item of a key, or None. Raises `TierUnavailable`, for a damaged one as well."""
        item = self._items.get(key, KIND, consistent=consistent)
        return None if item is None else LeaseItem.decode(item)

    def renew(self, lease: Lease) -> bool:
        """Put the end off by a lease's length. False if the lease is no longer ours."""
        now = self._clock.now_ms()
        end = now + self._lease_ms
        done = self._items.update(
            lease.key,
            KIND,
            "SET #end = :end, beat_ms = :now, #ttl = :ttl",
            _OURS,
            _ours(lease) | {":end": _n(end), ":now": _n(now), ":ttl": _n(end // 1000 + TOMBSTONE_SECONDS)},
            _NAMES,
        )
        return done is None

    def release(self, lease: Lease, state: State, note: str = "") -> bool:
        """End the lease in `state`; the item and its fence stay. False if it is no longer ours (P25)."""
        change = "SET #state = :state, #ttl = :ttl"
        now = self._clock.now_ms()
        values = _ours(lease) | {":state": {"S": state}, ":ttl": _n(now // 1000 + TOMBSTONE_SECONDS)}
        if note:
            change += ", note = :note, note_ms = :now"
            values |= {":note": {"S": note}, ":now": _n(now)}
        elif state is State.DONE:
            change += " REMOVE note, note_ms"
        done = self._items.update(lease.key, KIND, change, _OURS, values, _NAMES_AT_RELEASE)
        if done is None:
            return True
        # Our own release, if its first reply was lost: nobody else ends a lease in a state and leaves its owner's name.
        old = LeaseItem.decode(done.old) if done.old is not None else self.read(lease.key, consistent=True)
        return old is not None and (old.state, old.owner, old.fence) == (state, lease.owner, lease.fence)

    def fence_off(self, key: CacheKey, above: Fence = Fence(0)) -> Fence:
        """
        Take the lease from whoever holds it, for an erase: no fetch begun before this can store (P13).

        Returns:
            The fence that a tombstone must bear; larger than every fence given out before, and than `above`.
        """
        fence = Fence(max(self._clock.now_ms(), above + 1))
        for _ in range(5):
            now = self._clock.now_ms()
            done = self._items.update(
                key,
                KIND,
                "SET #state = :erased, #fence = :fence, #end = :now, #ttl = :ttl REMOVE #owner, beat_ms, note, note_ms",
                "attribute_not_exists(pk) OR #fence < :fence",
                {
                    ":erased": {"S": State.ERASED},
                    ":fence": _n(fence),
                    ":now": _n(now),
                    ":ttl": _n(now // 1000 + TOMBSTONE_SECONDS),
                },
                _NAMES,
            )
            if done is None:
                return fence
            old = LeaseItem.decode(done.old) if done.old is not None else self.read(key, consistent=True)
            fence = Fence(max(fence, old.fence + 1 if old else 0))
        raise TierUnavailable("a lease moved at every try to fence it; run the erase again")

    def _try(
        self, key: CacheKey, owner: OwnerId, now: EpochMillis, seen: Fence | None, negative: Collection[str]
    ) -> Lease | Conflict:
        fence = Fence(now if seen is None else seen + 1)
        end = EpochMillis(now + self._lease_ms)
        not_held = "(#state <> :held OR #end < :ended OR beat_ms > :ahead)"
        values = {
            ":held": {"S": State.HELD},
            ":me": {"S": owner},
            ":new": _n(fence),
            ":end": _n(end),
            ":ended": _n(now - self.skew_ms),
            ":ahead": _n(now + self.skew_ms),
            ":now": _n(now),
            ":ttl": _n(end // 1000 + TOMBSTONE_SECONDS),
        }
        if seen is None:
            condition = f"attribute_not_exists(pk) OR (#fence < :new AND {not_held})"
        else:
            condition = f"#fence = :seen AND {not_held}"
            values[":seen"] = _n(seen)
        if negative:
            listed = {f":negative{number}": {"S": error_type} for number, error_type in enumerate(sorted(negative))}
            values |= listed | {":failed": {"S": State.FAILED}, ":lately": _n(now - NEGATIVE_SECONDS * 1000)}
            forgiven = f"NOT (#state = :failed AND note_ms > :lately AND note IN ({', '.join(listed)}))"
            condition = f"({condition}) AND (attribute_not_exists(note) OR note_ms > :ahead OR {forgiven})"
        done = self._items.exchange(key, KIND, _TAKE, condition, values, _NAMES)
        if isinstance(done, Conflict):
            return done
        return Lease(key, owner, fence, end, *(_lately(done, now) if done else ()))

    def _replace(self, key: CacheKey, owner: OwnerId, now: EpochMillis, damaged: Item) -> Lease | Conflict:
        """Take a lease that nobody of ours wrote, while it is as it was read: no other condition need ever hold for it."""
        fence, end = Fence(now), EpochMillis(now + self._lease_ms)
        with contextlib.suppress(KeyError, ValueError, TypeError):
            fence = Fence(max(now, _fence_in(damaged) + 1))
        values: dict[str, Any] = {":held": {"S": State.HELD}, ":me": {"S": owner}, ":new": _n(fence), ":end": _n(end)}
        values |= {":now": _n(now), ":ttl": _n(end // 1000 + TOMBSTONE_SECONDS)}
        values |= {f":was_{name}": damaged[name] for name in _READ.values() if name in damaged}
        same = [
            f"{alias} = :was_{name}" if name in damaged else f"attribute_not_exists({alias})"
            for alias, name in _READ.items()
        ]
        change = f"{_TAKE} REMOVE note, note_ms"
        done = self._items.exchange(key, KIND, change, " AND ".join(same), values, _NAMES)
        return done if isinstance(done, Conflict) else Lease(key, owner, fence, end)


_TAKE = "SET #state = :held, #owner = :me, #fence = :new, #end = :end, beat_ms = :now, #ttl = :ttl"
_NAMES_AT_RELEASE = {name: told for name, told in _NAMES.items() if name != "#end"}
_READ = {"#state": "state", "#fence": "fence", "#end": "end_ms", "beat_ms": "beat_ms"}
"""What may keep a lease item from being read: one in which none of these changed is as damaged as before."""
_OURS = "#owner = :me AND #fence = :mine AND #state = :held"


def _lately(taken_over: Item, now: EpochMillis) -> tuple[bool, bool]:
    """What the lease just taken over remembers: a refusal, a failed store. We hold it whatever that item was like before."""
    try:
        before = LeaseItem.decode(taken_over)
    except TierUnavailable:
        return False, False
    return before.refused_lately(now), before.unkept_lately(now)


def _fence_in(item: Item) -> Fence:
    fence = int(item["fence"]["N"])
    if fence >= MOST_FENCE:
        raise ValueError
    return Fence(fence)


def _noted_ms(item: Item) -> EpochMillis:
    """Long ago where it cannot be read: who takes the lease over leaves its note, and must not look damaged while it is held."""
    try:
        return EpochMillis(int(item["note_ms"]["N"]))
    except (KeyError, ValueError, TypeError):
        return EpochMillis(0)


def _ours(lease: Lease) -> dict[str, dict[str, str]]:
    return {":me": {"S": lease.owner}, ":mine": _n(lease.fence), ":held": {"S": State.HELD}}


def _n(number: int) -> dict[str, str]:
    return {"N": str(number)}
