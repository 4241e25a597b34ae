"""The scenarios that usually matter, made from the deployed settings; the smaller change stands first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hookcache.outcome import Outcome
from hookcache.policy import DAY_SECONDS
from hookcache.request import CONTEXTS
from hookcache.settings import ANY_CONTEXT, MOST_MEMORY_BYTES
from hookcache_ops.receipts import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hookcache_ops.simulate.deployed import Deployed
    from hookcache_ops.simulate.log import Log
    from hookcache_ops.simulate.scenario import Scenario

DAYS = (7, 30)
MEMORY_TIMES = (2, 4)
HOUR_SECONDS = 3_600
MEBIBYTE = 1024 * 1024
MODE_ON = (  # a receipt tells the mode, and not whether an order made it, which goes before the settings
    "take an order back with `hookcache mode --clear` (`--show` tells of it); else set HOOKCACHE_MODE=on, and no other mode "
    "in HOOKCACHE_POLICY"
)
UNTRACED = (
    "the log holds no components; set trace: true in HOOKCACHE_POLICY for the step, and simulate what comes after"
)


def usual(deployed: Deployed, log: Log) -> list[Scenario]:
    """What-ifs that fit the log: those that change nothing are left out."""
    base = deployed.scenario
    found: list[Scenario] = []
    if log.modes - {"on"}:
        found.append(base.but("mode on", MODE_ON, mode="on"))
    steps = sorted({request.context for request in log.in_time})
    shortest = min((base.rules(step).fresh_seconds for step in steps), default=0)
    found += [
        fresh(base, seconds, [step for step in steps if base.rules(step).fresh_seconds > seconds])
        for seconds in (days * DAY_SECONDS for days in DAYS)
        if seconds > shortest or (deployed.changed and seconds >= shortest)
    ]
    sizes = [times * base.settings.memory_bytes for times in MEMORY_TIMES]
    found += [memory(base, size_bytes) for size_bytes in sizes if size_bytes <= MOST_MEMORY_BYTES]
    # No step may have a shorter freshness, also none that the log does not hold.
    shortest_of_all = min(base.rules(step).fresh_seconds for step in (*CONTEXTS, ANY_CONTEXT))
    if base.settings.memory_seconds < HOUR_SECONDS <= shortest_of_all:
        found.append(memory_life(base, HOUR_SECONDS))
    if any(request.context == "OCR" and request.images is not None for request in log.in_time):
        found.append(images_only(base, ["OCR"]))
    return found


def fresh(base: Scenario, seconds: int, but: Sequence[str] = ()) -> Scenario:
    """Another freshness for all steps `but` those that have a longer one of their own."""
    days = seconds / DAY_SECONDS
    name = f"fresh {days:g} d" if days >= 1 else f"fresh {seconds:,} s"
    advice = f"set HOOKCACHE_FRESH_SECONDS={seconds}, and no shorter fresh_seconds in HOOKCACHE_POLICY"
    kept = {step: {"fresh_seconds": base.rules(step).fresh_seconds} for step in but if step in CONTEXTS}
    return base.but(name, advice, fresh_seconds=seconds, policy=kept)


def memory(base: Scenario, size_bytes: int) -> Scenario:
    times = size_bytes / base.settings.memory_bytes
    name = f"memory x{times:g}" if times in MEMORY_TIMES else f"memory {mebibytes(size_bytes)}"
    return base.but(name, f"set HOOKCACHE_MEMORY_BYTES={size_bytes}", memory_bytes=size_bytes)


def memory_life(base: Scenario, seconds: int) -> Scenario:
    advice = f"set HOOKCACHE_MEMORY_SECONDS={seconds}; an erased answer may then linger in memory as long"
    return base.but(f"memory for {seconds:,} s", advice, memory_seconds=seconds)


def images_only(base: Scenario, steps: Sequence[str]) -> Scenario:
    advice = (
        "no setting does this: `hookcache explain` names what differs beside the images; make that constant in the "
        "step's prompt. Right only for a backend that reads the images and nothing else"
    )
    return base.but(f"images-only {', '.join(steps)}", advice, images_only=list(steps))


def mebibytes(size_bytes: float) -> str:
    size = size_bytes / MEBIBYTE
    return f"{size:,.0f} MiB" if size >= 10 else f"{size:.3g} MiB"


def asked_for(base: Scenario, log: Log, wishes: Any) -> Iterator[Scenario]:
    """
    The scenarios that the command line names.

    Raises:
        SourceError: one cannot be replayed from this log, or a value is none that hookcache takes.
    """
    yield from (fresh(base, seconds) for seconds in wishes.fresh_seconds or ())
    yield from (memory(base, size_bytes) for size_bytes in wishes.memory_bytes or ())
    yield from (memory_life(base, seconds) for seconds in wishes.memory_seconds or ())
    if wishes.environments:
        advice = "a fact of the load, to be changed by reserved or provisioned concurrency"
        yield from (base.but(f"{count} environments", advice, environments=count) for count in wishes.environments)
    if wishes.images_only:
        _needs_trace(log, "--images-only")
        yield images_only(base, wishes.images_only)
    if wishes.merge_namespaces:
        _needs_trace(log, "--merge-namespaces")
        yield base.but(
            "one namespace", "give the wrappers one table, secret and HOOKCACHE_NAMESPACE", merge_namespaces=True
        )


def _needs_trace(log: Log, option: str) -> None:
    if not log.traced:
        raise SourceError(f"{option}: {UNTRACED}")


def check_traced(scenario: Scenario, log: Log) -> Scenario:
    """
    Raises:
        SourceError: it makes keys of components, and the log has none.
    """
    if scenario.images_only or scenario.merge_namespaces:
        _needs_trace(log, f"scenario {scenario.name!r}")
    return scenario


def never_seen(log: Log) -> list[str]:
    """The hits whose latency this log cannot know."""
    return [
        outcome.value for outcome in (Outcome.HIT_MEMORY, Outcome.HIT_TABLE) if not log.experience.has_seen(outcome)
    ]


def distinct(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Each name once; a second one is numbered."""
    met: dict[str, int] = {}
    found = []
    for scenario in scenarios:
        met[scenario.name] = met.get(scenario.name, 0) + 1
        again = met[scenario.name]
        found.append(scenario if again == 1 else replace(scenario, name=f"{scenario.name} ({again})"))
    return found
