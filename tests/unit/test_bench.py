"""The bench's page: aims are judged by what a run measured, and the page keeps its own words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench.aims import AIMS, reached
from bench.measure import Figure, Row
from bench.page import PAGE, write_page

ABOUT = {
    "date": "2026-11-21 12:00 UTC",
    "python": "3.11.7",
    "machine": "a machine",
    "engine": "dynoxide",
    "client": "slim",
    "rounds": 21,
    "seconds": 200,
    "versions": {"boto3": "1.44.5"},
    "noise_percent": 3.2,
    "load_average": [0.1, 0.2, 0.3],
}


def rows(better: float) -> list[Row]:
    """A row for each measurement that is aimed at, every ratio `better` times its aim."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for aim in AIMS:
        factor = 1 / (aim.factor / better) if aim.peer == "limit" else aim.factor * better
        found.setdefault((aim.row, aim.unit), {})[aim.peer] = factor
    return [
        Row(name, unit, Figure(10.0, 0.5), {peer: Figure(10.0 * ratio, 0.1) for peer, ratio in ratios.items()}, ratios)
        for (name, unit), ratios in found.items()
    ]


def test_aims_are_judged_by_the_rows_of_the_run():
    """A little better than each aim meets them all, a little worse none; a row that is missing is no verdict."""
    assert {each.met for each in reached(rows(1.01))} == {True}
    assert {each.met for each in reached(rows(0.99))} == {False}
    assert {each.met for each in reached(rows(1.01)[1:])} == {True, None}


def test_the_page_takes_the_figures_and_keeps_its_words(tmp_path):
    """Date, versions, machine, noise, rows and aims come from the run; a second run replaces the first."""
    page = tmp_path / "README.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    write_page(rows(0.5), ABOUT, page)
    worse = page.read_text(encoding="utf-8")
    write_page(rows(2), ABOUT, page)
    better = page.read_text(encoding="utf-8")

    for fact in ("2026-11-21 12:00 UTC", "a machine", "dynoxide", "boto3 1.44.5", "3.2 %", "21 rounds in 200 s"):
        assert fact in better
    assert (worse.count("| **no** |"), worse.count("| yes |")) == (len(AIMS), 0)
    assert (better.count("| **no** |"), better.count("| yes |")) == (0, len(AIMS))
    assert _words(better) == _words(PAGE.read_text(encoding="utf-8"))


def _words(page: str) -> list[str]:
    """The page without what lies between its marks."""
    kept, inside = [], False
    for line in page.splitlines():
        inside = (inside or line.startswith("<!--")) and not line.startswith("<!-- end of")
        kept += [] if inside else [line]
    return kept


@pytest.mark.parametrize(
    "changed",
    [{}, {"row": "key, 2"}, {"unit": "s"}, {"peer": "another"}],
    ids=["promise", "another row", "another unit", "another peer"],
)
def test_every_aim_is_one_row_that_the_page_has(changed):
    """An aim whose row, unit or peer was renamed would stand as not measured for ever."""
    measured = _measured(PAGE.read_text(encoding="utf-8"))
    aims = {(aim.row, aim.unit, aim.peer) for aim in (replace(aim, **changed) for aim in AIMS)}

    assert (set() if changed else aims) == aims & measured


def _measured(page: str) -> set[tuple[str, str, str]]:
    """Row, unit and peer of each line between the marks; a line that names no row goes on with the one above."""
    found, name, unit = set(), "", ""
    for line in page.partition("<!-- measured -->")[2].partition("<!-- end of measured -->")[0].splitlines():
        if line.startswith("| "):
            said = [cell.strip() for cell in line.split("|")]
            name, unit = (said[1], said[2]) if said[1] else (name, unit)
            found.add((name, unit, said[4]))
    return found
