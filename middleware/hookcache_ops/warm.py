"""
`hookcache warm`: fill the cache from finished work, so that the first request of a document's pages hits already.

Each pair goes through the deployed hook's own path, with the recorded answer in the backend's place: same keys, same
admission gate, same leases. What is kept already is skipped for one read, so a run that was cut short is simply repeated.
An entry lives from the time its answer was given, not from now.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from hookcache.settings import Settings
from hookcache_ops.bad_input import BadInput
from hookcache_ops.ledger.render import money
from hookcache_ops.output import beneath, counted
from hookcache_ops.pairs import Pair, check_sources, read_pairs
from hookcache_ops.reach import variables_for
from hookcache_ops.warmer import Warmed, Warmer

EXAMPLE = """examples:
  hookcache warm pairs.jsonl --function GENAIIDP-cache-ocr --dry-run
  hookcache warm pairs.jsonl --function GENAIIDP-cache-ocr --rate 50
  hookcache warm finished/ --images pages/ --function GENAIIDP-cache-ocr --json

A line of pairs.jsonl: {"event": {...}, "answer": {...}, "time": "2026-11-01T08:00Z"}. A folder: NAME.request.json beside
NAME.answer.json. You need the wrapper's own rights on table, bucket, secret and price table.
"""
REMEDIES = {
    "table_down": "the table does not answer: check your rights on it, the network and whether your login has expired",
    "orders_unreadable": "the orders in the table are damaged: give them again, or take them back with hookcache mode --clear",
    "secret_unavailable": "the secret cannot be read: log in again if your login has expired; you need secretsmanager:GetSecretValue on it, and kms:Decrypt on its key",
    "backend_unknown": "the backend cannot be looked up: log in again if your login has expired; you need lambda:GetFunctionConfiguration on it",
}
SWITCHED_OFF = {
    "mode_off": "the mode is off: take an order back with hookcache mode --clear, or change HOOKCACHE_MODE and HOOKCACHE_POLICY"
}
GIVE_UP = 10
"""After so many pairs in a row that could not reach the cache the others are left for the next run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument(
        "sources", nargs="+", metavar="PAIRS", help="file of JSON lines (plain or gzip), or folder of pairs"
    )
    parser.add_argument(
        "--images", metavar="FOLDER", help="page images that S3 no longer has, under their objects' last names"
    )
    parser.add_argument(
        "--rate", type=float, default=20.0, help="at most so many pairs a second (default: %(default)g)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be kept and what that costs; write nothing"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON and nothing else")
    group = parser.add_argument_group("which cache (default: the HOOKCACHE_* variables of this shell)")
    group.add_argument("--function", metavar="NAME", help="the wrapper, such as GENAIIDP-cache-ocr")


def run(args: argparse.Namespace) -> int:
    """0 every pair is kept or was there; 1 some are not, or interrupted."""
    if not (math.isfinite(args.rate) and args.rate > 0):
        raise BadInput("--rate must be a number above 0")
    if args.images and not Path(args.images).is_dir():
        raise BadInput(f"--images {args.images} is no folder; give the one that holds the pages")
    warmed = Warmed()
    try:
        check_sources(args.sources)
        warmer = Warmer(Settings.of(variables_for(args)), dry_run=args.dry_run, images=args.images)
        _walk(warmer, read_pairs(args.sources), warmed, args)
    except KeyboardInterrupt:
        _show(warmed, args)
        _complain("interrupted; run the same command again, what is kept is skipped")
        return 1
    except BadInput:
        if warmed.pairs:
            _show(warmed, args)
        raise
    if not warmed.pairs:
        raise BadInput(f"no pairs in {', '.join(args.sources)}; see hookcache warm --help for what a line of them is")
    _show(warmed, args)
    if warmed.unpriced:
        _complain(
            f"{counted(warmed.unpriced, 'answer')} kept without a price, so no hit there will say what it saved: the table that "
            "HOOKCACHE_PRICES names must be there for you as well, with their units in the row of HOOKCACHE_PRICE_AS; "
            "--dry-run tells so before"
        )
    remedies = REMEDIES | SWITCHED_OFF
    for reason in warmed.bypassed.keys() & remedies.keys():
        _complain(f"{remedies[reason]}; then run the same command again, what is kept is skipped")
    return int(warmed.kept + warmed.known < warmed.pairs)


def _walk(warmer: Warmer, pairs: Iterable[Pair], warmed: Warmed, args: argparse.Namespace) -> None:
    console = Console(file=beneath(sys.stderr), quiet=args.json)
    columns = (TextColumn("Warming: {task.completed:,} pairs"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=None)
        began, unreached = time.monotonic(), 0
        for number, pair in enumerate(pairs):
            time.sleep(max(0.0, began + number / args.rate - time.monotonic()))
            bypassed = warmer.fill(pair, warmed)
            progress.advance(task)
            unreached = unreached + 1 if bypassed in REMEDIES else 0
            if unreached == GIVE_UP:
                return


def _show(warmed: Warmed, args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps(warmed.to_json(), indent=2))
        return
    would = "would be kept" if args.dry_run else "kept"
    print(f"{counted(warmed.pairs, 'pair')}: {warmed.kept:,} {would}, {warmed.known:,} known already")
    for title, reasons in (("refused", warmed.refused), ("bypassed", warmed.bypassed)):
        for reason, count in reasons.most_common():
            print(f"  {count:,} {title}: {reason}")
    about = "about " if args.dry_run else ""
    print(f"{about}{warmed.write_units:,.0f} write units, {about}{money(float(warmed.cost))} at the table's prices")


def _complain(text: str) -> None:
    print(f"hookcache warm: {text}", file=sys.stderr)
