"""
The real hook, in several processes of several threads, under a seeded scheduler: one key, one table, planned mishaps.

    history = Herd(seed=17).run()
"""

from __future__ import annotations

import contextlib
import io
import json
import random as global_random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import hookcache.flight
import hookcache.leader
from fakes import FakeClients, FakeContext, ocr_event
from hookcache.assembly import Assembly
from hookcache.backend import Answer
from hookcache.clock import EpochMillis
from hookcache.entry import Entry, Fence
from hookcache.errors import BackendFailed, BackendThrottled, FollowerTimedOut, TierUnavailable, backend_failed
from hookcache.hook import CachingHook
from hookcache.items import Conflict, Throttled
from hookcache.lease import KIND, SKEW_MS, LeaseBook, LeaseItem, State
from hookcache.settings import Settings
from hookcache.table import NEWER_FENCE_ONLY
from simulation.items_double import Item, MemoryItems
from simulation.scheduler import Process, Scheduler, Threading

START_MS = 1_790_000_000_000
LEASE_SECONDS, WAIT_SECONDS = 3.0, 20.0
SLOWEST_SECONDS = 0.9  # of a table operation that is in time
ENDINGS = ("answer", "answer", "answer", "answer", "fail", "refuse", "throttle")
MISHAPS = ("crash", "pause", "lost", "trouble", "skew", "skew beyond", "erase", "old reads")
EXCUSES = frozenset({"crash", "pause", "trouble", "skew beyond", "erase"})
"""Mishaps after which a second call in one lease period may happen."""


class Broken(AssertionError):
    """A promise was broken; the message names the seed that shows it again."""


class Clock:
    """A process's own view of the scheduler's time."""

    def __init__(self, scheduler: Scheduler, process: Process) -> None:
        self._scheduler = scheduler
        self._process = process

    def now_ms(self) -> EpochMillis:
        return EpochMillis(START_MS + int(self._scheduler.now * 1000) + self._process.offset_ms)

    def elapsed(self) -> float:
        return self._scheduler.now

    def sleep(self, seconds: float) -> None:
        self._scheduler.sleep(seconds)


