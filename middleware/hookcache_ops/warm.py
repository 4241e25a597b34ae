"""
`hookcache warm`: fill the cache from finished work, so that the first request of a document's pages hits already.

Each pair goes through the deployed hook's own path, with the recorded answer in the backend's place: same keys, same
admission gate, same leases. What is kept already is skipped for one read, so a run that was cut short is simply repeated.
An entry lives from the time its answer was given, not from now.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from hookcache.backend import Answer, spelt
from hookcache.cache import Cache
from hookcache.clock import Clock, Deadline
from hookcache.codec import ZLIB_LEVEL
from hookcache.commands import OperatorClients
from hookcache.errors import BackendError
from hookcache.hook import CachingHook
from hookcache.metering import Meter
from hookcache.outcome import Reason
from hookcache.policy import Mode
from hookcache.sealer import INLINE_BYTES
from hookcache.settings import Settings
from hookcache.truth import TruthCheck
from hookcache.value import replace
from hookcache_ops.bad_input import BadInput
from hookcache_ops.ledger.render import money
from hookcache_ops.output import beneath, counted
from hookcache_ops.pairs import Pair, check_sources, read_pairs
from hookcache_ops.reach import patient_assembly, require_wrapper, variables_for
from hookcache_ops.receipts import HITS
from hookcache_ops.warm_clients import WarmClients
from hookcache_ops.warm_dated import Dated

EXAMPLE = """examples:
  hookcache warm pairs.jsonl --function GENAIIDP-cache-ocr --dry-run
  hookcache warm pairs.jsonl --function GENAIIDP-cache-ocr --rate 50
  hookcache warm finished/ --images pages/ --function GENAIIDP-cache-ocr --json

A line of pairs.jsonl: {"event": {...}, "answer": {...}, "time": "2026-11-01T08:00Z"}. A folder: NAME.request.json beside
NAME.answer.json. You need the wrapper's own rights on table, bucket, secret and price table.
"""
PLENTY_MS = 840_000
OTHER_WRITES = 5
"""Write units of a fill besides the entry's own: lease taken and released, three index items."""
KB = 1024
UNWRITTEN = "unwritten"
REMEDIES = {
    "table_down": "the table does not answer: check your rights on it, the network and whether your login has expired",
    "orders_unreadable": "the orders in the table are damaged: give them again, or take them back with hookcache mode --clear",
    "secret_unavailable": "the secret cannot be read: log in again if your login has expired; you need secretsmanager:GetSecretValue on it, and kms:Decrypt on its key",
    "backend_unknown": "the backend cannot be looked up: log in again if your login has expired; you need lambda:GetFunctionConfiguration on it",
}
SWITCHED_OFF = {
    "mode_off": "the mode is off: take an order back with hookcache mode --clear, or change HOOKCACHE_MODE and HOOKCACHE_POLICY"
}
_OWN_RULES: Mapping[str, Any] = {"check_share": 0.0, "delegate_after_wait": True, "negative_errors": frozenset()}
"""Of every context, whatever is set: the answer is at hand, and nobody's backend is asked for it."""
GIVE_UP = 10
"""After so many pairs in a row that could not reach the cache the others are left for the next run."""


@dataclass(slots=True)
class Warmed:
    """
    What became of the pairs.

    `kept` were stored (in a dry run: would be), `known` were there already, `refused` and `bypassed` are counted by reason;
    `unwritten` is what the table did not get, for a reason that no receipt tells. `unpriced` of those kept have a unit
    without a price, although there is a row to charge them at.
    `write_units` are DynamoDB's, estimated in a dry run; `cost` is theirs and the reads', in the price table's currency.
    """

    pairs: int = 0
    kept: int = 0
    known: int = 0
    unpriced: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    bypassed: Counter[str] = field(default_factory=Counter)
    write_units: float = 0.0
    cost: Decimal = Decimal(0)

    def to_json(self) -> dict[str, Any]:
        return {
            "pairs": self.pairs,
            "kept": self.kept,
            "known": self.known,
            "unpriced": self.unpriced,
            "refused": dict(self.refused),
            "bypassed": dict(self.bypassed),
            "write_units": round(self.write_units, 1),
            "cost": float(round(self.cost, 12)),
        }


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


