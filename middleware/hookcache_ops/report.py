"""
`hookcache report`: what was spent, what was saved, and what the period would have cost without the cache.

Bounded memory: rows are (day, step, function, outcome), and duplicates are found as `ledger/seen.py` says.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hookcache_ops.ledger import render, render_html
from hookcache_ops.ledger.book import Ledger, fill
from hookcache_ops.ledger.period import parse_period
from hookcache_ops.ledger.summary import BY, Report, summarise
from hookcache_ops.output import living_line, terminal_width, whole_file
from hookcache_ops.receipts import Reading, SourceError, default_sources, read_receipts

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLE = """examples:
  hookcache report function.log
  hookcache report export/ --by step --since 30d
  hookcache report logs:/hookcache-ocr/lambda/HookFunction --format html -o report.html
  zcat *.gz | hookcache report - --by function --json
"""


def add_source_arguments(parser: argparse.ArgumentParser, more: str = "") -> None:
    """FILE... and the period: the same for every command that reads receipts; `more` is said of the sources besides."""
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="FILE",
        help="log file or export folder (plain or gzip), - for standard input, logs:GROUP" + more,
    )
    parser.add_argument(
        "--since", metavar="TIME", help="first moment counted: 2026-11-01, 2026-11-01T08:00Z or 7d (ago); UTC"
    )
    parser.add_argument("--until", metavar="TIME", help="first moment no longer counted")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    add_source_arguments(parser)
    parser.add_argument("--by", choices=BY, default="day", help="what the rows stand for (default: day)")
    parser.add_argument("--format", choices=("text", "json", "csv", "html"), default="text", help="default: text")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    parser.add_argument("-o", "--output", metavar="PATH", help="write here, not to standard output")


def run(args: argparse.Namespace) -> int:
    """0 a report, 1 no receipts found, 2 bad input."""
    try:
        report = build(args)
        if report.totals["receipts"] or args.output is None:  # a file of no receipts would replace yesterday's
            _write(_format(report, args.format, args.output), args.output)
    except SourceError as error:
        print(f"hookcache report: {error}", file=sys.stderr)
        return 2
    if not report.totals["receipts"]:
        print(
            "hookcache report: no receipts found; give the log of the wrapper function, or a longer period"
            + (f"; {args.output} was not written" if args.output else ""),
            file=sys.stderr,
        )
        return 1
    return 0


def build(args: argparse.Namespace) -> Report:
    period = parse_period(args.since, args.until, int(time.time() * 1000))
    reading, ledger = Reading(), Ledger()
    fill(
        ledger,
        read_receipts(default_sources(args.sources), reading, period=period, progress=progress_to_terminal("report")),
    )
    return summarise(ledger, reading, args.by)


def progress_to_terminal(command: str) -> Callable[[Reading], None]:
    """Writes to standard error: one living line on a terminal, gone when all is read; else a line each ten seconds."""
    begun = shown = time.monotonic()
    terminal = sys.stderr.isatty()

    def show(reading: Reading) -> None:
        nonlocal shown
        if reading.done:
            if shown > begun:
                living_line()
            return
        now = time.monotonic()
        if now - shown < (0.5 if terminal else 10):
            return
        shown = now
        rate = reading.lines / max(now - begun, 1e-9)
        text = f"hookcache {command}: {reading.lines:,} lines, {reading.receipts:,} receipts, {rate:,.0f} lines/s, {reading.sources[-1]}"
        if terminal:
            living_line(text)
        else:
            print(text, file=sys.stderr, flush=True)

    return show


def _format(report: Report, form: str, output: str | None) -> str:
    if form == "json":
        return json.dumps(report.to_json(), indent=2) + "\n"
    if form == "csv":
        return render.to_csv(report)
    if form == "html":
        return render_html.to_html(report)
    return render.text(report, terminal_width() if output is None else None)


def _write(text: str, output: str | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    with whole_file(Path(output)) as file:
        file.write(text)
