"""
`hookcache review`: what the truth check found, by context, with the certainty that the number of checks allows.

    agrees      the backend said the same again
    drift       the same in other words, or a difference outside what the host reads
    false hit   the host would have read something else: a matter for review, since models vary
    unanswered  the backend did not answer the check

The review file has one JSON line per difference: which entry, when, and in which fields; values only if the operator set
`check_detail` to `content`.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import IO, Any

from rich.console import Console
from rich.table import Table

from hookcache_ops.ledger.render import fitting
from hookcache_ops.output import counted, terminal_width, whole_file
from hookcache_ops.receipts import Reading, Receipt, read_receipts
from hookcache_ops.sources import NO_RECEIPTS, add_source_arguments, period_of, progress_to_terminal, sources_of
from hookcache_ops.times import spelt

EXAMPLE = """examples:
  hookcache review function.log
  hookcache review logs:/hookcache-ocr/lambda/HookFunction --since 7d -o review.jsonl
  zcat *.gz | hookcache review - --json

Checks are made where HOOKCACHE_POLICY sets check_share, such as {"OCR": {"check_share": 0.02}}.
"""
RESULTS = ("agrees", "drift", "false_hit", "unanswered")
CONFIDENCE = 0.95
COLUMNS = (
    *("context", "checks", "agree", "drift", "false hits", "no answer"),
    *(f"false-hit rate\n({CONFIDENCE:.0%} sure)", "bypassed"),
)
SPARED = ("agree", "no answer", "drift", "checks", "bypassed", "false hits")
"""What a terminal too narrow for all columns does without, first ones first; JSON has all."""
REVIEWED = ("result", "fields", "differing", "paths", "values")


@dataclass(slots=True)
class Checks:
    """The checks of one context: how many of each result, and the fields that differed most often."""

    results: Counter[str] = field(default_factory=Counter)
    paths: Counter[str] = field(default_factory=Counter)
    distrusted: int = 0

    @property
    def answered(self) -> int:
        return self.results.total() - self.results["unanswered"]

    def to_json(self) -> dict[str, Any]:
        low, high = interval(self.results["false_hit"], self.answered)
        return {
            "checks": self.results.total(),
            **{name: self.results[name] for name in RESULTS},
            "false_hit_rate": self.results["false_hit"] / self.answered if self.answered else None,
            "false_hit_rate_from": low,
            "false_hit_rate_to": high,
            "drift_rate": self.results["drift"] / self.answered if self.answered else None,
            "bypassed_as_distrusted": self.distrusted,
            "paths": dict(self.paths.most_common(10)),
        }


def interval(found: int, of: int) -> tuple[float, float]:
    """
    Where the true rate lies, with `CONFIDENCE`, when `found` of `of` were found; (0, 1) where nothing was looked at.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
    """
    if not of:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    rate, square = found / of, z * z / of
    middle, spread = rate + square / 2, z * math.sqrt(rate * (1 - rate) / of + square / (4 * of))
    low, high = ((middle + side * spread) / (1 + square) for side in (-1, 1))
    return (0.0 if not found else max(0.0, low)), (1.0 if found == of else min(1.0, high))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    add_source_arguments(parser)
    parser.add_argument(
        "-o", "--output", metavar="PATH", help="write the review file here, one JSON line per difference"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON and nothing else")


def run(args: argparse.Namespace) -> int:
    """0 no false hit, 1 false hits found, or no checks at all."""
    reading, period, progress = Reading(), period_of(args), progress_to_terminal("review")
    receipts = read_receipts(sources_of(args), reading, period=period, progress=progress)
    with suppress(_NoChecksError), whole_file(Path(args.output)) if args.output else nullcontext() as file:
        contexts = gathered(receipts, file)
        if not any(checks.results for checks in contexts.values()):
            raise _NoChecksError
    if args.json:
        print(json.dumps({name: checks.to_json() for name, checks in contexts.items()}, indent=2))
    elif contexts:
        sys.stdout.write(_text(contexts, terminal_width()))
    if not any(checks.results for checks in contexts.values()):
        none = "no checks found; set check_share in HOOKCACHE_POLICY, and wait for hits"
        kept = f"; {args.output} was not written" if args.output else ""
        print(f"hookcache review: {none if reading.receipts else NO_RECEIPTS}{kept}", file=sys.stderr)
        return 1
    return int(any(checks.results["false_hit"] for checks in contexts.values()))


class _NoChecksError(Exception):
    """There is nothing to write: a file of no checks would replace yesterday's."""


def gathered(receipts: Iterator[Receipt], file: IO[str] | None) -> dict[str, Checks]:
    """Counts by context; each difference goes to `file` as a line of its own."""
    contexts: defaultdict[str, Checks] = defaultdict(Checks)
    for receipt in receipts:
        if receipt.members.get("reason") == "distrusted":
            contexts[receipt.step].distrusted += 1
        check = receipt.members.get("check")
        if not isinstance(check, dict) or check.get("result") not in RESULTS:
            continue
        contexts[receipt.step].results[check["result"]] += 1
        paths = check.get("paths")
        if isinstance(paths, list):
            contexts[receipt.step].paths.update(path for path in paths if isinstance(path, str))
        if file is not None and check["result"] in {"drift", "false_hit"}:
            file.write(json.dumps(_line(receipt, check), ensure_ascii=False) + "\n")
    return dict(sorted(contexts.items()))


def _line(receipt: Receipt, check: dict[str, Any]) -> dict[str, Any]:
    return {
        "time": spelt(receipt.time_ms),
        "context": receipt.step,
        "function": receipt.function,
        "request_id": receipt.request_id,
        "key_id": receipt.members.get("key_id", ""),
        "age_seconds": receipt.members.get("age_seconds"),
        **{name: check[name] for name in REVIEWED if name in check},
    }


def _text(contexts: dict[str, Checks], width: int | None) -> str:
    """Plain characters, for a terminal of this width; without one, as for a file, nothing is broken over lines."""
    out = io.StringIO()
    console = Console(file=out, width=width or 1_000, highlight=False, markup=False, emoji=False)
    console.print(fitting((_table(contexts, SPARED[:number]) for number in range(len(SPARED) + 1)), console))
    for name, checks in contexts.items():
        for path, found in checks.paths.most_common(3):
            console.print(f"{name}: {path} differed {counted(found, 'time')}")
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def _table(contexts: dict[str, Checks], spared: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    kept = [title for title in COLUMNS if title not in spared]
    for title in kept:
        left = title == "context"
        table.add_column(
            title, justify="left" if left else "right", vertical="bottom", overflow="fold", no_wrap=not left
        )
    for name, checks in contexts.items():
        low, high = interval(checks.results["false_hit"], checks.answered)
        found = (checks.results[result] for result in RESULTS)
        rate = f"{low:.2%} to {high:.2%}" if checks.answered else "–"
        cells = (
            name,
            f"{checks.results.total():,}",
            *(f"{number:,}" for number in found),
            rate,
            f"{checks.distrusted:,}",
        )
        table.add_row(*(cell for title, cell in zip(COLUMNS, cells, strict=True) if title in kept))
    return table
