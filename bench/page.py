"""Rows as a Markdown table, and that table in bench/README.md between its two marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.measure import Figure, Row

PAGE = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"


def table(rows: Sequence[Row]) -> str:
    lines = ["| What | Unit | Ours | Peer | | Ratio |", "|---|---|---:|---|---:|---:|"]
    for row in rows:
        for number, (peer, figure) in enumerate(row.peers.items()):
            name, unit, ours = (row.name, row.unit, _spelt(row.ours)) if number == 0 else ("", "", "")
            lines.append(f"| {name} | {unit} | {ours} | {peer} | {_spelt(figure)} | {row.ratios[peer]:.2f} |")
    return "\n".join(lines)


def write_page(rows: Sequence[Row], about: Mapping[str, object]) -> None:
    """Replace what lies between the marks; the words around them are the page's own."""
    versions = about["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items()) if isinstance(versions, dict) else ""
    facts = (
        f"{about['date']}; Python {about['python']}; {about['machine']}; table engine {about['engine']}; {named}. "
        f"{about['rounds']} rounds in {about['seconds']} s. A loop of fixed work spread by {about['noise_percent']} % meanwhile; "
        f"load average {about['load_average']}."
    )
    notes = "\n".join(f"- {row.name}: {row.note}." for row in rows if row.note)
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN, 1)
    _, tail = rest.split(END, 1)
    PAGE.write_text(f"{head}{BEGIN}\n{facts}\n\n{table(rows)}\n\n{notes}\n{END}{tail}", encoding="utf-8")


def _spelt(figure: Figure) -> str:
    digits = 0 if figure.median >= 100 else 1
    spread = f" ± {figure.spread:,.{digits}f}" if figure.spread else ""
    return f"{figure.median:,.{digits}f}{spread}"