class Table(MemoryItems):
    """The table that all share; it remembers the lease item before the last change, for eventual reads."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[tuple[bytes, str], Item | None] = {}

    def keep(self, place: tuple[bytes, str], old: Item | None) -> None:
        if self.stored.get(place) is not old:
            self.before[place] = old


class Items:
    """The table as one process sees it: every operation is a place where others may come first."""

    def __init__(self, herd: Herd, process: Process) -> None:
        self._herd = herd
        self._process = process

    def get(self, key: bytes, kind: str, *, consistent: bool = False) -> Item | None:
        def read(table: Table) -> Item | None:
            old = not consistent and "old reads" in self._herd.mishaps and self._herd.chance(0.3)
            if old and (key, kind) in table.before:
                return table.before[key, kind]
            return table.get(key, kind)

        return self._do(kind, (key, kind), read)

    def put(self, item: Item, condition: str = "", values: Any = None) -> Item | Conflict | None:
        kind = item["kind"]["S"]
        return self._do(kind, (item["pk"]["B"], kind), lambda table: table.put(item, condition, values))

    def update(self, key: bytes, kind: str, *told: Any) -> Conflict | None:
        return self._do(kind, (key, kind), lambda table: table.update(key, kind, *told))

    def exchange(self, key: bytes, kind: str, *told: Any) -> Item | Conflict | None:
        return self._do(kind, (key, kind), lambda table: table.exchange(key, kind, *told))

    def put_all(self, items: list[Item]) -> None:
        self._do("INDEX", (b"", ""), lambda table: table.put_all(items))

    def close(self) -> None:
        return

    def _do(self, kind: str, place: tuple[bytes, str], operation: Any) -> Any:
        if kind == "CONTROL":  # read under a lock of its own, and no part of the protocol
            return operation(self._herd.table)
        if self._herd.chance(0.08):
            self._herd.scheduler.sleep(SLOWEST_SECONDS * self._herd.scheduler.random.random())
        else:
            self._herd.scheduler.give_way()
        if self._herd.strikes("trouble"):
            raise self._herd.scheduler.random.choice([TierUnavailable, Throttled])("planned")
        old = self._herd.table.stored.get(place)
        reply = operation(self._herd.table)
        self._herd.table.keep(place, old)
        self._herd.scheduler.give_way()
        if self._herd.strikes("lost"):
            reply = operation(self._herd.table)  # the SDK's caller repeats what it has no reply for
            self._herd.scheduler.give_way()
        return reply


@dataclass(slots=True)
class BackendCall:
    """One call of the backend. `early` if it began before an erase was called."""

    number: int
    process: Process
    began: float
    early: bool
    running: bool = True


@dataclass(slots=True)
class History:
    """What happened. `answers` and `errors` are of callers whose process lived."""

    calls: list[BackendCall] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    most_at_once: int = 0
    most_in_a_process: int = 0
    seconds: float = 0.0
    switches: int = 0


class Herd:
    """
    One schedule.

    Args:
        seed: decides everything.
        faults: how many mishaps at most; None lets the seed choose 0 to 2.
        hook: builds the hook of a process; a negative control gives a weaker one.
    """

    def __init__(self, seed: int, faults: int | None = None, weaken: Any = None) -> None:
        self.seed = seed
        self.scheduler = Scheduler(seed)
        chosen = self.scheduler.random
        count = chosen.randrange(3) if faults is None else faults
        self.mishaps = frozenset(chosen.sample(MISHAPS, count))
        self._due = {mishap: chosen.randrange(2, 60) for mishap in self.mishaps}
        self.ends = chosen.choice([("answer",), ("answer",), ENDINGS])
        self.table = Table()
        self.history = History()
        self.processes = [Process(f"process {number}") for number in range(chosen.randint(1, 3))]
        self._weaken = weaken or (lambda hook: None)
        self._erased: float | None = None
        self._erase_done = False
        if "skew" in self.mishaps:
            self.processes[-1].offset_ms = chosen.choice([-SKEW_MS // 2, SKEW_MS // 2])
        if "skew beyond" in self.mishaps:
            self.processes[-1].offset_ms = chosen.choice([-60_000, 60_000])
        self._hooks = {}

    def chance(self, share: float) -> bool:
        return self.scheduler.random.random() < share

    def strikes(self, mishap: str) -> bool:
        """Whether this planned mishap happens now; each happens once."""
        if mishap not in self._due or self.scheduler.switches < self._due[mishap]:
            return False
        del self._due[mishap]
        return True

    def run(self) -> History:
        """Raises `Broken`."""
        global_random.seed(self.seed)  # the jitter of polls
        with self._in_place():
            for process in self.processes:
                self._hooks[process] = self._hook(process)
                for _ in range(self.scheduler.random.randint(1, 3)):
                    after = self.scheduler.random.choice([0.0, 0.0, 0.1, 1.0, 4.0])
                    self.scheduler.start(process, lambda process=process: self._caller(process), after)
            self.scheduler.at_switch = self._at_switch
            try:
                self.scheduler.run()
                self._check()
            except AssertionError as error:
                raise Broken(f"seed {self.seed}, mishaps {sorted(self.mishaps)}: {error}") from error
        self.history.seconds, self.history.switches = self.scheduler.now, self.scheduler.switches
        return self.history

    @contextlib.contextmanager
    def _in_place(self) -> Iterator[None]:
        """The flight module's threads are the scheduler's, and receipts go nowhere."""
        real = hookcache.flight.threading
        hookcache.flight.threading = hookcache.leader.threading = Threading(self.scheduler)  # type: ignore[assignment]
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        finally:
            hookcache.flight.threading = hookcache.leader.threading = real

    def _hook(self, process: Process) -> CachingHook:
        environ = {
            "HOOKCACHE_BACKEND": "GENAIIDP-backend",
            "HOOKCACHE_TABLE": "hookcache",
            "HOOKCACHE_SECRET": "a secret that is long enough for this",
            "HOOKCACHE_IDENTITY": "pinned",
            "HOOKCACHE_LEASE_SECONDS": str(LEASE_SECONDS),
            "HOOKCACHE_WAIT_SECONDS": str(WAIT_SECONDS),
        }
        assembly = Assembly(Settings.of(environ), environ, FakeClients(), Clock(self.scheduler, process))
        assembly.items.close()
        assembly.items = Items(self, process)  # type: ignore[assignment]
        hook = assembly.hook(_Backend(self, process))
        self._weaken(hook)
        return hook

    def _caller(self, process: Process) -> None:
        try:
            answer = self._hooks[process](ocr_event(), FakeContext(Clock(self.scheduler, process), seconds=120))
        except Exception as error:
            self.history.errors.append(error)
        else:
            self.history.answers.append(answer)

    def _at_switch(self) -> None:
        if self.strikes("crash"):
            self.scheduler.random.choice(self.processes).dead = True
        if self.strikes("pause"):
            self.scheduler.random.choice(self.processes).paused_until = self.scheduler.now + 6 * LEASE_SECONDS
        if self.strikes("erase"):
            self._erased = self.scheduler.now
            for call in self.history.calls:
                call.early = True
            eraser = Process("eraser")
            self.scheduler.start(eraser, lambda: self._erase(eraser))
        running = [call for call in self.history.calls if call.running and not call.process.dead]
        self.history.most_at_once = max(self.history.most_at_once, len(running))
        for process in self.processes:
            here = sum(call.process is process for call in running)
            self.history.most_in_a_process = max(self.history.most_in_a_process, here)

    def _erase(self, process: Process) -> None:
        """As 3.7 has it, by the product's own parts."""
        items = Items(self, process)
        book = LeaseBook(items, Clock(self.scheduler, process), LEASE_SECONDS)  # type: ignore[arg-type]
        for key in {key for key, kind in self.table.stored if kind in {KIND, "ENTRY"}}:
            above = Fence(0)
            for _ in range(5):
                fence = book.fence_off(key, above)  # type: ignore[arg-type]
                item = self._sealer.tombstone(key, fence, 0)  # type: ignore[arg-type]
                refused = items.put(item, NEWER_FENCE_ONLY, {":mine": {"N": str(fence)}})
                if not isinstance(refused, Conflict):
                    break
                above = Fence(int(refused.old["fence"]["N"])) if refused.old else Fence(0)
        self._erase_done = True

    @property
    def _sealer(self) -> Any:
        return next(iter(self._hooks.values()))._cache()._table._sealer

    # ---------------------------------------------------------------- what must hold

    def _check(self) -> None:
        excused = bool(self.mishaps & EXCUSES)
        plain = self.ends == ("answer",)
        for error in self.history.errors:
            assert isinstance(error, FollowerTimedOut | BackendFailed | BackendThrottled), f"P18: {error!r}"
        if plain and not excused:
            assert not self.history.errors, f"P28: {self.history.errors!r}"
            assert len(self.history.calls) == 1, f"P23: {len(self.history.calls)} calls of the backend"
        if plain:
            assert self.history.most_in_a_process <= 1, "P23: two calls at once in one process"
        known = {call.number for call in self.history.calls}
        for answer in self.history.answers:
            assert answer["made_by_call"] in known, "P1: an answer that the backend never gave"
        self._check_leftovers()
        self._check_table(known)
        assert self.scheduler.now < 200, f"P29: it took {self.scheduler.now:.0f} s"

    def _check_leftovers(self) -> None:
        for process, hook in self._hooks.items():
            if not process.dead or "crash" not in self.mishaps:
                assert hook._cache().flights.in_progress == 0, "P28: a flight was left behind"
        if self.mishaps & {"crash", "trouble"}:
            return
        for (_, kind), item in self.table.stored.items():
            assert kind != KIND or LeaseItem.decode(item).state is not State.HELD, "P21: a lease was left held"

    def _check_table(self, known: set[int]) -> None:
        for (key, kind), item in self.table.stored.items():
            if kind != "ENTRY":
                continue
            opened = self._sealer.open(key, item, lambda name, size: b"")
            if isinstance(opened, Entry):
                number = json.loads(opened.body)["made_by_call"]
                assert number in known
                early = self.history.calls[number].early
                assert not (self._erase_done and early), "P13: what was erased came back"


class _Backend:
    """Takes its time, and ends as the schedule says."""

    def __init__(self, herd: Herd, process: Process) -> None:
        self._herd = herd
        self._process = process

    def invoke(self, event: Any, context: Any, deadline: Any) -> Answer:
        herd = self._herd
        call = BackendCall(len(herd.history.calls), self._process, herd.scheduler.now, early=False)
        herd.history.calls.append(call)
        try:
            herd.scheduler.sleep(herd.scheduler.random.choice([0.0, 0.3, 2.0, 2 * LEASE_SECONDS]))
        finally:
            call.running = False
        match herd.scheduler.random.choice(herd.ends):
            case "fail":
                raise backend_failed("planned", "Broken")
            case "throttle":
                raise BackendThrottled("planned")
            case "refuse":
                return self._answer(call, "")
            case _:
                return self._answer(call, "some text")

    def _answer(self, call: BackendCall, text: str) -> Answer:
        response = {
            "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
            "usage": {"pages": 1},
            "made_by_call": call.number,
        }
        return Answer(json.dumps(response).encode(), response)
