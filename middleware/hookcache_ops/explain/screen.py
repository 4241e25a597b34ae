"""An analysis as a person reads it in a terminal, and as JSON."""

from __future__ import annotations

import io
import shlex
import textwrap
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from hookcache_ops.explain.findings import OF_MEMORY, Finding
from hookcache_ops.explain.losses import Losses, Tally
from hookcache_ops.explain.traced import HOW
from hookcache_ops.ledger.render import UNKNOWN, count, millis, money, percent
from hookcache_ops.output import counted
from hookcache_ops.receipts import HITS
from hookcache_ops.times import spelt

SHOWN = 10
SCHEMA = 1


def as_json(losses: Losses, found: Sequence[Finding], needed: Tally) -> dict[str, Any]:
    """The stable form of an analysis (schema 1)."""
    requests = sum(losses.outcomes.values())
    return {
        "schema": SCHEMA,
        "requests": requests,
        "outcomes": dict(sorted(losses.outcomes.items())),
        "hits": sum(losses.outcomes[name] for name in HITS),
        "backend_calls": losses.asked.calls,
        "backend_cost": _amount(losses.asked.cost),
        "cost_unknown": losses.asked.cost_unknown,
        "first_sights": {"calls": needed.calls, "cost": _amount(needed.cost)},
        "lost_cost": _amount(sum(each.cost for each in found if not each.at_most)),
        "untraced_misses": losses.untraced,
        "unpriced_calls": losses.asked.unpriced,
        "only_recent_compared": losses.near.index.forgot,
        "findings": [_finding(each) for each in found],
    }


def _finding(found: Finding) -> dict[str, Any]:
    return {
        "cause": found.cause.name,
        "title": found.cause.title,
        "step": found.step,
        "where": found.where,
        "calls": found.calls,
        "cost": _amount(found.cost),
        "cost_unknown": found.cost_unknown,
        "at_most": found.at_most,
        "changed_once": spelt(found.once_ms) if found.once_ms else None,
        "changes_always": found.always,
        "variants": found.variants,
        "groups": found.groups,
        "first": spelt(found.first_ms),
        "last": spelt(found.last_ms),
        "functions": list(found.functions),
        "remedy": found.remedy,
        "said": found.said,
        "examples": [{"earlier": earlier, "request_id": now} for earlier, now in found.examples],
    }


def as_text(
    losses: Losses,
    found: Sequence[Finding],
    needed: Tally,
    sources: Sequence[str],
    told: Sequence[Sequence[str]] = (),
    width: int = 100,
) -> str:
    """For a terminal. `told` has, for each of the first findings, what their events say."""
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, emoji=False, markup=False)
    console.print("\n".join(_head(losses, found, needed)) + "\n")
    for number, each in enumerate(found[:SHOWN], 1):
        headed = textwrap.fill(
            f"{number:>2}. {headline(each)}", width, subsequent_indent=8 * " ", break_on_hyphens=False
        )
        console.print(headed, soft_wrap=True)
        for line in [*pattern(each), *(told[number - 1] if number <= len(told) else ()), f"Remedy: {each.remedy}."]:
            console.print(Padding(Text(line), (0, 0, 0, 4)))
        if each.examples and each.groups and sources:
            earlier, now = each.examples[0]
            command = ["hookcache", "explain", *sources, "--request", earlier, "--request", now]
            console.print(f"    {shlex.join(command)}", soft_wrap=True)
        console.print()
    if len(found) > SHOWN:
        console.print(f"--json has {counted(len(found) - SHOWN, 'lesser finding')} more.")
    for note in notes(losses):
        console.print(note)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().rstrip().splitlines())


