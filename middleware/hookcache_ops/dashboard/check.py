"""What is wrong with a dashboard body: places, metrics, statistics, metric math and queries, against what receipts hold."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

from hookcache.request import CONTEXTS
from hookcache_ops.dashboard import log_query, metric_math
from hookcache_ops.ledger.metrics import BY_NAME

GRID = 24
STATS = {
    "Count": re.compile(r"Sum"),
    "None": re.compile(r"Sum"),
    "Milliseconds": re.compile(r"Average|Minimum|Maximum|p\d{1,2}(\.\d+)?"),
}
_ID = re.compile(r"[a-z][A-Za-z0-9_]*")
_KEY = re.compile(r"([A-Za-z]+)/lambda_hook/(.+)")
_SOURCE = re.compile(r"SOURCE '[^']+' \| ")


def check(body: Any) -> list[str]:
    """What is wrong with a body, one sentence each; empty means that every widget can be drawn from receipts."""
    widgets = body.get("widgets") if isinstance(body, dict) else None
    if not isinstance(widgets, list) or not widgets:
        return ["the body has no list of widgets"]
    findings: list[str] = []
    placed: list[tuple[str, dict[str, Any]]] = []
    for number, widget in enumerate(widgets, 1):
        name = f"widget {number}"
        try:
            name = f"widget {number} {widget['properties'].get('title', widget['type'])!r}"
            found = [*_check_place(widget), *_CHECKS[widget["type"]](widget["properties"])]
            placed.append((name, widget))
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            found = [f"is not formed as a widget ({type(error).__name__} {error})"]
        findings += [f"{name} {text}" for text in found]
    for (one, a), (other, b) in combinations(placed, 2):
        if _overlap(a, b):
            findings.append(f"{one} overlaps {other}")
    return findings


def _check_place(widget: dict[str, Any]) -> list[str]:
    x, y, width, height = (widget[side] for side in ("x", "y", "width", "height"))
    fits = min(x, y) >= 0 and width >= 1 and 1 <= height <= 1000 and x + width <= GRID
    return [] if fits else [f"does not fit the grid of {GRID} columns"]


def _overlap(a: dict[str, Any], b: dict[str, Any]) -> bool:
    apart_x = a["x"] + a["width"] <= b["x"] or b["x"] + b["width"] <= a["x"]
    apart_y = a["y"] + a["height"] <= b["y"] or b["y"] + b["height"] <= a["y"]
    return not (apart_x or apart_y)


def _check_text(properties: dict[str, Any]) -> list[str]:
    return [] if properties["markdown"].strip() else ["has no text"]


def _check_log(properties: dict[str, Any]) -> list[str]:
    query = properties["query"]
    if not _SOURCE.match(query):
        return ["names no SOURCE log group"]
    try:
        plan = log_query.parse(query)
    except log_query.QueryError as error:
        return [f"has a query that cannot be run here: {error}"]
    unknown = sorted(name for name in plan.fields if not _is_member(name))
    return [f"queries {name!r}, which no receipt has" for name in unknown]


def _is_member(path: str) -> bool:
    name, _, rest = path.partition(".")
    return (name in BY_NAME and rest == "0") or (
        name in MEMBERS and (not rest or name in {"units_spent", "units_saved"})
    )


def _check_metric(properties: dict[str, Any]) -> list[str]:
    findings, ids, trees = [], set(), {}
    shown = False
    for entry in properties["metrics"]:
        options = entry[-1] if isinstance(entry[-1], dict) else {}
        name = options.get("id", "")
        if not _ID.fullmatch(name):
            findings.append(f"has a line whose id {name!r} is not letters and digits after a small letter")
        elif name in ids:
            findings.append(f"uses the id {name!r} twice")
        ids.add(name)
        shown = shown or options.get("visible", True)
        if "expression" in options:
            try:
                trees[name] = metric_math.parse(options["expression"])
            except metric_math.MathError as error:
                findings.append(f"has metric math that cannot be evaluated: {error}")
        else:
            findings += _check_source(entry, options, properties)
    for name, tree in trees.items():
        findings += [
            f"reads {ref!r} in {name!r}, which is no line of it" for ref in sorted(metric_math.references(tree) - ids)
        ]
    if not shown:
        findings.append("shows no line")
    if _circular(trees):
        findings.append("has metric math that refers to itself")
    return findings


def _check_source(entry: list[Any], options: dict[str, Any], properties: dict[str, Any]) -> list[str]:
    name, dimension, value = entry[1], entry[2], entry[3]
    metric = BY_NAME.get(name)
    if metric is None:
        return [f"draws {name!r}, which no receipt has"]
    stat = options.get("stat", properties.get("stat", "Average"))
    findings = []
    if not STATS[metric.unit].fullmatch(stat):
        wanted = "Average, Minimum, Maximum or a percentile" if metric.is_time else "Sum"
        findings.append(f"takes the {stat} of {name}, whose unit {metric.unit} wants {wanted}")
    if dimension == "MeteringKey":
        key = _KEY.fullmatch(value)
        if key is None or key[1] not in CONTEXTS:
            findings.append(f"has the metering key {value!r}, which is not STEP/lambda_hook/FUNCTION")
    elif dimension != "Service" or len(entry) != 5:
        findings.append(f"has the dimension {dimension!r}; receipts have MeteringKey and Service")
    return findings


def _circular(trees: dict[str, Any]) -> bool:
    open_ids = {name: metric_math.references(tree) & trees.keys() for name, tree in trees.items()}
    while open_ids:
        ready = {name for name, needs in open_ids.items() if not needs & open_ids.keys()}
        if not ready:
            return True
        open_ids = {name: needs for name, needs in open_ids.items() if name not in ready}
    return False


_CHECKS = {"text": _check_text, "log": _check_log, "metric": _check_metric}

# Members that a table may group by or filter on, beside the metrics; receipt.schema.json has them all.
MEMBERS = frozenset(
    [
        "schema",
        "outcome",
        "reason",
        "refusal",
        "context",
        "function",
        "request_id",
        "key_id",
        "age_seconds",
        "entry_bytes",
        "backend_version",
        "mode",
        "units_spent",
        "units_saved",
        "unpriced_units",
        "images",
        "image_bytes",
        "cold_start",
        "environment",
        "own_units",
        "error_type",
        "MeteringKey",
        "Service",
    ]
)
