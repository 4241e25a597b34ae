"""What the commands that read receipts share: FILE..., --since and --until, and how far the reading is."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from hookcache_ops.ledger.period import Period, SourceError, parse_period
from hookcache_ops.output import living_line
from hookcache_ops.times import now_ms

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from hookcache_ops.receipts import Reading


NO_RECEIPTS = "no receipts found; give the log of the wrapper function, or a longer period"


def add_source_arguments(parser: argparse.ArgumentParser, more: str = "") -> None:
    """FILE... and the period; `more` is said of the sources besides."""
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


def sources_of(args: argparse.Namespace) -> list[str]:
    """The sources to read: those given, else standard input where something is piped into it."""
    given: list[str] = args.sources
    if given:
        return given
    if sys.stdin is None or os.isatty(sys.stdin.fileno()):
        raise SourceError("no receipts given; name log files or folders, pipe lines in, or give logs:GROUP")
    return ["-"]


def period_of(args: argparse.Namespace) -> Period:
    """The period to read; raises as `parse_period`."""
    return parse_period(args.since, args.until, now_ms())


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
