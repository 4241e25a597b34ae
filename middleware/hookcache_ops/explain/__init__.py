"""
`hookcache explain`: why requests missed, and what would have made them hit.

    EVENT EVENT         where two events of the host differ, and which differences do not count
    RECEIPT RECEIPT     which component differs, without content
    EVENT [LOG...]      what the deployed cache would do with it now, and the nearest earlier request
    LOG...              the causes of misses, dearest first; --request picks one or two requests of it
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hookcache_ops.bad_input import BadInput
from hookcache_ops.explain import screen, told
from hookcache_ops.explain.events import compare
from hookcache_ops.explain.findings import MEMORY_BYTES, Finding, findings
from hookcache_ops.explain.in_time import receipts_in_time
from hookcache_ops.explain.inputs import Given, Images, given, payloads
from hookcache_ops.explain.losses import Losses
from hookcache_ops.explain.nearest import nearest
from hookcache_ops.explain.traced import Trace, differences
from hookcache_ops.output import terminal_width
from hookcache_ops.receipts import Receipt
from hookcache_ops.sources import NO_RECEIPTS, add_source_arguments, period_of, progress_to_terminal, sources_of

if TYPE_CHECKING:
    from hookcache_ops.explain.deployed import Verdict

EXAMPLE = """examples:
  hookcache explain function.log                              the causes of misses, dearest first
  hookcache explain logs:/hookcache-ocr/lambda/HookFunction --since 7d
  hookcache explain function.log --request ID                 the nearest earlier request to one
  hookcache explain function.log --payloads payloads.jsonl    with what the texts themselves show
  hookcache explain first-event.json second-event.json        where they differ
  hookcache explain event.json --function GENAIIDP-cache-ocr  would it hit now, and if not, why
  hookcache explain event.json function.log --function GENAIIDP-cache-ocr    and which earlier request is nearest

