"""
A scheduler that lets one thread run at a time and chooses the next one by a seed: the same seed, the same history.

Threads give way only at the seams that the simulation put there: the clock, the table and the backend. Time is virtual
and moves when nobody can run. A process can be stopped for a while or for good.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable


class Killed(BaseException):
    """This thread's process is dead: it leaves without doing anything more."""


class Stuck(AssertionError):
    """Nobody can run, and nothing will change that."""


class Task:
    """A thread under the scheduler. `process` dies and stops as a whole."""

    def __init__(self, process: Process, work: Callable[[], None]) -> None:
        self.process = process
        self.work = work
        self.turn = threading.Semaphore(0)
        self.ready: Callable[[], bool] = lambda: True
        self.wake_at: float | None = None
        self.over = False
        self.rank = 0.0
        self.error: BaseException | None = None


class Process:
    """What is crashed or paused together, with a clock that may be wrong by `offset_ms`."""

    def __init__(self, name: str, offset_ms: int = 0) -> None:
        self.name = name
        self.offset_ms = offset_ms
        self.dead = False
        self.paused_until = 0.0


class Scheduler:
    """
    Half of the seeds choose evenly among those who can run. The others let the first in a random rank run as long as it
    can, and change the rank now and then: so one thread gets far while another stands still between two steps.

    Args:
        seed: of every choice.

    Attributes:
        now: seconds of virtual time.
        at_switch: called with each switch, from no task: the place for faults that depend on the moment.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.switches = 0
        self._ranked = self.random.random() < 0.5
        self.at_switch: Callable[[], None] = lambda: None
        self._tasks: list[Task] = []
        self._back = threading.Semaphore(0)
        self._current: Task | None = None

    @property
    def current(self) -> Task:
        assert self._current is not None
        return self._current

    def start(self, process: Process, work: Callable[[], None], after_seconds: float = 0.0) -> Task:
        """A new thread of `process`, which may run once `after_seconds` have passed."""
        task = Task(process, work)
        task.wake_at = self.now + after_seconds
        task.ready = lambda: False
        task.rank = self.random.random()
        self._tasks.append(task)
        threading.Thread(target=self._run_task, args=(task,), daemon=True).start()
        return task

    def run(self) -> None:
        """Until every thread is over. Raises `Stuck`, and whatever a check in `at_switch` raises."""
        try:
            while self._choose():
                self.switches += 1
                self.at_switch()
        finally:
            for task in self._tasks:
                task.process.dead = True
            for task in self._tasks:
                while not task.over:
                    self._switch_to(task)

    def give_way(self) -> None:
        """Let somebody else run, perhaps."""
        self.wait(lambda: True)

    def sleep(self, seconds: float) -> None:
        self.wait(lambda: False, seconds)

    def wait(self, ready: Callable[[], bool], seconds: float | None = None) -> bool:
        """Run on when `ready`, or after `seconds`; gives whether it was."""
        task = self.current
        task.ready = ready
        task.wake_at = None if seconds is None else self.now + max(0.0, seconds)
        self._back.release()
        task.turn.acquire()
        if task.process.dead:
            raise Killed
        return ready()

    def _run_task(self, task: Task) -> None:
        task.turn.acquire()
        try:
            if not task.process.dead:
                task.work()
        except Killed:
            pass
        except BaseException as error:
            task.error = error
        finally:
            task.over = True
            self._back.release()

    def _switch_to(self, task: Task) -> None:
        self._current = task
        task.turn.release()
        self._back.acquire()
        self._current = None

    def _choose(self) -> bool:
        living = [task for task in self._tasks if not task.over and not task.process.dead]
        if not living:
            return False
        able = [task for task in living if self._may_run(task)]
        if not able:
            moments = [max(task.process.paused_until, self._wakes(task)) for task in living]
            then = min(moments)
            if then == float("inf"):
                raise Stuck(f"{len(living)} threads wait for ever at {self.now:.2f} s")
            self.now = max(self.now, then)
            able = [task for task in living if self._may_run(task)]
        self._switch_to(self._chosen(able))
        return True

    def _chosen(self, able: list[Task]) -> Task:
        if not self._ranked:
            return self.random.choice(able)
        first = max(able, key=lambda task: task.rank)
        if self.random.random() < 0.08:
            first.rank = self.random.random()
        return first

    def _wakes(self, task: Task) -> float:
        if task.ready():
            return self.now
        return float("inf") if task.wake_at is None else task.wake_at

    def _may_run(self, task: Task) -> bool:
        return task.process.paused_until <= self.now and self._wakes(task) <= self.now


class Threading:
    """What `flight.py` uses of the module `threading`, under a scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def get_ident(self) -> int:
        return id(self._scheduler.current)

    def Lock(self) -> threading.Lock:
        return threading.Lock()  # never waited for: nobody gives way while holding it

    def Event(self) -> _Event:
        return _Event(self._scheduler)

    def Thread(self, target: Callable[..., None], *, args: tuple[object, ...] = (), name: str, daemon: bool) -> _Thread:
        return _Thread(self._scheduler, lambda: target(*args))


class _Event:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._set = False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        return self._scheduler.wait(lambda: self._set, timeout)


class _Thread:
    def __init__(self, scheduler: Scheduler, target: Callable[[], None]) -> None:
        self._scheduler = scheduler
        self._target = target
        self._task: Task | None = None

    def start(self) -> None:
        self._task = self._scheduler.start(self._scheduler.current.process, self._target)

    def is_alive(self) -> bool:
        return self._task is not None and not self._task.over

    def join(self) -> None:
        task = self._task
        assert task is not None
        self._scheduler.wait(lambda: task.over)
