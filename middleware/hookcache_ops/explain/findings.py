"""
Tallies become findings: one cause, at one place, with what it cost, its pattern over time, and what to do, dearest first.

    once      nearly every near miss lies across one moment: before it all requests had the old value, after it the new one
    always    the component never repeats, while all the others do
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hookcache_ops.explain.causes import BYPASSES, CAUSES, REFUSALS, SETTING_CAUSES, Cause
from hookcache_ops.explain.losses import Losses, Place, Tally
from hookcache_ops.explain.near import Candidate

ONCE_SHARE = 0.95
ONCE_LEAST = 5
ALWAYS_SHARE = 0.9
MEMORY_BYTES = 64 * 1024 * 1024
NAMED = {"text": "text block", "system": "system block", "image": "image"}
_HOLDERS = {
    "memory": "the environment that was asked had taken a copy and had put it out again, by its receipts",
    "environments": "another environment had taken a copy, and the one that was asked had not, by their receipts",
    "": "guessed by size, for these receipts do not name their environment",
}
OF_MEMORY = frozenset({"memory", "environments"})
"""These lose a table read each, and no call."""
SHAPE_CAUSES = {"spacing": "spacing", "punctuation": "punctuation", "order": "attribute_order"}


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One cause at one place. `cost` is in the currency of the price table, and not known where `cost_unknown`; `at_most` where
    nobody can know how much of it was lost. `once_ms` is the moment of a change that happened once; `variants` counts values of the changed component.
    """

    cause: Cause
    step: str
    where: str
    calls: int
    cost: float
    at_most: bool = False
    cost_unknown: bool = False
    once_ms: int | None = None
    always: bool = False
    variants: int = 0
    groups: int = 0
    first_ms: int = 0
    last_ms: int = 0
    milliseconds: float = 0.0
    remedy: str = ""
    said: str = ""
    detail: str = ""
    functions: tuple[str, ...] = ()
    examples: tuple[tuple[str, str], ...] = field(default=())


def findings(losses: Losses, memory_bytes: int = MEMORY_BYTES) -> tuple[list[Finding], Tally]:
    """
    The findings by money, then by calls; and the calls that were needed, for a request first seen then.

    Calls whose price is not known stand before what the memory tier lost, which is a thousandth of a call.
    """
    merged, needed = _near(losses)
    found = [_of_near(step, candidate, tally) for (step, candidate), tally in merged.items()]
    for place, tally in losses.tallies.items():
        found.append(_of_place(place, tally, losses, memory_bytes))
    needed.merge(losses.first_sights)
    unknown = any(each.cost_unknown for each in found)
    return sorted(found, key=lambda each: _rank(each, unknown=unknown)), needed


def _rank(found: Finding, *, unknown: bool) -> tuple[bool, float, int, str, str]:
    return unknown and found.cause.name in OF_MEMORY, -found.cost, -found.calls, found.step, found.where


def _near(losses: Losses) -> tuple[dict[tuple[str, Candidate], Tally], Tally]:
    """Each near miss laid to its best candidate for which there is evidence; without any, it was simply new."""
    merged: dict[tuple[str, Candidate], Tally] = {}
    needed = Tally()
    for (step, candidates), tallies in losses.near_tallies.items():
        for candidate, tally in zip(candidates, tallies, strict=True):
            if losses.near.evidence(step, candidate):
                key = ("" if candidate.kind == "settings" else step, candidate)
                merged.setdefault(key, Tally()).merge(tally)
                break
        else:
            needed.merge(tallies[0])
    return merged, needed


def _of_near(step: str, candidate: Candidate, tally: Tally) -> Finding:
    once = switched(tally.gaps_ms.values)
    always = tally.calls >= ONCE_LEAST and len(tally.values) >= ALWAYS_SHARE * tally.calls and once is None
    cause = CAUSES[_near_cause(candidate, once is not None, always)]
    names = {name for pair in tally.functions for name in pair} if candidate.kind == "settings" else set()
    return Finding(
        cause=cause,
        step=step,
        where=where_of(candidate),
        calls=tally.calls,
        cost=tally.cost,
        cost_unknown=tally.cost_unknown,
        once_ms=once,
        always=always,
        variants=len(tally.values),
        groups=len(tally.groups),
        first_ms=tally.first_ms,
        last_ms=tally.last_ms,
        milliseconds=tally.milliseconds,
        remedy=cause.remedy.replace("STEP", step or "*"),
        detail=candidate.how,
        functions=tuple(sorted(names)),
        examples=tuple(tally.examples),
    )


