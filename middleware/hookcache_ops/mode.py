"""
`hookcache mode`: how much of the cache is in use, for all steps or one, without a redeploy.

    on            look up, serve, store
    observe       look up and store, never serve: receipts show what caching would save
    read_only     serve what is there, store nothing
    write_only    store, never serve
    off           every event passed through

The order stands before HOOKCACHE_MODE and HOOKCACHE_POLICY until it is taken back with --clear. Environments follow within
a minute. A wrapper whose own settings say `off` reads no orders: change its settings instead.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from hookcache.orders import ALL_CONTEXTS
from hookcache.policy import Mode
from hookcache_ops.bad_input import BadInput
from hookcache_ops.invalidate import CONTEXT_WORDS
from hookcache_ops.reach import Reach, add_reach_arguments, reach_of, refused
from hookcache_ops.times import spelt

EXAMPLE = """examples:
  hookcache mode observe --context OCR --function GENAIIDP-cache-ocr
  hookcache mode off --function GENAIIDP-cache-ocr
  hookcache mode --clear --context OCR --function GENAIIDP-cache-ocr
  hookcache mode --show --function GENAIIDP-cache-ocr

Every environment follows within a minute. Where the settings themselves say off (HOOKCACHE_MODE, or mode in
HOOKCACHE_POLICY), nothing is read, orders included: change the setting there.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("mode", nargs="?", choices=[mode.value for mode in Mode], help="the mode to order")
    parser.add_argument(
        "--context",
        choices=CONTEXT_WORDS,
        metavar="STEP",
        help="one step; default: every step, in place of earlier orders",
    )
    parser.add_argument("--clear", action="store_true", help="take the order back: the settings hold again")
    parser.add_argument("--show", action="store_true", help="print the orders that stand, and change nothing")
    add_reach_arguments(parser)
    parser.add_argument(
        "--json", action="store_true", help="print the orders that stand then, as JSON and nothing else"
    )


def run(args: argparse.Namespace) -> int:
    """0 done, 1 the cache could not be asked, or its orders are not its operator's."""
    command = command_of(args)
    return carry_out(args, command, reach_of(args))


def command_of(args: argparse.Namespace) -> dict[str, Any]:
    """
    The command that the arguments mean.

    Raises:
        BadInput: they contradict each other or say nothing.
    """
    if sum((args.mode is not None, args.clear, args.show)) != 1:
        raise BadInput("say one of: a mode (on, observe, read_only, write_only, off), --clear or --show")
    if args.show:
        return {"command": "show"}
    return {"command": "mode", "context": args.context or ALL_CONTEXTS, "mode": args.mode}


def carry_out(args: argparse.Namespace, command: dict[str, Any], reach: Reach) -> int:
    """Give the order, and print those that stand then."""
    report = reach.ask(command)
    if "error" in report:
        return refused(report, "mode")
    print(json.dumps(report, indent=2) if args.json else _text(report, changed=not args.show))
    return 1 if report.get("tampered") else 0


def _text(report: dict[str, Any], *, changed: bool) -> str:
    lines = [f"Orders for namespace {report['namespace']}:"]
    for context, mode in sorted(report["modes"].items()):
        lines.append(f"  {_scope(context)}: mode {mode}")
    for name, use in (("not_before_ms", "never served"), ("stale_before_ms", "served only in place of an error")):
        for context, time_ms in sorted(report[name].items()):
            lines.append(f"  {_scope(context)}: answers made before {spelt(time_ms)} are {use}")
    if report["generation"] is not None:
        lines.append(f"  every step: generation {report['generation']}")
    if len(lines) == 1:
        lines.append("  none: the settings hold")
    if report.get("tampered"):
        lines.append(
            "Somebody else wrote orders into the table; nobody obeys them. Give yours again, and see who may write."
        )
    if changed:
        lines.append("Every environment follows within a minute.")
    return "\n".join(lines)


def _scope(context: str) -> str:
    return "every step" if context == ALL_CONTEXTS else context
