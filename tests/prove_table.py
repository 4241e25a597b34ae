"""
The figures of a run of `make prove` (G1 to G19) as one table, and as JSON in build/prove/summary.json.

    python tests/prove_table.py              after a whole run
    python tests/prove_table.py --partial    after a run of some tests: figures may be missing
    python tests/prove_table.py --page docs/figures.md    as a page, under the text that the page begins with

A figure that must hold and does not is exit status 1: wrong answers, calls too many, equations that do not balance. So is
any figure that a whole run did not measure. A target of speed or size that was missed on this machine shows as NO, and is 0.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from figures import FILE, recorded

PROJECT = Path(__file__).resolve().parents[1]
SUMMARY = FILE.with_name("summary.json")
NUMBERS = tuple(f"G{number}" for number in range(1, 20))
MUST_HOLD: Mapping[str, tuple[str, ...]] = {
    "G5": ("rounds with exactly one backend call",),
    "G6": ("",),
    "G8": ("",),
    "G10": ("soak with faults on",),
    "G14": ("",),
    "G15": ("",),
    "G16": ("seeded schedules",),
    "G17": ("",),
    "G19": ("passes with an answer unlike the first",),
}
"""By figure, how the names of the lines begin that are no question of the machine's speed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement as the table shows it; `holds` is None where there is no target, or no measurement."""

    figure: str
    what: str
    target: str
    measured: str
    holds: bool | None
    must: bool
    note: str = ""

    @property
    def word(self) -> str:
        if self.holds is None:
            return "-"
        return "yes" if self.holds else "NO"


def rows_of(lines: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row for each measurement, by figure, and one for each figure that nobody measured."""
    rows = []
    for number in NUMBERS:
        mine = [line for line in lines if line["figure"] == number]
        rows += [_row(line) for line in mine]
        if not mine:
            rows.append(Row(number, "", "", "not measured", None, number in MUST_HOLD))
    return rows


def _row(line: Mapping[str, Any]) -> Row:
    if not all(isinstance(line[name], str) for name in ("what", "target", "unit", "note")):
        raise TypeError("a line without its texts")
    must = any(line["what"].startswith(begin) for begin in MUST_HOLD.get(line["figure"], ()))
    measured = line["measured"]
    shown = f"{measured:.4g}" if isinstance(measured, float) else str(measured)
    told = f"{shown} {line['unit']}".strip()
    return Row(line["figure"], line["what"], line["target"], told, line["met"], must, line["note"])


def broken(rows: Sequence[Row], *, partial: bool) -> list[str]:
    """What must hold and does not, and in a whole run what must be known and is not."""
    told = [f"{row.figure}: {row.what}: {row.measured}" for row in rows if row.must and row.holds is False]
    if not partial:
        told += [f"{row.figure}: not measured" for row in rows if not row.what]
    return told


def circumstances() -> dict[str, Any]:
    """When, of which commit and where these figures were taken."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _git("rev-parse", "--short=12", "HEAD") + ("+changes" if _git("status", "--porcelain") else ""),
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "load_15_min": round(os.getloadavg()[2], 2),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }


def _git(*arguments: str) -> str:
    try:
        told = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown" if arguments[0] == "rev-parse" else ""
    return told.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return named[0] if named else platform.processor() or "unknown"


def show(rows: Sequence[Row], about: Mapping[str, Any]) -> None:
    """The table, as wide as the terminal; a file or a pipe gets lines that are not cut."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 170, highlight=False)
    title = "{date}  commit {commit}  {cores} cores, {cpu}, load {load_15_min}  {system}".format(**about)
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left", show_lines=False)
    for name, least in (("", 3), ("what", 24), ("target", 20), ("measured", 24), ("met", 3)):
        table.add_column(name, min_width=least, overflow="fold")
    for row in rows:
        cells = (row.figure, row.what, row.target, row.measured)
        table.add_row(*map(Text, cells), Text(row.word, style="bold red" if row.word == "NO" else ""))
    console.print(table)


PAGE_BEGINS = "<!-- written by tests/prove_table.py --page -->\n"


def write_page(page: Path, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
    """The table in Markdown, in place of what stands behind `PAGE_BEGINS`. Raises `ValueError` where the page lacks it."""
    text, mark, _ = page.read_text(encoding="utf-8").partition(PAGE_BEGINS)
    if not mark:
        raise ValueError(f"no line {PAGE_BEGINS.strip()!r} in {page}")
    cells = [(row.figure, row.what, row.target, row.measured, row.word, row.note) for row in rows]
    heads = [("", "What", "Target", "Measured", "Met", "Conditions"), ("---",) * 6]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in [*heads, *cells]]
    taken = "Taken {date} at commit {commit}: {cores} cores, {cpu}, {system}.".format(**about)
    page.write_text("\n".join([text + mark + taken, "", *lines, ""]), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.strip().splitlines()[0],
        epilog="example:\n  python tests/prove_table.py --partial",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--partial", action="store_true", help="only some tests were run: a missing figure is no error")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON and nothing else")
    parser.add_argument("--page", type=Path, help="write the table into this Markdown page as well")
    told = parser.parse_args(arguments)
    try:
        rows = rows_of(recorded())
    except (ValueError, KeyError, TypeError) as error:
        print(f"{FILE}: not what the proofs write ({error!r}); remove it and run `make prove` again", file=sys.stderr)
        return 2
    about = circumstances()
    if told.page:
        try:
            write_page(told.page, rows, about)
        except (OSError, ValueError) as error:
            print(f"cannot write the page: {error}", file=sys.stderr)
            return 2
    wrong = broken(rows, partial=told.partial)
    listed = [{**asdict(row), "holds": row.holds, "must_hold": row.must} for row in rows]
    for each in listed:
        del each["must"]
    summary = {**about, "partial": told.partial, "broken": wrong, "figures": listed}
    SUMMARY.parent.mkdir(parents=True, exist_ok=True)
    SUMMARY.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    if told.json:
        print(json.dumps(summary))
    else:
        show(rows, about)
        missed = [row for row in rows if row.holds is False and not row.must]
        print(f"{len(missed)} targets of speed or size missed on this machine; every row's conditions: {SUMMARY}")
        for row in missed:
            print(
                f"  {row.figure} {row.what}: {row.measured}, target {row.target}"
                + (f" ({row.note})" if row.note else "")
            )
    for each in wrong:
        print(f"does not hold: {each}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
