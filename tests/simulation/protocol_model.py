"""
The steps of the lease protocol: 3 callers in 3 environments, one key, a number of faults. `protocol_walk.py` walks them all.

What decides is the product's own code: `LeaseBook` and `TableTier` run here, over a double of the table that obeys their
real condition expressions, and `observed` tells followers what to do. Only the order of steps around them is the
model's, and it is that of `hook.py` and `flight.py`.

    caller    look -> acquire -> second look -> call ... beats ... -> put -> release -> over
                         \\-> poll ... -> look | share | alone | acquire
    eraser    fence off -> tombstone -> done
    tick      a third of a lease; only when nobody who is awake has something to do at once

One table operation is one step. A product function that needs several is run again from its beginning with the replies
and clock readings that it has had, and stops before the operation after the next (`_Replay`); so a state holds nothing
but values, and two ways into the same state are explored once.

Faults, each counted: crash, pause (of any length), a reply lost once or for good, a missed beat, an old poll, a clock
within or beyond `SKEW`, an erase.

What reads and writes nothing that others see is no step of its own, but the beginning of the step behind it: to get the
backend's reply, to wake up, to be told to erase. A pause begins where time passes, for without time it is no pause. So
fewer worlds are different, and none is left out (docs/protocol.md, "Proof").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from hookcache.clock import EpochMillis
from hookcache.entry import Entry, Fence
from hookcache.errors import TierUnavailable
from hookcache.items import Conflict
from hookcache.key import CacheKey, Secrets
from hookcache.lease import KIND, SKEW_MS, Held, Lease, LeaseBook, LeaseItem, OwnerId, Sight, State, observed
from hookcache.sealer import Sealer, Tombstone
from hookcache.table import NEWER_FENCE_ONLY, Found, TableTier
from simulation.items_double import Item, MemoryItems

KEY = CacheKey(b"k" * 32)
LEASE_MS, WAIT_MS = 30_000, 45_000
TICK_MS = LEASE_MS // 2
CALL_TICKS = 3  # longer than a lease
LAST_TICK = 40
SLEEP_TICKS = 4  # two leases: until then those that sleep may sleep on when nobody else has anything to do
WITHIN_MS, BEYOND_MS = SKEW_MS // 2, 60_000
START_MS = 1_000_000

ItemId = int
"""Number of an item as it stood in the table; 0 is none. States hold numbers, for they are hashed all the time."""


class Violation(AssertionError):
    """A promise that a state or step breaks."""


class Caller(NamedTuple):
    """One invocation in an environment of its own. `log` holds the replies of the product function in progress."""

    doing: str = "start"
    log: tuple[Any, ...] = ()
    awake: bool = True
    offset: int = 0
    fence: int = 0
    since: int = 0
    give_up: int = 0
    called: int = 0
    beaten: int = 0
    up_to_date: bool = False
    deceived: bool = False
    may_share: bool = False
    kept_before: bool = False
    early: bool = False

    @property
    def is_about_the_entry(self) -> bool:
        """Whether what it does concerns the entry; else it concerns the lease. No step concerns both."""
        return self.doing.startswith(("start", "look", "put"))


class World(NamedTuple):
    """A state. `excused` is set once a fault happened that may cost a second call."""

    now: int
    lease: ItemId
    lease_before: ItemId
    entry: ItemId
    callers: tuple[Caller, ...]
    eraser: str
    eraser_log: tuple[Any, ...]
    eraser_fence: int
    faults: int
    excused: bool


class _Known:
    """Every item that was ever seen, by number."""

    def __init__(self) -> None:
        self._items: list[Item | None] = [None]
        self._numbers: dict[Any, ItemId] = {}
        self._same: dict[int, ItemId] = {}  # by identity: items that are held here live as long as this does

    def number(self, item: Item | None) -> ItemId:
        if item is None:
            return 0
        if id(item) in self._same:
            return self._same[id(item)]
        frozen = tuple((name, *next(iter(item[name].items()))) for name in sorted(item))
        if frozen not in self._numbers:
            self._numbers[frozen] = self._same[id(item)] = len(self._items)
            self._items.append(item)
        return self._numbers[frozen]

    def item(self, number: ItemId) -> Item | None:
        return self._items[number]


KNOWN = _Known()


class _Suspended(Exception):
    """The product function wants another operation or clock reading: that is the next step."""


class _Replay:
    """Items and clock for one product function: what was told before is told again, then one new operation is made."""

    def __init__(self, log: tuple[Any, ...], table: MemoryItems, now: int, kind: str = "") -> None:
        self.log = list(log)
        self._told = 0
        self._table = table
        self._now = now
        self._kind = kind
        self._done = False
        self.lose = ""

    def now_ms(self) -> int:
        return self._recorded(lambda: self._now)

    def get(self, key: bytes, kind: str, **named: Any) -> Any:
        return self._operation(kind, lambda: self._table.get(key, kind, **named))

    def put(self, item: Item, *told: Any) -> Any:
        return self._operation(item["kind"]["S"], lambda: self._table.put(item, *told))

    def update(self, key: bytes, kind: str, *told: Any) -> Any:
        return self._operation(kind, lambda: self._table.update(key, kind, *told))

    def exchange(self, key: bytes, kind: str, *told: Any) -> Any:
        return self._operation(kind, lambda: self._table.exchange(key, kind, *told))

    def _recorded(self, new: Callable[[], Any]) -> Any:
        if self._told == len(self.log):
            if self._done:
                raise _Suspended
            self.log.append(new())
        self._told += 1
        return self.log[self._told - 1]

    def _operation(self, kind: str, operation: Callable[[], Any]) -> Any:
        assert self._kind in {"", kind}, "the model took this step for one that concerns the other item only"
        if self._told < len(self.log):
            return _reply(self._recorded(lambda: None))
        if self._done:
            raise _Suspended
        reply = operation()
        self._done = True
        if self.lose == "once":
            raise _Suspended  # nothing is recorded: the same operation, with the same values, is the next step
        if self.lose == "for good":
            raise TierUnavailable("no reply")
        if isinstance(reply, Conflict):
            self.log.append(("conflict", KNOWN.number(reply.old)))
        else:
            self.log.append(("item", KNOWN.number(reply)))
        self._told += 1
        return reply


def _reply(recorded: tuple[str, ItemId]) -> Any:
    how, frozen = recorded
    return Conflict(KNOWN.item(frozen)) if how == "conflict" else KNOWN.item(frozen)


class _QuickSealer(Sealer):
    """The product's sealer, asked once for each entry: whatever bears the same tag is the same item."""

    def __init__(self) -> None:
        super().__init__(Secrets.derive(b"a secret for the model").tags, "model")
        self._opened: dict[bytes, Entry | Tombstone] = {}
        self.seal = cache(super().seal)  # type: ignore[method-assign]
        self.tombstone = cache(super().tombstone)  # type: ignore[method-assign]

    def open(self, key: CacheKey, item: Item, fetch_overflow: Any) -> Entry | Tombstone:
        tag = item["tag"]["B"]
        if tag not in self._opened:
            self._opened[tag] = super().open(key, item, fetch_overflow)
        return self._opened[tag]