def _head(losses: Losses, found: Sequence[Finding], needed: Tally) -> list[str]:
    requests = sum(losses.outcomes.values())
    hits = sum(losses.outcomes[name] for name in HITS)
    lost = [each for each in found if not each.at_most and each.cause.name not in OF_MEMORY]
    lost_cost = sum(each.cost for each in lost)
    unknown = any(each.cost_unknown for each in lost) and not lost_cost
    paid = f" ({UNKNOWN})" if losses.asked.cost_unknown else f", for {money(losses.asked.cost)}"
    asked = f"{count(losses.asked.calls)} asked the backend{paid}"
    were_needed = f"{count(needed.calls)} were first sights ({_told(needed.cost, unknown=needed.cost_unknown)})"
    wasted = f"{count(sum(each.calls for each in lost))} need not have been ({_told(lost_cost, unknown=unknown)})"
    return [
        f"{count(requests)} requests, {count(hits)} answered from the cache ({percent(hits / requests)}).",
        f"{asked}: {were_needed}, {wasted}.",
        "" if found else "Nothing was lost that this log can show.",
        *([f"By {'calls' if losses.asked.cost_unknown else 'money'} lost:"] if found else []),
    ]


def _told(cost: float, *, unknown: bool) -> str:
    return UNKNOWN if unknown else money(cost)


def headline(found: Finding) -> str:
    """`$12.40   time stamp in the prompt: 312 Extraction misses differ only in text block 2`."""
    amount = f"{'at most ' if found.at_most and not found.cost_unknown else ''}{_told(found.cost, unknown=found.cost_unknown)}"
    return f"{amount}  {found.cause.title}: {sentence(found)}"


def sentence(found: Finding) -> str:
    """How many calls, of which step, and in what they differ."""
    one = found.calls == 1
    misses = f"{count(found.calls)} {found.step + ' ' if found.step else ''}{'miss' if one else 'misses'}"
    requests = f"{count(found.calls)} {found.step + ' ' if found.step else ''}{'request' if one else 'requests'}"
    match found.cause.name:
        case "freshness":
            return f"{misses} came after the answer had expired"
        case "memory" | "environments":
            return f"{count(found.calls)} table hits came within the memory's lifetime of the last answer"
        case "refused":
            return f"{misses} came after an answer refused as `{found.where}`"
        case "reason":
            return f"{misses} with the reason `{found.where}`"
        case "temperature_omitted" | "temperature_high" | "sampling":
            return f"{requests} bypassed the cache"
        case "bypass":
            return f"{requests} bypassed the cache, reason `{found.where}`"
        case _:
            return f"{misses} {'differs' if one else 'differ'} from an earlier request only in {found.where}"


def pattern(found: Finding) -> list[str]:
    """What the digests show of how it changes."""
    lines = [text for text in (found.said, HOW.get(found.detail, "")) if text]
    if found.functions:
        lines.append(
            f"between {' and '.join(found.functions)}" if len(found.functions) > 1 else f"at {found.functions[0]}"
        )
    if found.once_ms:
        lines.append(f"changed once, about {spelt(found.once_ms)}; {count(found.groups)} requests were asked anew")
    elif found.always:
        like = "; it looks like a time stamp or request id" if found.cause.name == "time_stamp" else ""
        lines.append(f"another value on every request ({count(found.variants)} of them){like}")
    elif found.variants > 1 and not found.functions:
        lines.append(f"{count(found.variants)} values over {count(found.groups)} otherwise equal requests")
    if found.cause.name in OF_MEMORY:
        lines.append(f"{millis(found.milliseconds / found.calls)} each beyond a memory hit, and table reads")
    return lines


def notes(losses: Losses) -> list[str]:
    """What a reader must know about how the figures came about."""
    found = []
    if losses.untraced:
        found.append(
            f"{counted(losses.untraced, 'miss', 'misses')} without a trace, so what differs is unknown: set "
            'HOOKCACHE_POLICY={"*": {"trace": true}}.'
        )
    if losses.asked.unpriced:
        found.append(
            f"{counted(losses.asked.unpriced, 'call')} with units that have no price; the money above leaves them out"
            " (HOOKCACHE_PRICES, HOOKCACHE_PRICE_AS)."
        )
    if losses.near.index.forgot:
        found.append("A long log: each request was compared with the tens of thousands of different ones before it.")
    return found


def _amount(cost: float) -> float:
    return round(cost, 9)
