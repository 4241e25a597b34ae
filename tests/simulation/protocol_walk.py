"""
Every world of the lease protocol, visited once.

A world is a few numbers here: of what all share, of the eraser, of each caller. What one caller may do next depends on its
own state and on what all share, and is asked of the model (`protocol_model.py`), and so of the product, once for each such
pair; worlds that consist of the same pairs reuse it.
"""

from __future__ import annotations

import gc
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

from hookcache.lease import State
from simulation.protocol_model import (
    KNOWN,
    LAST_TICK,
    SLEEP_TICKS,
    START_MS,
    TICK_MS,
    Caller,
    ItemId,
    Protocol,
    Violation,
    World,
    _decoded,
    _fence,
    informed,
    owner_of,
)

Number = int
Packed = tuple[Number, ...]
"""What is shared, the eraser, then the callers."""


class Shared(NamedTuple):
    """What every caller sees, or may be hit by."""

    now: int
    lease: ItemId
    lease_before: ItemId
    entry: ItemId
    faults: int
    excused: bool


class Eraser(NamedTuple):
    doing: str
    log: tuple[Any, ...]
    fence: int


class Walk(NamedTuple):
    """What a complete walk found."""

    states: int
    steps: int
    ends: int


class _Numbers:
    """Values and their numbers, in both directions."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[Hashable, Number] = {}

    def of(self, value: Hashable) -> Number:
        if value not in self._numbers:
            self._numbers[value] = len(self.values)
            self.values.append(value)
        return self._numbers[value]


class _Facts(NamedTuple):
    """What the walk asks of a caller at every visit."""

    order: int
    over: bool
    waits_to_start: bool
    asking: bool


class _Moves(NamedTuple):
    """
    What may become of a caller while time passes.

    Attributes:
        later: itself, if it is not paused. paused: asleep, one for each place where it may have been caught.
        urgent: it must move first, or be paused.
        works: awake and at work, so that time has something to pass for.
        wrong: what it breaks by waiting.
    """

    later: Number
    paused: tuple[Number, ...]
    urgent: bool
    works: bool
    asleep: bool
    wrong: Violation | None


QUIET, WRITTEN, FAILED = range(3)
"""What a step did to the lease that others will notice."""

_BUSY = frozenset({"calling", "put"})
_ERASING = frozenset({"fence", "tomb"})
_IS_OWNER = 1 << 40


class Graph:
    """The worlds of a protocol and the steps between them."""

    def __init__(self, protocol: Protocol, callers: int, faults: int) -> None:
        self._protocol = protocol
        self._shared, self._erasers, self._callers = _Numbers(), _Numbers(), _Numbers()
        self._after_step: dict[Any, list[tuple[Number, Number, int]]] = {}
        self._after_erase: dict[Any, list[tuple[Number, Number, int]]] = {}
        self._informed: dict[tuple[Number, int], Number] = {}
        self._moves: dict[tuple[Number, Number], _Moves] = {}
        self._ticked: dict[tuple[Number, int], Number] = {}
        self._facts: list[_Facts] = []
        self._renamed: dict[Any, Number] = {}
        self._owners: dict[Number, int] = {}
        self.first = self.packed(protocol.first(callers, faults))

    def packed(self, world: World) -> Packed:
        shared = self._shared.of(_shared(world))
        eraser = self._erasers.of(Eraser(world.eraser, world.eraser_log, world.eraser_fence))
        return (shared, eraser, *map(self._callers.of, world.callers))

    def world(self, state: Packed) -> World:
        return self._world(state[0], state[1], tuple(self._callers.values[number] for number in state[2:]))

    def _world(self, shared: Number, eraser: Number, callers: tuple[Caller, ...]) -> World:
        at, by = self._shared.values[shared], self._erasers.values[eraser]
        return World(at.now, at.lease, at.lease_before, at.entry, callers, *by, at.faults, at.excused)

    def after(self, state: Packed) -> list[Packed]:
        """Every world one step later. None at all means that everybody is done."""
        shared, eraser, *callers = state
        known = self._after_step
        at, erasing = self._shared.values[shared], self._erasers.values[eraser].doing
        era = "tomb" if erasing == "fence" else erasing  # to a caller an erase has not begun, is under way, or is done
        facts = self._facts_of(callers)
        asking = 0 if at.excused else sum([each.asking for each in facts])
        following = []
        may_move = self._may_move(facts)
        for place in may_move:
            caller = callers[place]
            beside = asking > facts[place].asking
            situation = (shared, era, place, caller, beside)
            steps = known.get(situation)
            if steps is None:
                steps = known[situation] = self._steps(shared, eraser, place, caller, len(callers), beside=beside)
            for then, mine, told in steps:
                others = [self._told(each, told) for each in callers] if told else callers.copy()
                others[place] = mine
                following.append(self._in_order(then, eraser, others))
        if erasing in _ERASING or (at.faults and not erasing):
            following += self._erasures_of(shared, eraser, callers)
        if erasing not in _ERASING:
            following += self._ticks(shared, eraser, callers, may_move)
        return following

    def _facts_of(self, callers: list[Number]) -> list[_Facts]:
        facts, values = self._facts, self._callers.values
        if len(facts) < len(values):
            for number in range(len(facts), len(values)):
                doing = values[number].doing
                last = 0 if doing != "start" else 1 + values[number].awake
                order = number + last * 2 * _IS_OWNER
                facts.append(_Facts(order, doing == "over", doing == "start", doing in _BUSY))
        return [facts[caller] for caller in callers]

    def _may_move(self, facts: list[_Facts]) -> list[int]:
        """Who is not done. Callers are alike, so they start in order."""
        found, before = [], False
        for place, each in enumerate(facts):
            if not each.over and not before:
                found.append(place)
            before = each.waits_to_start
        return found

    def _erasures_of(self, shared: Number, eraser: Number, callers: list[Number]) -> Iterator[Packed]:
        started = any(self._callers.values[each].doing != "start" for each in callers)
        erased = self._after_erase.get((shared, eraser, started))
        if erased is None:
            erased = self._after_erase[shared, eraser, started] = self._erasures(shared, eraser, started=started)
        for then, goes, told in erased:
            others = [self._told(each, told) for each in callers] if told else callers
            yield self._in_order(then, goes, others)

    def _steps(
        self, shared: Number, eraser: Number, at: int, caller: Number, count: int, *, beside: bool
    ) -> list[tuple[Number, Number, int]]:
        """The steps of one caller among others of whom it may only notice that one is asking the backend."""
        callers = [Caller(doing="calling" if beside else "over")] * count
        callers[at] = self._callers.values[caller]
        world = self._world(shared, eraser, tuple(callers))
        return [
            (self._shared.of(_shared(then)), self._callers.of(then.callers[at]), _told(world, then))
            for then in self._protocol.moved(world, at)
        ]

    def _erasures(self, shared: Number, eraser: Number, *, started: bool) -> list[tuple[Number, Number, int]]:
        world = self._world(shared, eraser, (Caller(doing="over" if started else "start"),))
        return [
            (
                self._shared.of(_shared(then)),
                self._erasers.of(
                    Eraser(then.eraser, then.eraser_log, then.eraser_fence if then.eraser != "done" else 0)
                ),
                _told(world, then),
            )
            for then in self._protocol.erased(world)
        ]

    def _told(self, caller: Number, told: int) -> Number:
        number = self._informed.get((caller, told))
        if number is None:
            after = informed(self._callers.values[caller], failed=told == FAILED)
            number = self._informed[caller, told] = self._callers.of(after)
        return number

    # ---------------------------------------------------------------- time

    def _ticks(self, shared: Number, eraser: Number, callers: list[Number], may_move: list[int]) -> Iterator[Packed]:
        """
        A third of a lease goes by. Whoever has something to do at once is paused for it, and perhaps others are.

        A pause without time in it is none, and one that begins earlier changes nothing for the others: it begins here.
        """
        at = self._shared.values[shared]
        moves = [self._moves.get((shared, caller)) or self._moves_of(shared, caller) for caller in callers]
        urgent = sum([moves[place].urgent for place in may_move])
        if urgent > at.faults or (at.now - START_MS) // TICK_MS >= LAST_TICK:
            return
        choices = []
        for place, move in enumerate(moves):
            chosen = [] if move.urgent and place in may_move else [(move.later, 0)]
            if at.faults and place in may_move:
                chosen += [(asleep, 1) for asleep in move.paused]
            choices.append(chosen)
        late = at.now >= START_MS + SLEEP_TICKS * TICK_MS
        for chosen in product(*choices):
            pauses = sum(pause for _, pause in chosen)
            if pauses > at.faults:
                continue
            going = [move for move, (_, pause) in zip(moves, chosen, strict=True) if not pause]
            asleep = pauses or any(move.asleep for move in going)
            if not any(move.works for move in going) and (late or not asleep):
                continue
            for move in going:
                if move.wrong is not None:
                    raise move.wrong
            yield self._in_order(self._later(shared, pauses), eraser, [each for each, _ in chosen])

    def _moves_of(self, shared: Number, caller: Number) -> _Moves:
        known = self._moves[shared, caller] = self._moves_anew(self._shared.values[shared], caller)
        return known

    def _moves_anew(self, at: Shared, number: Number) -> _Moves:
        caller: Caller = self._callers.values[number]
        later, wrong = caller, None
        try:
            later = self._protocol.waited(at.now, at.lease, caller)
        except Violation as violation:
            wrong = violation
        can_pause = caller.awake and caller.doing != "over"
        asleep = self._protocol.paused(at.now, caller) if can_pause else ()
        return _Moves(
            self._callers.of(later),
            tuple(self._callers.of(self._protocol.waited(at.now, at.lease, each)) for each in asleep),
            can_pause and not self._protocol.is_patient(at.now, caller),
            caller.awake and caller.doing not in {"start", "over"},
            not caller.awake,
            wrong,
        )

    def _later(self, shared: Number, pauses: int) -> Number:
        known = self._ticked.get((shared, pauses))
        if known is None:
            at = self._shared.values[shared]
            faults = at.faults - pauses
            later = at._replace(
                now=at.now + TICK_MS,
                faults=faults,
                excused=at.excused or pauses > 0,
                lease_before=at.lease_before if faults else 0,
            )
            known = self._ticked[shared, pauses] = self._shared.of(later)
        return known

    # ---------------------------------------------------------------- callers are alike

    def _in_order(self, shared: Number, eraser: Number, callers: list[Number]) -> Packed:
        """
        The same world with its callers in one order: they are alike, so only what they do tells them apart.

        Owners' names in lease items, and in what callers and the eraser remember of them, are changed along.
        """
        owner = self._owners.get(shared)
        if owner is None:
            owner = self._owners[shared] = self._owner(shared)
        keys = [each.order for each in self._facts_of(callers)]
        if owner >= 0:
            keys[owner] += _IS_OWNER
        ordered = sorted(keys)
        if keys == ordered:
            return (shared, eraser, *callers)
        order = tuple(sorted(range(len(callers)), key=keys.__getitem__))
        return (
            self._rename("shared", shared, order),
            self._rename("eraser", eraser, order),
            *[self._rename("caller", callers[place], order) for place in order],
        )

    def _owner(self, shared: Number) -> int:
        lease = _decoded(self._shared.values[shared].lease)
        return int(lease.owner.rpartition("-")[2]) if lease is not None and lease.owner else -1

    def _rename(self, what: str, number: Number, order: tuple[int, ...]) -> Number:
        known = self._renamed.get((what, number, order))
        if known is None:
            names = {owner_of(old): owner_of(new) for new, old in enumerate(order)}
            match what:
                case "shared":
                    at = self._shared.values[number]
                    lease, before = (_renamed(item, names) for item in (at.lease, at.lease_before))
                    known = self._shared.of(at._replace(lease=lease, lease_before=before))
                case "eraser":
                    by = self._erasers.values[number]
                    known = self._erasers.of(by._replace(log=_renamed_log(by.log, names)))
                case _:
                    caller = self._callers.values[number]
                    known = self._callers.of(caller._replace(log=_renamed_log(caller.log, names)))
            self._renamed[what, number, order] = known
        return known


def _shared(world: World) -> Shared:
    return Shared(world.now, world.lease, world.lease_before, world.entry, world.faults, world.excused)


def _told(before: World, after: World) -> int:
    lease = _decoded(after.lease)
    if after.lease == before.lease or lease is None:
        return QUIET
    return FAILED if lease.state is State.FAILED else WRITTEN


def _renamed(lease: ItemId, names: dict[Any, Any]) -> ItemId:
    item = KNOWN.item(lease)
    if item is None or "owner" not in item:
        return lease
    owner = item["owner"]["S"]
    return KNOWN.number({**item, "owner": {"S": names.get(owner, owner)}})


def _renamed_log(log: tuple[Any, ...], names: dict[Any, Any]) -> tuple[Any, ...]:
    return tuple((each[0], _renamed(each[1], names)) if isinstance(each, tuple) else each for each in log)


# -------------------------------------------------------------------- the walk


@contextmanager
def _no_collector() -> Iterator[None]:
    """Millions of tuples and no circle among them: looking for circles would take half of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def walk(protocol: Protocol, callers: int, faults: int) -> Walk:
    """
    Visit every state. Ends are where everybody is done or dead.

    Raises:
        Violation: with the way there, shortest steps first known, in its message.
    """
    graph = Graph(protocol, callers, faults)
    with _no_collector():
        return _walked(graph)


