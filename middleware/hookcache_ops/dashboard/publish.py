"""
The files that follow from dashboards/cloudwatch.json and dashboards/queries: `python -m hookcache_ops.dashboard.publish`.

    dashboards/grafana.json            the same panels for Grafana's CloudWatch data source
    dashboards/template.fragment.yaml  the resources of template.yaml, to paste below its `Resources:`

A test regenerates both and holds template.yaml against them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

# What `${...}` in the body becomes: in the template a reference, in Grafana a variable of the dashboard.
TEMPLATE_VALUES = {
    "FunctionName": "!Ref HookFunction",
    "Namespace": "GenAIIDP/HookCache",
    "Service": "!Ref HookFunction",
    "LogGroup": "!Ref HookLogGroup",
    "ExecutionTimeThresholdMs": '"30000"',
}
GRAFANA_VARIABLES = {
    "FunctionName": ("function", "GENAIIDP-cache-ocr"),
    "Namespace": ("namespace", "GenAIIDP/HookCache"),
    "Service": ("service", "GENAIIDP-cache-ocr"),
    "LogGroup": ("log_group", "/hookcache/lambda/HookFunction"),
}
THRESHOLD_MS = 30_000
_UNITS = {"Milliseconds": "ms", "%": "percent", "USD": "currencyUSD"}
_SOURCE = re.compile(r"SOURCE '[^']+' \| ")


def to_body_text(body: dict[str, Any]) -> str:
    """The body for Fn::Sub: one widget per line; the threshold loses its quotes, for CloudWatch wants a number."""
    lines = ",\n".join(json.dumps(widget) for widget in body["widgets"])
    head = json.dumps({name: value for name, value in body.items() if name != "widgets"})[:-1]
    text = f'{head}, "widgets": [\n{lines}\n]}}'
    return text.replace('"${ExecutionTimeThresholdMs}"', "${ExecutionTimeThresholdMs}")


def saved_queries(folder: Path) -> list[tuple[str, str]]:
    """(name, query) of each file; the first line is `# name`."""
    found = []
    for file in sorted(folder.glob("*.insights")):
        first, _, query = file.read_text(encoding="utf-8").partition("\n")
        found.append((first.removeprefix("# ").strip(), query.strip()))
    return found


def to_template(body: dict[str, Any], queries: list[tuple[str, str]]) -> str:
    """Resources in YAML, indented for their place in template.yaml."""
    out = [
        "  Dashboard:",
        "    Type: AWS::CloudWatch::Dashboard",
        "    Properties:",
        "      DashboardName: !Sub ${AWS::StackName}-${AWS::Region}-hookcache",
        "      DashboardBody:",
        "        Fn::Sub:",
        "          - |-",
        *(f"            {line}" for line in to_body_text(body).splitlines()),
        *(
            f"          {'-' if at == 0 else ' '} {name}: {value}"
            for at, (name, value) in enumerate(TEMPLATE_VALUES.items())
        ),
    ]
    for name, query in queries:
        logical = "".join(word.capitalize() for word in re.findall(r"[A-Za-z0-9]+", name))
        out += [
            "",
            f"  Query{logical}:",
            "    Type: AWS::Logs::QueryDefinition",
            "    Condition: HasSavedQueries",
            "    Properties:",
            f"      Name: !Sub ${{AWS::StackName}}/{name}",
            "      LogGroupNames: [!Ref HookLogGroup]",
            "      QueryString: |-",
            *(f"        {line}" for line in query.splitlines()),
        ]
    return "\n".join(out) + "\n"


def to_grafana(body: dict[str, Any]) -> dict[str, Any]:
    """A Grafana dashboard (schema 39) with one panel per widget."""
    variables = [
        {"name": name, "type": "textbox", "query": value, "current": {"text": value, "value": value}}
        for name, value in GRAFANA_VARIABLES.values()
    ]
    return {
        "title": "hookcache",
        "uid": "hookcache",
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "cloudwatch"}, *variables]},
        "panels": [_panel(number, widget) for number, widget in enumerate(body["widgets"], 1)],
    }


def _panel(number: int, widget: dict[str, Any]) -> dict[str, Any]:
    properties = widget["properties"]
    # A row of Grafana is 30 px, of CloudWatch 40: the same pictures need a third more rows.
    top = round(widget["y"] * 4 / 3)
    place = {
        "x": widget["x"],
        "y": top,
        "w": widget["width"],
        "h": round((widget["y"] + widget["height"]) * 4 / 3) - top,
    }
    panel = {"id": number, "title": _filled(properties.get("title", "")), "gridPos": place}
    if widget["type"] == "text":
        return panel | {"type": "text", "options": {"mode": "markdown", "content": _filled(properties["markdown"])}}
    panel["datasource"] = {"type": "cloudwatch", "uid": "${datasource}"}
    if widget["type"] == "log":
        query = _SOURCE.sub("", properties["query"])
        groups = [{"name": "$log_group", "arn": "$log_group"}]
        target = {
            "refId": "A",
            "queryMode": "Logs",
            "region": "default",
            "expression": query,
            "logGroupNames": ["$log_group"],
            "logGroups": groups,
        }
        return panel | {"type": "table", "targets": [target]}
    single = properties.get("view") == "singleValue"
    panel["targets"] = [_target(entry, properties) for entry in properties["metrics"]]
    panel["fieldConfig"] = {
        "defaults": _field_defaults(properties, single),
        "overrides": _colours(properties["metrics"]),
    }
    if single:
        return panel | {
            "type": "stat",
            "options": {"reduceOptions": {"calcs": [_calc(properties)]}, "graphMode": "none"},
        }
    return panel | {
        "type": "timeseries",
        "options": {"tooltip": {"mode": "multi"}, "legend": {"calcs": ["mean"], "displayMode": "list"}},
    }


def _calc(properties: dict[str, Any]) -> str:
    """A ratio must not be summed over time; Grafana averages its points instead, so it is near, not equal."""
    return "mean" if any("(%)" in entry[-1].get("label", "") for entry in properties["metrics"]) else "sum"


def _target(entry: list[Any], properties: dict[str, Any]) -> dict[str, Any]:
    options = entry[-1]
    target: dict[str, Any] = {
        "refId": options["id"],
        "id": options["id"],
        "queryMode": "Metrics",
        "region": "default",
        "label": options.get("label", ""),
        "hide": not options.get("visible", True),
        "period": str(properties.get("period", 300)),
        "metricQueryType": 0,
    }
    if "expression" in options:
        return target | {"metricEditorMode": 1, "expression": options["expression"]}
    dimensions = {entry[2]: [_filled(entry[3])]}
    source = {
        "namespace": _filled(entry[0]),
        "metricName": entry[1],
        "dimensions": dimensions,
        "statistic": options["stat"],
    }
    return target | source | {"metricEditorMode": 0, "matchExact": True, "expression": ""}


def _field_defaults(properties: dict[str, Any], single: bool) -> dict[str, Any]:
    labels = " ".join(entry[-1].get("label", "") for entry in properties["metrics"])
    axis = properties.get("yAxis", {}).get("left", {})
    unit = _UNITS.get(
        axis.get("label", ""), "percent" if "(%)" in labels else "currencyUSD" if "(USD)" in labels else "short"
    )
    defaults: dict[str, Any] = {"unit": unit} | {side: axis[side] for side in ("min", "max") if side in axis}
    if not single:
        stacked = (
            {"fillOpacity": 70, "lineWidth": 0, "stacking": {"mode": "normal"}}
            if properties.get("stacked")
            else {"fillOpacity": 0}
        )
        defaults["custom"] = {
            "drawStyle": "bars" if properties.get("stacked") else "line",
            "showPoints": "auto",
            **stacked,
        }
    if properties.get("annotations"):
        steps = [{"color": "transparent", "value": None}, {"color": "red", "value": THRESHOLD_MS}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        defaults["custom"]["thresholdsStyle"] = {"mode": "line"}
    return defaults


def _colours(metrics: list[list[Any]]) -> list[dict[str, Any]]:
    shown = [entry[-1] for entry in metrics if entry[-1].get("visible", True) and "color" in entry[-1]]
    return [
        {
            "matcher": {"id": "byName", "options": options["label"]},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": options["color"]}}],
        }
        for options in shown
    ]


def _filled(text: str) -> str:
    for name, (variable, _) in GRAFANA_VARIABLES.items():
        text = text.replace(f"${{{name}}}", f"${{{variable}}}")
    return text


def main() -> None:
    folder = Path(__file__).resolve().parents[3] / "dashboards"
    body = json.loads((folder / "cloudwatch.json").read_text(encoding="utf-8"))
    (folder / "grafana.json").write_text(json.dumps(to_grafana(body), indent=1) + "\n", encoding="utf-8")
    fragment = to_template(body, saved_queries(folder / "queries"))
    (folder / "template.fragment.yaml").write_text(fragment, encoding="utf-8")


if __name__ == "__main__":
    main()
