"""What the demo shows: progress on standard error while it works, one table on standard output at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hookcache_ops.output import beneath, plain

T = TypeVar("T")
TOKENS = frozenset({"inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"})


@dataclass(frozen=True, slots=True)
class PassResult:
    """
    One pass over all pages. Units are the backend's, by name (inputTokens, pages, ...), summed over its receipts.

    `answers_equal`: the same answers as in pass 1 but for the numbers in `usage`; in pass 1, every page was read.
    """

    name: str
    requests: int
    backend_calls: int
    memory_hits: int
    table_hits: int
    p50_ms: float
    answers_equal: bool
    spent: Mapping[str, float]
    saved: Mapping[str, float]


class Screen:
    """
    Progress and messages; bars where a terminal shows them, else a line per stage.

    Args:
        quiet: nothing but errors, for `--json`.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(file=beneath(sys.stderr), quiet=quiet, soft_wrap=True)
        self.result = Console(file=beneath(sys.stdout), soft_wrap=True, highlight=False)

    def say(self, text: str) -> None:
        self._console.print(plain(text), highlight=False, markup=False)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A stage whose length is not known."""
        if self._console.is_terminal:
            with self._console.status(text):
                yield
        else:
            self.say(text)
            yield

    def walk(self, text: str, items: Sequence[T]) -> Iterator[T]:
        """Each item, with a bar that says how many are done."""
        if not self._console.is_terminal:
            self.say(f"{text}: {len(items)} pages")
            yield from items
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(text, total=len(items))
            for item in items:
                yield item
                progress.advance(task)


def table_of(results: Sequence[PassResult], wrapper: str) -> Table:
    """One column per pass, so that it fits a terminal of 80 characters."""
    table = Table(title=f"The same pages, three times, through {wrapper}", title_justify="left", title_style="bold")
    table.add_column("pass")
    for number, result in enumerate(results, start=1):
        table.add_column(f"{number} {result.name}", justify="right")
    for label, cell in (*_ROWS, *_unit_rows(results)):
        table.add_row(label, *(cell(result) for result in results))
    equal = (_answers(number, result.answers_equal) for number, result in enumerate(results, start=1))
    table.add_row("answers", *equal)
    return table


def _answers(number: int, equal: bool) -> str:
    if number == 1:
        return "every page read" if equal else "[bold red]not every page read"
    return "as in pass 1" if equal else "[bold red]differ from pass 1"


def _tokens(units: Mapping[str, float]) -> float:
    return sum(amount for unit, amount in units.items() if unit in TOKENS)


Row = tuple[str, Callable[[PassResult], str]]

_ROWS: tuple[Row, ...] = (
    ("requests", lambda result: str(result.requests)),
    ("backend calls", lambda result: str(result.backend_calls)),
    ("memory hits", lambda result: str(result.memory_hits)),
    ("table hits", lambda result: str(result.table_hits)),
    ("p50 latency", lambda result: f"{result.p50_ms:,.1f} ms"),
)


def _unit_rows(results: Sequence[PassResult]) -> Iterator[Row]:
    """What was spent and saved, in the units that this backend reports at all."""
    if any(_tokens(result.spent) for result in results):
        yield "tokens spent", lambda result: f"{_tokens(result.spent):,.0f}"
        yield "tokens saved", lambda result: f"{_tokens(result.saved):,.0f}"
    if any(result.spent.get("pages") for result in results):
        yield "pages spent", lambda result: f"{result.spent.get('pages', 0):,.0f}"
        yield "pages saved", lambda result: f"{result.saved.get('pages', 0):,.0f}"
