"""
The CloudWatch dashboard body: read, checked against what receipts hold, and made ready to be drawn here.

Texts such as `${FunctionName}` are filled in by the template. Drawn locally, a function or service that is left open
stands for all of them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hookcache_ops.bad_input import BadInput
from hookcache_ops.dashboard import log_query, metric_math
from hookcache_ops.dashboard.check import check

_OPEN = re.compile(r"\$\{[A-Za-z:]+\}")


class BodyError(BadInput):
    """The body cannot be drawn; the text lists what is wrong."""


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of a chart: a metric of receipts with its statistic, or a tree of metric math over the others."""

    id: str
    label: str
    visible: bool
    color: str
    metric: str = ""
    stat: str = ""
    step: str = ""
    function: str = ""
    tree: Any = None


@dataclass(frozen=True, slots=True)
class Widget:
    """A widget with its place in the grid. `view` is text, chart, stacked, tiles or table."""

    title: str
    view: str
    x: int
    y: int
    width: int
    height: int
    period: int = 300
    lines: tuple[Line, ...] = ()
    axis: dict[str, Any] = field(default_factory=dict)
    thresholds: tuple[tuple[str, float], ...] = ()
    plan: log_query.Plan | None = None
    markdown: str = ""


def default_path() -> Path:
    """The body beside the sources, or the copy inside an installed package."""
    beside = Path(__file__).resolve().parents[3] / "dashboards" / "cloudwatch.json"
    return beside if beside.exists() else Path(__file__).with_name("assets") / "cloudwatch.json"


def load(path: Path, values: dict[str, str] | None = None) -> list[Widget]:
    """
    The widgets of a body, ready to draw; `values` fills `${...}`.

    Raises:
        BodyError: unreadable, or check() finds something.
    """
    try:
        text = path.read_text(encoding="utf-8")
        for name, value in (values or {}).items():
            text = text.replace(f"${{{name}}}", json.dumps(value)[1:-1])
        body = json.loads(text)
    except OSError as error:
        raise BodyError(f"{path}: {error.strerror}; give the body's JSON with --body") from error
    except ValueError as error:
        raise BodyError(f"{path}: no JSON ({error}); give a CloudWatch dashboard body") from error
    findings = check(body)
    if findings:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        raise BodyError(f"{path}: {findings[0]}{more}; correct the body, or leave --body out for the shipped one")
    return [_widget(widget) for widget in body["widgets"]]


def _widget(widget: dict[str, Any]) -> Widget:
    properties = widget["properties"]
    place = (widget["x"], widget["y"], widget["width"], widget["height"])
    title = properties.get("title", "")
    if widget["type"] == "text":
        return Widget(title, "text", *place, markdown=properties["markdown"])
    if widget["type"] == "log":
        return Widget(title, "table", *place, plan=log_query.parse(properties["query"]))
    view = "tiles" if properties.get("view") == "singleValue" else "stacked" if properties.get("stacked") else "chart"
    marks = properties.get("annotations", {}).get("horizontal", [])
    return Widget(
        title,
        view,
        *place,
        period=int(properties.get("period", 300)),
        lines=tuple(_line(entry, properties) for entry in properties["metrics"]),
        axis=properties.get("yAxis", {}).get("left", {}),
        # A threshold that the template has yet to fill in is no number and is not drawn.
        thresholds=tuple(
            (mark.get("label", ""), float(mark["value"])) for mark in marks if not _OPEN.search(str(mark["value"]))
        ),
    )


def _line(entry: list[Any], properties: dict[str, Any]) -> Line:
    options = entry[-1]
    shown = options.get("visible", True), options.get("color", "")
    if "expression" in options:
        return Line(
            options["id"], options.get("label", options["id"]), *shown, tree=metric_math.parse(options["expression"])
        )
    step, function = "", ""
    if entry[2] == "MeteringKey":
        step, _, function = entry[3].split("/", 2)
    return Line(
        options["id"],
        options.get("label", entry[1]),
        *shown,
        metric=entry[1],
        stat=options.get("stat", properties.get("stat", "Average")),
        step=step,
        function="" if _OPEN.search(function) else function,
    )
