"""The page: one HTML file with its style, script, charts and data inside; it opens offline and loads nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hookcache_ops.output import plain

ASSETS = Path(__file__).with_name("assets")
_PARTS = {"style": "page.css", "uplot": "uPlot.iife.min.js", "evaluate": "evaluate.js", "page": "page.js"}


def build(data: dict[str, Any]) -> str:
    """The whole page around `data` (see data.py)."""
    page = (ASSETS / "page.html").read_text(encoding="utf-8")
    for name, file in _PARTS.items():
        text = (ASSETS / file).read_text(encoding="utf-8")
        if name == "uplot":
            text = f"/*! uPlot\n{(ASSETS / 'uPlot.LICENSE').read_text(encoding='utf-8')}*/\n{text}"
        page = page.replace(f"/*{{{name}}}*/", text)
    # Names come from logs: nothing in the data may end its script element.
    return page.replace("/*{data}*/", json.dumps(_plain(data), separators=(",", ":")).replace("<", "\\u003c"))


def _plain(data: Any) -> Any:
    """All text in it as `plain` spells it: what turns the direction of writing would turn what stands beside it."""
    match data:
        case str():
            return plain(data)
        case dict():
            return {_plain(name): _plain(value) for name, value in data.items()}
        case list() | tuple():
            return [_plain(each) for each in data]
        case _:
            return data