class Stored(NamedTuple):
    """An entry as the model makes it: hashable, so that it is sealed once."""

    key: CacheKey
    fence: Fence
    body: bytes
    created_ms: int = START_MS
    fresh_until_ms: int = START_MS * 10
    hard_until_ms: int = START_MS * 10
    usage: Any = ()
    context: str = "OCR"
    backend_version: str = ""
    cost: Any = ()
    origin: Any = ()


SEALER = _QuickSealer()


class Protocol:
    """
    The protocol as it is. A negative control overrides one of its parts and must be caught.

    Every method is a step: it gives the worlds that may come of one.
    """

    skew_ms = SKEW_MS
    looks_again = True

    def __init__(
        self, outcomes: tuple[str, ...] = ("put", "release FAILED", "release REFUSED", "release FREE")
    ) -> None:
        self._outcomes = outcomes
        self._done: dict[Any, Any] = {}

    def table(self) -> MemoryItems:
        return MemoryItems()

    def sight(self, item: LeaseItem | None, now: int, since: int) -> Sight:
        return observed(item, now, self.skew_ms, since=Fence(since))

    # ---------------------------------------------------------------- who may move

    def first(self, callers: int, faults: int) -> World:
        return World(START_MS, 0, 0, 0, (Caller(),) * callers, "", (), 0, faults, False)

    def moved(self, world: World, number: int) -> Iterator[World]:
        """What one caller may do next. Of the others it matters only whether one of them is asking the backend."""
        awake = _with(world, number, awake=True)
        for after in self._step(awake, number, awake.callers[number]):
            yield _tidy(after, number)

    def erased(self, world: World) -> Iterator[World]:
        """What an erase may do next; with a fault left, one may begin."""
        if world.eraser in {"fence", "tomb"}:
            yield from self._erase(world)
        elif world.faults and not world.eraser and any(caller.doing != "start" for caller in world.callers):
            yield from self._erase(world._replace(faults=world.faults - 1, excused=True, eraser="fence"))

    def is_patient(self, now: int, caller: Caller) -> bool:
        """Whether time may pass before this caller moves."""
        if caller.doing == "calling":
            return caller.beaten == now and now - caller.called < CALL_TICKS * TICK_MS
        return caller.doing == "poll" and caller.up_to_date and now < caller.give_up

    def paused(self, now: int, caller: Caller) -> list[Caller]:
        """This caller asleep where it is; in one that waits for the backend, the reply may be there already."""
        asleep = [caller._replace(awake=False)]
        if caller.doing == "calling" and caller.beaten == now and not caller.log:
            asleep += [
                caller._replace(awake=False, doing=outcome, called=0, beaten=0, early=caller.early and outcome == "put")
                for outcome in self._outcomes
            ]
        return asleep

    def waited(self, now: int, lease: ItemId, caller: Caller) -> Caller:
        """
        A caller after the next tick.

        Raises:
            Violation: it waits for a lease that promises more than a lease may.
        """
        held = _decoded(lease)
        awaits = caller.doing == "poll" and caller.awake and not caller.deceived
        if awaits and held is not None and held.state is State.HELD:
            seen = now + caller.offset
            if not seen - SKEW_MS - TICK_MS <= held.end_ms <= seen + LEASE_MS + SKEW_MS:
                raise Violation(f"P26: a follower waits for a lease that ends in {held.end_ms - seen} ms")
        return caller._replace(up_to_date=False)

    # ---------------------------------------------------------------- a caller

    def _step(self, world: World, number: int, caller: Caller) -> Iterator[World]:
        if caller.doing == "start":
            yield from self._operate(world, number, caller)
            if world.faults:
                for offset in (WITHIN_MS, -WITHIN_MS, BEYOND_MS, -BEYOND_MS):
                    beyond = abs(offset) > SKEW_MS
                    spent = world._replace(faults=world.faults - 1, excused=world.excused or beyond)
                    yield from self._operate(spent, number, caller._replace(offset=offset))
        elif caller.doing == "calling":
            yield from self._calling(world, number, caller)
        elif caller.doing == "poll" and world.now >= caller.give_up:
            yield _over(world, number)
        elif not (caller.doing == "poll" and caller.up_to_date):
            yield from self._operate(world, number, caller)

    def _calling(self, world: World, number: int, caller: Caller) -> Iterator[World]:
        if caller.beaten != world.now and not caller.log:
            yield from self._operate(world, number, caller)
            if world.faults:
                spent = world._replace(faults=world.faults - 1, excused=True)
                yield _with(spent, number, beaten=world.now)
            return
        if caller.log:
            yield from self._operate(world, number, caller)
            return
        for outcome in self._outcomes:
            decided = _with(world, number, called=0, beaten=0, doing=outcome)
            yield from self._operate(decided, number, decided.callers[number])

    def _operate(self, world: World, number: int, caller: Caller) -> Iterator[World]:
        """One table operation of the product function that this caller is in; with a fault left, also its mishaps."""
        yield self._operated(world, number, caller, "")
        if not world.faults:
            return
        spent = world._replace(faults=world.faults - 1)
        if caller.doing == "poll" and world.lease_before != world.lease:
            yield self._operated(spent, number, caller, "old")
        if caller.doing in {"acquire", "put"} or caller.doing.startswith("release"):
            yield self._operated(spent, number, caller, "once")
        if caller.doing == "acquire":
            yield self._operated(spent, number, caller, "for good")
        if caller.doing == "put":
            yield _with(spent, number, doing="release DONE")  # it never arrived: the answer is told, and not kept

    def _operated(self, world: World, number: int, caller: Caller, mishap: str) -> World:
        lease = world.lease_before if mishap == "old" else world.lease
        about_entry = caller.is_about_the_entry
        at = (0, world.entry) if about_entry else (lease, 0)
        told = (caller.doing, number, caller.fence, caller.early, caller.log, world.now + caller.offset)
        situation = (*told, *at, mishap)
        if situation not in self._done:  # the product is asked once about each situation, not once for each world
            self._done[situation] = self._perform(caller, number, world.now + caller.offset, *at, mishap)
        written, entry, log, over, result = self._done[situation]
        if about_entry:
            changed = self._written(world, world.lease, entry, number)
        else:
            changed = self._written(world, world.lease if mishap == "old" else written, world.entry, number)
        if not over:
            return _with(changed, number, log=log, doing=caller.doing, offset=caller.offset)
        return self._came(_with(changed, number, log=(), deceived=False), number, caller, result, mishap)

    def _perform(
        self, caller: Caller, number: int, now: int, lease: ItemId, entry: ItemId, mishap: str
    ) -> tuple[ItemId, ItemId, tuple[Any, ...], bool, Any]:
        table = self._table(lease, entry)
        about_entry = caller.is_about_the_entry
        replay = _Replay(caller.log, table, now, "ENTRY" if about_entry else KIND)
        replay.lose = mishap if mishap != "old" else ""
        over, result = True, None
        try:
            result = self._product(caller, number, replay)
        except _Suspended:
            over = False
        except TierUnavailable as unavailable:
            result = unavailable
        return *_stored(table), tuple(replay.log), over, result

    def _table(self, lease: ItemId, entry: ItemId) -> MemoryItems:
        table = self.table()
        for kind, number in ((KIND, lease), ("ENTRY", entry)):
            item = KNOWN.item(number)
            if item is not None:
                table.stored[KEY, kind] = item
        return table

    def _product(self, caller: Caller, number: int, replay: _Replay) -> Any:
        """The product's own code for what this caller does."""
        book = LeaseBook(replay, replay, LEASE_MS / 1000, self.skew_ms)  # type: ignore[arg-type]
        tier = TableTier(replay, SEALER, None)  # type: ignore[arg-type]
        lease = Lease(KEY, owner_of(number), Fence(caller.fence), EpochMillis(0))
        match caller.doing.split():
            case ["start"]:
                return tier.get(KEY)
            case ["look", _]:
                return tier.get(KEY, consistent=True)
            case ["acquire"]:
                return book.acquire(KEY, lease.owner)
            case ["poll"]:
                return book.read(KEY)
            case ["calling"]:
                return book.renew(lease)
            case ["put"]:
                return tier.put(Stored(KEY, Fence(caller.fence), b"early" if caller.early else b"late"))  # type: ignore[arg-type]
            case ["release", state]:
                note = {"FAILED": "Broken", "REFUSED": "REFUSED"}.get(state, "")
                return book.release(lease, State(state), note)
        raise AssertionError(caller.doing)

    def _came(self, world: World, number: int, caller: Caller, result: Any, mishap: str) -> World:
        """What a caller does next, as `hook.py` and `flight.py` have it."""
        match caller.doing.split():
            case ["start"] | ["look", _]:
                return self._looked(world, number, caller, result)
            case ["acquire"]:
                return self._acquired(world, number, result)
            case ["poll"]:
                return self._polled(world, number, caller, result, mishap)
            case ["calling"]:
                return _with(world, number, beaten=world.now)
            case ["put"]:
                kept = result is None or isinstance(result, TierUnavailable)
                return _with(world, number, doing="release DONE" if kept else "release FREE")
            case _:
                return _over(world, number)

    def _looked(self, world: World, number: int, caller: Caller, result: Any) -> World:
        found = isinstance(result, Found)
        if caller.doing == "look again":
            if found and self.looks_again:
                return _with(world, number, doing="release DONE")
            return self._call(world, number, caller)
        return _over(world, number) if found else _with(world, number, doing="acquire", offset=caller.offset)

    def _acquired(self, world: World, number: int, result: Any) -> World:
        now = world.now + world.callers[number].offset
        match result:
            case Lease():
                kept = isinstance(_entry(world), Entry)
                told = {"fence": result.fence, "kept_before": kept, "since": 0, "give_up": 0}
                return _with(world, number, doing="look again", **told)
            case Held(item) if item.refused_lately(now):
                return _over(world, number)
            case Held(item):
                give_up = world.callers[number].give_up or world.now + WAIT_MS
                told = {"since": item.fence, "give_up": give_up, "up_to_date": False, "may_share": False}
                return _with(world, number, doing="poll", **told)
            case _:
                return _over(world, number)

    def _polled(self, world: World, number: int, caller: Caller, result: Any, mishap: str) -> World:
        match self.sight(result, world.now + caller.offset, caller.since):
            case Sight.WAIT:
                return _with(world, number, up_to_date=True, deceived=mishap == "old")
            case Sight.LOOK:
                return _with(world, number, doing="look late")
            case Sight.SHARE:
                if not caller.may_share:
                    raise Violation("P17: a failure from before this caller waited was shared with it")
                return _over(world, number)
            case Sight.ALONE:
                return _over(world, number)
            case Sight.ACQUIRE:
                return _with(world, number, doing="acquire", may_share=False)

    def _call(self, world: World, number: int, caller: Caller) -> World:
        if caller.kept_before and isinstance(_entry(world), Entry):
            raise Violation("P24: a leader asked the backend although the answer was stored before it led")
        others = [each for at, each in enumerate(world.callers) if at != number]
        if not world.excused and any(each.doing in {"calling", "put"} for each in others):
            raise Violation("P23: two backend calls at once under one key")
        early = not world.eraser and world.faults > 0
        told = {"called": world.now, "beaten": world.now, "early": early, "kept_before": False}
        return _with(world, number, doing="calling", **told)

    # ---------------------------------------------------------------- the eraser

    def _erase(self, world: World) -> Iterator[World]:
        table = self._table(world.lease, world.entry)
        replay = _Replay(world.eraser_log, table, world.now)
        try:
            went = {"eraser_log": (), **self._erasing(world, replay)}
        except _Suspended:
            went = {"eraser_log": tuple(replay.log)}
        yield _checked(self._written(world, *_stored(table), None)._replace(**went))

    def _erasing(self, world: World, replay: _Replay) -> dict[str, Any]:
        if world.eraser == "fence":
            book = LeaseBook(replay, replay, LEASE_MS / 1000)  # type: ignore[arg-type]
            return {"eraser": "tomb", "eraser_fence": book.fence_off(KEY, Fence(world.eraser_fence))}
        fence = Fence(world.eraser_fence)
        item = SEALER.tombstone(KEY, fence, 0)
        refused = replay.put(item, NEWER_FENCE_ONLY, {":mine": {"N": str(fence)}})
        if isinstance(refused, Conflict) and refused.old is not None:
            return {"eraser": "fence", "eraser_fence": int(refused.old["fence"]["N"])}
        return {"eraser": "done"}

    # ---------------------------------------------------------------- what a write may do

    def _written(self, world: World, lease: ItemId, entry: ItemId, number: int | None) -> World:
        """The world with what was written; no write may undo what a larger fence did."""
        if lease != world.lease:
            before, after = _decoded(world.lease), _decoded(lease)
            assert after is not None
            if before is not None and after.fence < before.fence:
                raise Violation("P25: a lease went back to an older fence")
            same = before is not None and after.fence == before.fence
            if same and number is not None and before.owner != owner_of(number):
                raise Violation("P25: a caller changed a lease that was not its own")
            failed = after.state is State.FAILED
            callers = tuple(informed(each, failed=failed) for each in world.callers)
            world = world._replace(lease=lease, lease_before=world.lease if world.faults else 0, callers=callers)
        if entry != world.entry:
            if world.entry and entry and _fence(entry) <= _fence(world.entry):
                raise Violation("P25: an entry or tombstone was replaced by one that is not newer")
            world = _checked(world._replace(entry=entry))
        return world


