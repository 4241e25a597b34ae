"""The earlier request that is nearest to one: the fewest components differ, and of several such the latest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hookcache_ops.explain.traced import Difference, Trace, differences

if TYPE_CHECKING:
    from hookcache_ops.receipts import Receipt

_SAME_TEXT = 0.5
"""A text that shares a shape with the other is half a difference: surely a version of it."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """An earlier receipt and what differs from it; nothing, where the key was the same."""

    receipt: Receipt
    differing: list[Difference]


def nearest(trace: Trace, step: str, receipts: Iterable[Receipt], not_this: str = "") -> Nearest | None:
    """The nearest of `receipts` before the one with request id `not_this`, where that is among them; else of all."""
    best: Nearest | None = None
    least = float("inf")
    for receipt in receipts:
        if not_this and receipt.request_id == not_this:
            break
        other = Trace.of(receipt.members.get("components")) if receipt.step == step else None
        if other is None or (other.images_read != trace.images_read and other.images_read is False):
            continue
        differing = differences(other, trace)
        distance = sum(_SAME_TEXT if each.kind in {"system", "text"} and each.how else 1 for each in differing)
        if distance <= least:
            best, least = Nearest(receipt, differing), distance
    return best
