"""Interleaved measurements: every contender takes its turn in each round, so that a slow moment of the machine hits all."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Figure:
    """What one contender needed: the median over all rounds, and half the distance between the quartiles as its spread."""

    median: float
    spread: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        if len(values) < 2:
            return cls(values[0], 0.0)
        low, _, high = statistics.quantiles(values, n=4)
        return cls(statistics.median(values), (high - low) / 2)


@dataclass(frozen=True, slots=True)
class Row:
    """
    One measurement.

    Attributes:
        ours: our figure. peers: the others', by name; `limit` is what no program can beat.
        ratios: by peer, above 1 where ours is better; `row` takes the median of the rounds' own, so that both sides of a
            ratio saw the same moment.
    """

    name: str
    unit: str
    ours: Figure
    peers: Mapping[str, Figure]
    ratios: Mapping[str, float]
    note: str = ""


def turns(
    contenders: Mapping[str, Step], rounds: int, repeat: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of `clock` per call of each contender, one value per round; the order turns with every round."""
    names = list(contenders)
    for step in contenders.values():
        step()
    taken: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            step = contenders[name]
            started = clock()
            for _ in range(repeat):
                step()
            taken[name].append((clock() - started) / repeat)
    return taken


def row(name: str, taken: Mapping[str, Sequence[float]], unit: str, scale: float, note: str) -> Row:
    """A row of times. `ours` must be among the names; each ratio is the median of its rounds' ratios."""
    ours = taken["ours"]
    peers = {peer: values for peer, values in taken.items() if peer != "ours"}
    return Row(
        name,
        unit,
        Figure.of([value * scale for value in ours]),
        {peer: Figure.of([value * scale for value in values]) for peer, values in peers.items()},
        {
            peer: statistics.median([theirs / mine for theirs, mine in zip(values, ours, strict=True)])
            for peer, values in peers.items()
        },
        note,
    )


def noise() -> Figure:
    """A second of fixed work, again and again: how far its times spread is how far this machine can be trusted now."""
    taken, end = [], time.perf_counter() + 1
    while time.perf_counter() < end or len(taken) < 8:
        started = time.perf_counter()
        sum(range(200_000))
        taken.append((time.perf_counter() - started) * 1000)
    return Figure.of(taken)