def _walked(graph: Graph) -> Walk:
    finished: set[Packed] = set()
    path: list[Packed] = []  # from the first to the current one
    on_path: set[Packed] = set()
    waiting: list[list[Packed]] = [[graph.first]]
    steps, ends = -1, 0
    while waiting:
        if not waiting[-1]:
            waiting.pop()
            if path:
                done = path.pop()
                on_path.remove(done)
                finished.add(done)
            continue
        state = waiting[-1].pop()
        steps += 1
        if state in on_path:
            raise Violation(f"P29: a circle that takes no time\n{_story(graph, path)}")
        if state in finished:
            continue
        path.append(state)
        on_path.add(state)
        try:
            following = graph.after(state)
        except Violation as violation:
            raise Violation(f"{violation}\n{_story(graph, path)}") from None
        if not following:
            ends += 1
            if not all(caller.doing == "over" for caller in graph.world(state).callers):
                raise Violation(f"P29: nobody can move, and not everybody is done\n{_story(graph, path)}")
        waiting.append(following)
    return Walk(len(finished), steps, ends)


def _story(graph: Graph, path: list[Packed]) -> str:
    """The way to a violation, one line for each step."""
    lines = []
    for world in map(graph.world, path):
        lease = _decoded(world.lease)
        item = f"{lease.state} {lease.owner} {lease.fence - START_MS}..{lease.end_ms - START_MS}" if lease else "-"
        doing = ", ".join(f"{each.doing}{'' if each.awake else ' paused'}{each.offset or ''}" for each in world.callers)
        entry = f"entry {_fence(world.entry) - START_MS}" if world.entry else "no entry"
        lines.append(f"{(world.now - START_MS) // 1000:>4} s  [{doing}]  lease {item}  {entry}  {world.eraser}")
    return "\n".join(lines)
