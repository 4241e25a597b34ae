"""Rows and aims as Markdown tables, and those in bench/README.md between their marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.aims import Reached, reached
from bench.measure import Figure, Row

PAGE = Path(__file__).with_name("README.md")


def table(rows: Sequence[Row]) -> str:
    lines = ["| What | Unit | Ours | Peer | | Ratio |", "|---|---|---:|---|---:|---:|"]
    for row in rows:
        for number, (peer, figure) in enumerate(row.peers.items()):
            name, unit, ours = (row.name, row.unit, _spelt(row.ours)) if number == 0 else ("", "", "")
            lines.append(f"| {name} | {unit} | {ours} | {peer} | {_spelt(figure)} | {row.ratios[peer]:.2f} |")
    return "\n".join(lines)


def aims_table(aims: Sequence[Reached]) -> str:
    """Each aim, what a run reached, and whether that is enough; judged unrounded."""
    lines = ["| | Measured | Beside | Aim, times | Reached | Limit | Met |", "|---|---|---|---|---:|---:|---|"]
    before = 0
    for each in aims:
        aim, number = each.aim, "" if each.aim.number == before else str(each.aim.number)
        before = aim.number
        got = "not measured" if each.times is None else f"{each.times:.2f}"
        best = "" if each.at_best is None else f"{each.at_best:.1f}"
        met = {True: "yes", False: "**no**", None: "-"}[each.met]
        lines.append(f"| {number} | {aim.row}, {aim.unit} | {aim.peer} | {aim.wanted} | {got} | {best} | {met} |")
    return "\n".join(lines)


def write_page(rows: Sequence[Row], about: Mapping[str, object], page: Path = PAGE) -> None:
    """Replace what lies between the marks; the words around them are the page's own."""
    versions = about["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items()) if isinstance(versions, dict) else ""
    facts = (
        f"{about['date']}; Python {about['python']}; {about['machine']}; table engine {about['engine']}; `HOOKCACHE_CLIENT={about['client']}`; {named}. "
        f"{about['rounds']} rounds in {about['seconds']} s. A loop of fixed work spread by {about['noise_percent']} % meanwhile; "
        f"load average {about['load_average']}."
    )
    text = _between(page.read_text(encoding="utf-8"), "measured", f"{facts}\n\n{table(rows)}\n\n{_notes(rows)}")
    page.write_text(_between(text, "aims", aims_table(reached(rows))), encoding="utf-8")


def _notes(rows: Sequence[Row]) -> str:
    """Each note once, behind the names of the rows that it is about."""
    named: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.note:
            named.setdefault(row.note, {})[row.name] = None
    return "\n".join(f"- {'; '.join(names)}: {note}." for note, names in named.items())


def _between(text: str, mark: str, new: str) -> str:
    """The page with `new` between the mark's two comments."""
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    head, rest = text.split(begin, 1)
    _, tail = rest.split(end, 1)
    return f"{head}{begin}\n{new}\n{end}{tail}"


def _spelt(figure: Figure) -> str:
    digits = 0 if figure.median >= 100 else 1
    spread = f" ± {figure.spread:,.{digits}f}" if figure.spread else ""
    return f"{figure.median:,.{digits}f}{spread}"