def _near_cause(candidate: Candidate, once: bool, always: bool) -> str:
    kind, how = candidate.kind, candidate.how
    if kind == "settings":
        return SETTING_CAUSES.get(how, "settings")
    if kind in {"numbers", "image", "prompt"}:
        return {
            "numbers": "numbers",
            "image": "image_reencoded",
            "prompt": "prompt_changed" if once else "text_differs",
        }[kind]
    if how in SHAPE_CAUSES:
        return SHAPE_CAUSES[how]
    if once:
        return "prompt_changed"
    if how == "values":
        return "time_stamp" if always else "values_changed"
    return "text_differs"


def where_of(candidate: Candidate) -> str:
    """`text block 2`; for numbers and settings their names."""
    if candidate.kind in NAMED:
        return f"{NAMED[candidate.kind]} {candidate.at + 1}"
    return "all texts" if candidate.kind == "prompt" else candidate.how


def switched(pairs: list[tuple[int, int]]) -> int | None:
    """The moment across which nearly all of the pairs (last seen, seen now) lie, or None: a change that happened once."""
    if len(pairs) < ONCE_LEAST:
        return None
    steps = sorted([(last, 1) for last, now in pairs if last < now] + [(now, -1) for last, now in pairs if last < now])
    open_now = best = best_ms = 0
    for at, step in steps:
        open_now += step
        if open_now > best:
            best, best_ms = open_now, at
    if best < ONCE_SHARE * len(pairs):
        return None
    return min(now for last, now in pairs if last <= best_ms < now)


def _of_place(place: Place, tally: Tally, losses: Losses, memory_bytes: int) -> Finding:
    name, detail, said = place.what, place.detail, ""
    cost, milliseconds = tally.cost, tally.milliseconds
    remedy = ""
    match place.what:
        case "bypass":
            name = {"sampling:absent": "temperature_omitted", "sampling:present": "temperature_high"}.get(
                detail, "bypass"
            )
            name = "sampling" if detail == "sampling" else name
            remedy = BYPASSES.get(detail, "")
        case "refused":
            remedy = REFUSALS.get(detail, "")
        case "memory":
            name = detail or ("memory" if losses.working_set_bytes > memory_bytes else "environments")
            cost, milliseconds = _over_memory(tally, losses.memory_hits)
            said = f"{_HOLDERS[detail]}; {_mb(losses.working_set_bytes)} of answers were in use at a time, the memory tier holds {_mb(memory_bytes)}"
        case "freshness":
            said = "; ".join(_returns(tally))
    cause = CAUSES[name]
    return Finding(
        cause=cause,
        step=place.step,
        where=detail.partition(":")[0] if cause.name in {"bypass", "refused", "reason"} else "",
        calls=tally.calls,
        cost=cost,
        at_most=place.what == "bypass",
        cost_unknown=tally.cost_unknown and place.what != "memory",
        first_ms=tally.first_ms,
        last_ms=tally.last_ms,
        milliseconds=milliseconds,
        remedy=remedy or cause.remedy.replace("STEP", place.step or "*"),
        said=said,
        detail=detail,
        examples=tuple(pair for pair in tally.examples if all(pair)),
    )


def _over_memory(tally: Tally, memory: Tally) -> tuple[float, float]:
    """What table hits cost and took beyond as many memory hits."""
    each = tally.calls / memory.calls if memory.calls else 0.0
    return (
        max(0.0, tally.own_cost - each * memory.own_cost),
        max(0.0, tally.milliseconds - each * memory.milliseconds),
    )


def _returns(tally: Tally) -> Iterator[str]:
    ages = sorted((now - born) / 1000 for born, now in tally.gaps_ms.values if now > born)
    if ages:
        half, most = ages[len(ages) // 2], ages[min(len(ages) - 1, int(len(ages) * 0.9))]
        yield f"half came back within {duration(half)} of being made, nine in ten within {duration(most)}: {round(most):,} seconds would do"


def duration(seconds: float) -> str:
    for name, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:,.1f} seconds"


def _mb(size: int) -> str:
    return f"{size / 1024 / 1024:,.1f} MiB"