Logs tell what differs if the trace is on: HOOKCACHE_POLICY={"*": {"trace": true}}. docs/analysis.md explains each figure.
"""
NO_TRACE = 'has no trace, so nobody can tell what it holds; set HOOKCACHE_POLICY={"*": {"trace": true}} and take later receipts'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    add_source_arguments(parser, "; or two events, two receipts, one event")
    parser.add_argument(
        "--request", action="append", default=[], metavar="ID", help="a request id of the log; twice: compare"
    )
    parser.add_argument(
        "--payloads", action="append", default=[], metavar="FILE", help="JSON lines: request_id and event"
    )
    parser.add_argument("--images", metavar="DIR", help="page images by name (default: read from S3, where possible)")
    parser.add_argument("--function", metavar="NAME", help="the wrapper that an event is held against")
    parser.add_argument(
        "--memory-bytes", type=int, default=MEMORY_BYTES, help="HOOKCACHE_MEMORY_BYTES of the log's function"
    )
    parser.add_argument(
        "--memory-seconds", type=float, default=300.0, help="HOOKCACHE_MEMORY_SECONDS of the log's function"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON and nothing else")


def run(args: argparse.Namespace) -> int:
    """0 explained, 1 nothing found to explain."""
    if not (args.memory_bytes > 0 and args.memory_seconds > 0):
        raise BadInput("--memory-bytes and --memory-seconds are above 0, as the function's own settings are")
    inputs = [given(name) for name in sources_of(args)]
    kinds = [each.kind for each in inputs]
    if args.function and (args.request or kinds.count("event") != 1):
        raise BadInput("--function is what one event is held against; give that event, or leave --function out")
    if args.request:
        return _requests(args, [each.name for each in inputs])
    if kinds == ["event", "event"]:
        return _events(args, inputs[0].value, inputs[1].value)
    if kinds == ["receipt", "receipt"]:
        return _receipts(args, inputs[0], inputs[1])
    if kinds[0] == "event":
        if "event" in kinds[1:]:
            raise BadInput("give two events, or one event and the receipts that it is held against")
        return _event(args, inputs[0], [each.name for each in inputs[1:]])
    if "event" in kinds:
        raise BadInput("give the event first, then the receipts that it is held against")
    return _log(args, [each.name for each in inputs])


def _events(args: argparse.Namespace, one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    comparison = compare(one, other, Images(args.images).read)
    _say(args, told.changes_told(comparison), told.changes_json(comparison))
    return 0


def _receipts(args: argparse.Namespace, one: Given, other: Given) -> int:
    traces = [Trace.of(each.value.get("components")) for each in (one, other)]
    for name, trace in ((one.name, traces[0]), (other.name, traces[1])):
        if trace is None:
            raise BadInput(f"{name} {NO_TRACE}")
    return _compared(args, one.value, other.value)


def _compared(args: argparse.Namespace, one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    first, second = Trace.of(one.get("components")), Trace.of(other.get("components"))
    if first is None or second is None:
        raise BadInput(f"one of the receipts {NO_TRACE}")
    differing = differences(first, second)
    body = {"schema": 1, "same_key": not differing, "differences": told.differences_json(differing)}
    _say(args, told.receipts_told(one, other, differing), body)
    return 0


def _requests(args: argparse.Namespace, sources: Sequence[str]) -> int:
    """One or two requests of a log, by their ids."""
    if len(args.request) > 2:
        raise BadInput("--request is for one request, or for two to compare")
    if "-" in sources:
        raise BadInput("--request reads the log twice; give it as a file, not through standard input")
    found = {each.request_id: each for each in _read(args, sources) if each.request_id in args.request}
    for request_id in args.request:
        if request_id not in found:
            raise BadInput(f"--request {request_id} is not in these receipts; give its log, or a longer period")
    events = payloads(args.payloads, args.request)
    first = found[args.request[0]]
    if len(args.request) == 2:
        if len(events) == 2:
            return _events(args, events[args.request[0]], events[args.request[1]])
        return _compared(args, first.members, found[args.request[1]].members)
    trace = Trace.of(first.members.get("components"))
    if trace is None:
        raise BadInput(f"--request {first.request_id} {NO_TRACE}")
    near = nearest(trace, first.step, _read(args, sources), first.request_id)
    body = {
        "schema": 1,
        "request_id": first.request_id,
        "outcome": first.outcome,
        "reason": first.members.get("reason", ""),
        "nearest": near.receipt.request_id if near else None,
        "differences": told.differences_json(near.differing if near else ()),
    }
    reason = f" ({first.members['reason']})" if first.members.get("reason") else ""
    _say(args, [f"{first.request_id}: {first.outcome}{reason}.", *told.nearest_told(near)], body)
    return 0 if near else 1


def _event(args: argparse.Namespace, event: Given, logs: Sequence[str]) -> int:
    """One event against the deployed cache, and the nearest earlier request of the logs."""
    verdict = _verdict(args, event.value)
    lines = list(told.verdict_told(verdict))
    body: dict[str, Any] = {
        "schema": 1,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "mode": verdict.mode,
        "key_id": verdict.key_id,
        "age_seconds": verdict.age_seconds,
        "fresh_seconds_left": verdict.fresh_seconds_left,
        "entry_bytes": verdict.entry_bytes,
        "same_request_under_other_keys": verdict.others,
    }
    trace = Trace.of(verdict.components)
    if logs and trace is not None:
        near = nearest(trace, verdict.step, _read(args, logs))
        lines += told.nearest_told(near)
        body |= {
            "nearest": near.receipt.request_id if near else None,
            "differences": told.differences_json(near.differing if near else ()),
        }
    elif verdict.outcome == "miss":
        lines.append("Give receipts beside the event, and the nearest earlier request is named.")
    _say(args, lines, body)
    return 0


def _verdict(args: argparse.Namespace, event: Mapping[str, Any]) -> Verdict:
    from hookcache_ops.explain.deployed import look_up
    from hookcache_ops.reach import SHELL, variables_of

    if args.function:
        return look_up(event, variables_of(args.function), f"the variables of {args.function}")
    return look_up(event, os.environ, SHELL)


def _log(args: argparse.Namespace, sources: Sequence[str]) -> int:
    """The causes of misses over a log."""
    losses = Losses(args.memory_seconds)
    for receipt in _read(args, sources):
        losses.add(receipt)
    if not losses.outcomes:
        print(f"hookcache explain: {NO_RECEIPTS}", file=sys.stderr)
        return 1
    found, needed = findings(losses, args.memory_bytes)
    if args.json:
        print(json.dumps(screen.as_json(losses, found, needed), indent=2))
        return 0
    width = min(120, terminal_width() or 100)
    sys.stdout.write(screen.as_text(losses, found, needed, sources, _from_payloads(args, found), width))
    return 0


def _from_payloads(args: argparse.Namespace, found: Sequence[Finding]) -> list[list[str]]:
    """What the events of each finding's first example say."""
    if not args.payloads:
        return []
    shown = found[: screen.SHOWN]
    events = payloads(args.payloads, (each for one in shown for pair in one.examples for each in pair))
    images = Images(args.images)
    said: list[list[str]] = []
    for each in shown:
        pair = next((pair for pair in each.examples if all(one in events for one in pair)), None)
        changes = compare(events[pair[0]], events[pair[1]], images.read).changes if pair else []
        said.append(
            [line.strip() for change in changes[:1] for line in told.change_told(change) if "Remedy" not in line]
        )
    return said


def _read(args: argparse.Namespace, sources: Sequence[str]) -> Iterator[Receipt]:
    return receipts_in_time(sources, period_of(args), progress_to_terminal("explain"))


def _say(args: argparse.Namespace, lines: Iterator[str] | Sequence[str], body: Mapping[str, Any]) -> None:
    print(json.dumps(body, indent=2) if args.json else "\n".join(lines))