def informed(caller: Caller, *, failed: bool) -> Caller:
    """A caller after the lease was written by anyone: its last poll is old; a failure that it waited for may be shared."""
    return caller._replace(up_to_date=False, may_share=caller.may_share or (failed and caller.doing == "poll"))


def _tidy(world: World, number: int) -> World:
    """Without what nobody will ask for again, so that worlds which differ only by it are one."""
    caller = world.callers[number]
    if caller.doing not in {"calling", "put"}:
        caller = caller._replace(early=False)
    if caller.doing != "poll":
        caller = caller._replace(since=0, may_share=False, up_to_date=False)
    callers = (*world.callers[:number], caller, *world.callers[number + 1 :])
    return world._replace(callers=callers, lease_before=world.lease_before if world.faults else 0)


def owner_of(number: int) -> OwnerId:
    return OwnerId(f"caller-{number}")


def _stored(table: MemoryItems) -> tuple[ItemId, ItemId]:
    return KNOWN.number(table.stored.get((KEY, KIND))), KNOWN.number(table.stored.get((KEY, "ENTRY")))


def _fence(entry: ItemId) -> int:
    item = KNOWN.item(entry)
    return int(item["fence"]["N"]) if item is not None else -1


@cache
def _decoded(lease: ItemId) -> LeaseItem | None:
    item = KNOWN.item(lease)
    return None if item is None else LeaseItem.decode(item)


def _entry(world: World) -> Entry | Tombstone | None:
    return _opened(world.entry)


@cache
def _opened(entry: ItemId) -> Entry | Tombstone | None:
    item = KNOWN.item(entry)
    return None if item is None else SEALER.open(KEY, item, lambda name, size: b"")


def _checked(world: World) -> World:
    found = _entry(world)
    if world.eraser == "done" and isinstance(found, Entry) and found.body == b"early":
        raise Violation("P13: an answer that was being fetched before the erase is served after it")
    return world


def _with(world: World, number: int, **changes: Any) -> World:
    callers = list(world.callers)
    callers[number] = callers[number]._replace(**changes)
    return world._replace(callers=tuple(callers))


def _over(world: World, number: int) -> World:
    """A finished caller keeps nothing, so that worlds which differ only by its past are one."""
    callers = list(world.callers)
    callers[number] = Caller(doing="over")
    return world._replace(callers=tuple(callers))
