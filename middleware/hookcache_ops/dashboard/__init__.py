"""
`hookcache dashboard`: the CloudWatch dashboard drawn from receipts, as one HTML page that opens offline.

    receipts -> Collector (ledger rows, table rows) -> page data (JSON) -> page with script, style and uPlot inside
    CloudWatch's metrics -> ledger rows ------------->  the same, without tables of requests

Filters recompute every chart, tile and table in the browser. Totals of the page are those of `hookcache report`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hookcache_ops.dashboard.body import default_path, load
from hookcache_ops.dashboard.data import ROW_LIMIT, Collector
from hookcache_ops.dashboard.page import build
from hookcache_ops.ledger.cloudwatch import fill_from_metrics, namespace_of
from hookcache_ops.ledger.period import Period
from hookcache_ops.ledger.render import headline
from hookcache_ops.ledger.summary import Report, summarise
from hookcache_ops.output import whole_file
from hookcache_ops.receipts import Reading, read_receipts
from hookcache_ops.sources import add_source_arguments, period_of, progress_to_terminal, sources_of
from hookcache_ops.times import now_ms

EXAMPLE = """examples:
  hookcache dashboard function.log -o page.html
  hookcache dashboard export/ --since 30d -o page.html
  hookcache dashboard logs:/hookcache-ocr/lambda/HookFunction --since 1d -o page.html
  hookcache dashboard metrics:GenAIIDP/HookCache --since 14d -o page.html
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    add_source_arguments(parser, "; metrics:NAMESPACE asks CloudWatch for the metrics instead (7 days, or --since)")
    parser.add_argument(
        "-o",
        "--output",
        metavar="PAGE",
        default="hookcache-dashboard.html",
        help="the page to write (default: %(default)s)",
    )
    parser.add_argument(
        "--body", metavar="PATH", help="another CloudWatch dashboard body to draw (default: the shipped one)"
    )
    parser.add_argument("--json", action="store_true", help="print totals, page and widgets as JSON")


@dataclass(frozen=True, slots=True)
class Drawn:
    """
    A page: where it was written (None: there was nothing to draw), how large, how fine its time is, its totals, and
    what of the period may be missing.
    """

    path: Path | None
    size_bytes: int
    bucket_seconds: int
    widgets: list[str]
    report: Report
    missing: str = ""


def draw(
    sources: list[str],
    output: Path,
    *,
    body: Path | None = None,
    period: Period | None = None,
    progress: Callable[[Reading], None] | None = None,
) -> Drawn:
    """
    Write the page of all receipts in `sources`, or of the metrics of one namespace. Where there are none, no page is
    written, and one that is there stays as it is.

    Raises:
        SourceError: a source cannot be read, or the page not be written.
        BodyError: the dashboard body cannot be drawn.
    """
    widgets = load(body or default_path())
    reading, collector = Reading(), Collector(widgets)
    period = period or Period()
    namespace, missing = namespace_of(sources), ""
    if namespace is not None:
        collector.tables.clear()
        missing = fill_from_metrics(collector.ledger, reading, namespace, period, now_ms(), ROW_LIMIT)
    else:
        for receipt in read_receipts(sources, reading, period=period, progress=progress):
            collector.add(receipt)
    report = summarise(collector.ledger, reading, "step")
    titles = [widget.title for widget in widgets]
    if not report.totals["receipts"]:
        return Drawn(None, 0, collector.ledger.width_seconds, titles, report, missing)
    page = build(collector.page_data(report) | {"missing": missing})
    with whole_file(output) as file:
        file.write(page)
    return Drawn(output.resolve(), len(page.encode()), collector.ledger.width_seconds, titles, report, missing)


def run(args: argparse.Namespace) -> int:
    """0 the page is written, 1 no receipts found and no page written."""
    drawn = draw(
        sources_of(args),
        Path(args.output),
        body=Path(args.body) if args.body else None,
        period=period_of(args),
        progress=progress_to_terminal("dashboard"),
    )
    if drawn.missing:
        print(f"hookcache dashboard: {drawn.missing}", file=sys.stderr)
    if args.json:
        told = {
            "page": drawn.path and str(drawn.path),
            "bytes": drawn.size_bytes,
            "bucket_seconds": drawn.bucket_seconds,
        }
        print(json.dumps(told | {"totals": drawn.report.totals, "widgets": drawn.widgets}, indent=2))
    elif drawn.path is not None:
        print(f"{headline(drawn.report)}\n{drawn.path} ({drawn.size_bytes / 1024:,.0f} KiB)")
    if drawn.path is None:
        print(
            "hookcache dashboard: no receipts found, so no page was written; give the log of the wrapper function, or a longer "
            "period",
            file=sys.stderr,
        )
        return 1
    return 0
