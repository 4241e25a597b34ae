"""
`hookcache report`: what was spent, what was saved, and what the period would have cost without the cache.

Bounded memory: rows are (day, step, function, outcome), and duplicates are found as `ledger/seen.py` says.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from hookcache_ops.ledger import render, render_html
from hookcache_ops.ledger.book import Ledger, fill
from hookcache_ops.ledger.summary import BY, Report, summarise
from hookcache_ops.output import terminal_width, whole_file
from hookcache_ops.receipts import Reading, read_receipts
from hookcache_ops.sources import NO_RECEIPTS, add_source_arguments, period_of, progress_to_terminal, sources_of

EXAMPLE = """examples:
  hookcache report function.log
  hookcache report export/ --by step --since 30d
  hookcache report logs:/hookcache-ocr/lambda/HookFunction --format html -o report.html
  zcat *.gz | hookcache report - --by function --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    add_source_arguments(parser)
    parser.add_argument("--by", choices=BY, default="day", help="what the rows stand for (default: day)")
    parser.add_argument("--format", choices=("text", "json", "csv", "html"), default="text", help="default: text")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    parser.add_argument("-o", "--output", metavar="PATH", help="write here, not to standard output")


def run(args: argparse.Namespace) -> int:
    """0 a report, 1 no receipts found."""
    report = build(args)
    if report.totals["receipts"] or args.output is None:  # a file of no receipts would replace yesterday's
        _write(_format(report, args.format, args.output), args.output)
    if not report.totals["receipts"]:
        print(
            f"hookcache report: {NO_RECEIPTS}" + (f"; {args.output} was not written" if args.output else ""),
            file=sys.stderr,
        )
        return 1
    return 0


def build(args: argparse.Namespace) -> Report:
    reading, ledger = Reading(), Ledger()
    period, progress = period_of(args), progress_to_terminal("report")
    fill(ledger, read_receipts(sources_of(args), reading, period=period, progress=progress))
    return summarise(ledger, reading, args.by)


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