class Warmer:
    """
    The deployed hook with recorded answers in its backend's place.

    Args:
        settings: of the function that is warmed.
        dry_run: nothing is written, and the table's client could not.
        images: folder of images that S3 no longer has.
        clients, clock: the real ones if not given.

    Raises:
        ReachError: the function is no wrapper.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        dry_run: bool = False,
        images: str | None = None,
        clients: Any = None,
        clock: Clock | None = None,
    ) -> None:
        require_wrapper(settings)
        self._dry_run = dry_run
        self._assembly = patient_assembly(
            settings, {}, WarmClients(clients or OperatorClients(), dry_run=dry_run, images=images), clock
        )
        self._lines: list[str] = []
        self._pair: Pair | None = None
        assembly = self._assembly
        rules = {
            context: replace(each, mode=_mode(each.mode, dry_run=dry_run), **_OWN_RULES)
            for context, each in assembly.rules().items()
        }
        meter = Meter(assembly.clock, assembly.spending, assembly.prices, {}, write=self._lines.append)
        self._hook = CachingHook(
            self, self._cache, rules, assembly.prices, meter, TruthCheck(assembly.clock), assembly.clock
        )

    def fill(self, pair: Pair, warmed: Warmed) -> str:
        """Send one pair along the path, and count what became of it; why the cache was not used, if so."""
        self._pair = pair
        self._lines.clear()
        with contextlib.suppress(BackendError):  # of a caller whom this pair waited for; the next run will keep it
            self._hook(pair.event, _Context())
        receipt = json.loads(self._lines[0])
        warmed.pairs += 1
        self._count(receipt, pair, warmed)
        return str(receipt["reason"]) if receipt["outcome"] == "bypass" else ""

    def _count(self, receipt: Mapping[str, Any], pair: Pair, warmed: Warmed) -> None:
        units = {
            name: count for name, count in receipt["own_units"].items() if not name.startswith(("lambda_", "log_"))
        }
        kept = warmed.kept
        if receipt["outcome"] in HITS:
            warmed.known += 1
        elif receipt["refusal"]:
            warmed.refused[receipt["refusal"]] += 1
        elif receipt["outcome"] in {"bypass", "failed"}:
            warmed.bypassed[receipt["reason"]] += 1
        elif self._dry_run:
            stored_bytes = len(zlib.compress(spelt(pair.answer), ZLIB_LEVEL))
            if stored_bytes > INLINE_BYTES and not self._assembly.settings.overflow_bucket:
                warmed.refused[Reason.ANSWER_SIZE.value] += 1
            else:
                warmed.kept += 1
                units |= _writes(stored_bytes)
        elif receipt["entry_bytes"]:  # the hook sets it once the table has the entry
            warmed.kept += 1
        else:
            warmed.bypassed[UNWRITTEN] += 1
        warmed.unpriced += warmed.kept > kept and bool(receipt["unpriced_units"] and self._assembly.settings.price_as)
        warmed.write_units += units.get("table_write_units", 0)
        warmed.cost += self._assembly.prices.own(units)

    # -- as the hook's backend and cache

    def invoke(self, _event: Any, _context: Any, _deadline: Deadline) -> Answer:
        """The recorded answer; the shape of a `Backend`."""
        assert self._pair is not None  # noqa: S101 - set by `fill`, which calls the hook
        return Answer(spelt(self._pair.answer), self._pair.answer)

    def _cache(self, deadline: Deadline) -> Cache | None:  # noqa: ARG002 - nobody waits for it
        cache = self._assembly.cache()
        return None if cache is None else Dated(cache, self._pair, self._assembly.items)  # type: ignore[return-value] # the same methods


class _Context:
    """A Lambda context with plenty of time."""

    def __init__(self) -> None:
        self.aws_request_id = uuid.uuid4().hex

    def get_remaining_time_in_millis(self) -> int:
        return PLENTY_MS


def _mode(mode: Mode, *, dry_run: bool) -> Mode:
    if mode is Mode.OFF:
        return mode
    return Mode.READ_ONLY if dry_run else Mode.ON


def _writes(stored_bytes: int) -> dict[str, float]:
    """About what keeping so large a body would cost: DynamoDB's write units of 1 KB, and an object where it is one."""
    overflows = stored_bytes > INLINE_BYTES
    item_bytes = KB // 2 + (0 if overflows else stored_bytes)
    return {"table_write_units": math.ceil(item_bytes / KB) + OTHER_WRITES, "s3_put_requests": int(overflows)}


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
