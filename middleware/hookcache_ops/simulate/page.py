"""A verdict as one page of HTML with the curve drawn in it; it opens offline and loads nothing."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from hookcache_ops.dashboard.page import ASSETS as DASHBOARD
from hookcache_ops.ledger.render import percent
from hookcache_ops.simulate.render import COLUMNS, headline, notes, rows, to_json
from hookcache_ops.simulate.whatifs import mebibytes
from hookcache_ops.times import spelt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hookcache_ops.simulate.curve import Point
    from hookcache_ops.simulate.deployed import Deployed
    from hookcache_ops.simulate.log import Log
    from hookcache_ops.simulate.verdict import Verdict

ASSETS = Path(__file__).with_name("assets")


def build(verdict: Verdict, log: Log, points: Sequence[Point], base: Deployed) -> str:
    """The whole page. Names come from files and logs: each is escaped, and none may end the data's script element."""
    best = "" if verdict.best is None else verdict.best.scenario.name
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in COLUMNS)
    parts = {
        "<!--{period}-->": escape(f"{spelt(log.first_ms, 'minutes')} to {spelt(log.last_ms, 'minutes')} (UTC)"),
        "<!--{headline}-->": escape(headline(verdict)),
        "<!--{head}-->": f'<tr><th scope="col" class="name">scenario</th>{head}</tr>',
        "<!--{rows}-->": "".join(_row(name, cells, best=name == best) for name, cells in rows(verdict, log)),
        "<!--{points}-->": "".join(
            f'<tr><th scope="row">{mebibytes(point.size_bytes)}</th><td>{percent(point.miss_ratio.value)}</td>'
            f"<td>{percent(point.unexpiring)}</td></tr>"
            for point in points
        ),
        "<!--{notes}-->": "<br>".join(escape(note) for note in notes(verdict, log, base)),
        "/*{data}*/": json.dumps(to_json(verdict, log, points, base), separators=(",", ":")).replace("<", "\\u003c"),
        "/*{style}*/": _asset(DASHBOARD / "page.css"),
        "/*{uplot}*/": f"/*! uPlot\n{_asset(DASHBOARD / 'uPlot.LICENSE')}*/\n{_asset(DASHBOARD / 'uPlot.iife.min.js')}",
        "/*{script}*/": _asset(ASSETS / "curve.js"),
    }
    # In one pass over the frame: what is put in is never searched for marks again.
    page, rest = "", _asset(ASSETS / "page.html")
    while True:
        found = [(at, mark) for mark in parts if (at := rest.find(mark)) >= 0]
        if not found:
            return page + rest
        at, mark = min(found)
        page, rest = page + rest[:at] + parts[mark], rest[at + len(mark) :]


def _asset(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _row(name: str, cells: Sequence[str], *, best: bool) -> str:
    marked = ' class="best"' if best else ""
    return f'<tr{marked}><th scope="row" class="name">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
