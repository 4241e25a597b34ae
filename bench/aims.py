"""What this project aims at beside others, and how far one run of the bench reached it: nothing here is typed in but the aims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.measure import Row


@dataclass(frozen=True, slots=True)
class Aim:
    """
    A ratio of one row that is aimed at.

    Attributes:
        number: aims that belong together share one.
        row, unit: which row; some share a name.
        peer: the figure that ours is compared with.
        factor: how many times the peer's figure ours must be; beside `limit` how many times the limit ours may be.
    """

    number: int
    row: str
    unit: str
    peer: str
    factor: float

    @property
    def wanted(self) -> str:
        return f"at most {self.factor:g}" if self.peer == "limit" else f"at least {self.factor:g}"


AIMS = (
    Aim(1, "cold start to first table hit", "ms", "plain", 4),
    Aim(1, "cold start to first table hit, CPU", "ms CPU", "plain", 4),
    Aim(1, "memory after the first table hit", "MB RSS", "plain", 3),
    Aim(2, "memory hit, 2 KB prompt", "µs CPU", "plain", 5),
    Aim(2, "memory hit, 2 KB prompt", "µs CPU", "idempotency", 9),
    Aim(2, "memory hit, 50 KB prompt", "µs CPU", "plain", 4),
    Aim(2, "memory hit, 50 KB prompt", "µs CPU", "idempotency", 7),
    Aim(3, "table hit, 20 KB answer", "µs CPU", "plain", 3),
    Aim(3, "table hit, 20 KB answer", "µs CPU", "idempotency", 3),
    Aim(3, "miss, all but the backend", "µs CPU", "plain", 3),
    Aim(4, "key, 50 KB of text", "µs CPU", "limit", 1.3),
    Aim(4, "key, 50 KB of text", "µs CPU", "plain", 3),
    Aim(4, "key, 50 KB of text with umlauts", "µs CPU", "limit", 1.3),
    Aim(4, "key, 50 KB of text with umlauts", "µs CPU", "plain", 3),
    Aim(4, "key, 4 MB of text", "µs CPU", "limit", 1.3),
    Aim(4, "key, 4 MB of text", "µs CPU", "plain", 3),
    Aim(5, "memory hit, 20 images", "ms", "plain", 10),
    Aim(6, "table units of a million hits, 20 KB answer", "units", "idempotency", 20),
)


@dataclass(frozen=True, slots=True)
class Reached:
    """`times` is the ratio in the aim's own direction, None where the run has no such row; `at_best` what `limit` would reach."""

    aim: Aim
    times: float | None
    at_best: float | None

    @property
    def met(self) -> bool | None:
        if self.times is None:
            return None
        return self.times <= self.aim.factor if self.aim.peer == "limit" else self.times >= self.aim.factor


def reached(rows: Sequence[Row]) -> list[Reached]:
    """Every aim beside what these rows say of it."""
    by_name = {(row.name, row.unit): row for row in rows}
    return [_reached(aim, by_name.get((aim.row, aim.unit))) for aim in AIMS]


def _reached(aim: Aim, row: Row | None) -> Reached:
    if row is None:
        return Reached(aim, None, None)
    if aim.peer == "limit":
        return Reached(aim, 1 / row.ratios["limit"], None)
    limit = row.peers.get("limit")
    return Reached(aim, row.ratios[aim.peer], row.peers[aim.peer].median / limit.median if limit else None)
