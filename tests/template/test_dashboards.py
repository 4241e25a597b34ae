"""Dashboards, schemas and queries agree with the receipts, with each other and with template.yaml, in both directions."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from hookcache.clock import SystemClock
from hookcache.metering import Meter
from hookcache.outcome import Outcome, Reason
from hookcache.prices import Prices
from hookcache.request import CONTEXTS
from hookcache.spending import Spending
from hookcache_ops.dashboard import log_query, publish
from hookcache_ops.dashboard.check import MEMBERS, check
from hookcache_ops.ledger.metrics import METRICS
from monthly_bill import monthly_bill
from ops import receipt_samples as samples

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "dashboards"
BODY = json.loads((FOLDER / "cloudwatch.json").read_text())
RECEIPT_SCHEMA = json.loads((FOLDER / "receipt.schema.json").read_text())
RECEIPT = Draft202012Validator(RECEIPT_SCHEMA)
DASHBOARD = Draft202012Validator(json.loads((FOLDER / "dashboard.schema.json").read_text()))
README = (FOLDER / "README.md").read_text()
UNIT_OF = {metric.name: metric.unit for metric in METRICS}


def written(outcome: Outcome, **facts) -> dict:
    """A receipt as the runtime itself writes it."""
    meter = Meter(SystemClock(), Spending(), Prices(), {"POWERTOOLS_SERVICE_NAME": "GENAIIDP-cache-x"})
    receipt = meter.open("OCR", None)
    receipt.end(outcome, Reason.ABSENT if outcome is Outcome.MISS else None)
    receipt.mode, receipt.function = "on", "GENAIIDP-cache-x"
    for name, value in facts.items():
        setattr(receipt, name, value)
    receipt.own_units = {"lambda_requests": 1}
    return json.loads(meter.record(receipt))


HEALTH = {
    "asked_backend": True,
    "table_errors": 1,
    "image_errors": 1,
    "lease_lost": 1,
    "corrupt_entries": 1,
    "unpriced": {"x": 1},
    "refusal": Reason.NOT_JSON,
}
RARE = {
    "components": {"system": "0" * 16},
    "would_hit": True,
    "agrees": True,
    "check": {"result": "drift", "fields": 9, "differing": 1, "paths": ["stopReason"]},
    "replay": True,
    "units_charged": {"pages": 1},
    "usage_removed": 1,
    "control_ignored": 1,
}


@pytest.mark.parametrize("outcome", Outcome)
def test_the_runtime_writes_receipts_that_the_schema_describes(outcome):
    """P31, P35: what the operator's side expects is what the function writes, with and without the rare members."""
    assert [error.message for error in RECEIPT.iter_errors(written(outcome))] == []
    assert [error.message for error in RECEIPT.iter_errors(written(outcome, **HEALTH, **RARE))] == []


def test_the_schema_describes_nothing_that_the_runtime_does_not_write():
    """P35: the other direction."""
    everything = written(Outcome.MISS, **HEALTH, **RARE)

    assert set(RECEIPT_SCHEMA["properties"]) == set(everything)
    assert set(RECEIPT_SCHEMA["required"]) <= set(written(Outcome.HIT_MEMORY))


def counted_by_filters() -> set[str]:
    """The metrics that the stack counts from its log."""
    template = (FOLDER.parent / "template.yaml").read_text(encoding="utf-8")
    return set(re.findall(r"MetricTransformations:\n.*\n +MetricName: (\w+)", template))


def test_metrics_are_the_same_in_the_runtime_the_list_and_the_explanation():
    """P35: names and units agree; each metric, the log filters' too, is explained with its unit, and nothing else is."""
    definitions = written(Outcome.MISS, **HEALTH)["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    explained = dict(re.findall(r"^\| `([A-Z]\w+)` \| (\w+) \|", README, re.MULTILINE))

    assert UNIT_OF == {definition["Name"]: definition["Unit"] for definition in definitions}
    counted = counted_by_filters()
    assert UNIT_OF | dict.fromkeys(counted, "Count") == explained
    assert counted.isdisjoint(UNIT_OF)
    lean = {definition["Name"] for definition in written(Outcome.HIT_TABLE)["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert {metric.name for metric in METRICS if metric.lean} == lean


def test_members_are_all_explained_and_can_be_queried():
    members = set(RECEIPT_SCHEMA["properties"]) - set(UNIT_OF) - {"_aws", "MeteringKey", "Service"}
    section = README.partition("## Members")[2].partition("## What")[0]
    explained = set(
        re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `")))
    )

    assert members == explained
    assert members - set(RARE) == MEMBERS - {
        "MeteringKey",
        "Service",
    }


def test_words_of_the_schema_are_the_words_of_the_runtime():
    """One word for one thing: outcomes and reasons."""
    properties = RECEIPT_SCHEMA["properties"]

    assert properties["outcome"]["enum"] == [outcome.value for outcome in Outcome]
    assert properties["reason"]["enum"] == properties["refusal"]["enum"] == ["", *(reason.value for reason in Reason)]


def test_the_samples_of_the_tests_are_receipts():
    """The generator that tests and benches count on writes what the schema describes."""
    kinds = ("outcome", "reason", "refusal", "context")
    one_of_each = {tuple(one[kind] for kind in kinds): one for one in samples.receipts(2_000)}.values()

    assert len(one_of_each) > 50
    assert [error.message for one in one_of_each for error in RECEIPT.iter_errors(one)] == []


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "hit"},
        {"reason": "because"},
        {"Latencies": [1.0]},
        {"Cost": [-1.0]},
        {"key_id": "short"},
        {"units_spent": {"pages": "1"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_broken_receipt_is_caught(change):
    """The schema's own negative controls."""
    assert RECEIPT.is_valid(samples.receipt("miss"))
    assert not RECEIPT.is_valid(samples.receipt("miss") | change)


def test_an_insights_query_sees_every_field():
    """CloudWatch Logs finds at most 200 fields in one JSON line; lists are numbered."""

    def leaves(value) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 1 if inner is None else sum(map(leaves, inner))

    assert leaves(written(Outcome.MISS, **HEALTH, **RARE, units_spent={f"unit{n}": 1 for n in range(8)})) <= 200


# The dashboard body ----------------------------------------------------------------------------------------------------


def test_the_dashboard_body_is_sound():
    """Schema, grid, metrics, statistics, units, metric math and queries."""
    assert [f"{list(error.path)}: {error.message}" for error in DASHBOARD.iter_errors(BODY)] == []
    assert check(BODY) == []


def test_every_metric_is_on_the_dashboard():
    """P35: nothing is paid for that nobody sees."""
    drawn = {
        entry[1] for widget in BODY["widgets"] for entry in widget["properties"].get("metrics", []) if len(entry) == 5
    }

    assert set(UNIT_OF) == drawn


def test_a_loss_that_is_only_a_missing_price_is_told_beside_the_tiles():
    """P55: CloudWatch knows 0, and not that there is no price; without any the tile of net savings is below 0."""
    told = next(widget for widget in BODY["widgets"] if widget["type"] == "text")["properties"]["markdown"]
    assert "where all are, *Net savings* is the own cost alone" in told


def test_every_step_of_the_host_has_a_hit_ratio():
    widget = named("Hit ratio by step")
    steps = {entry[3].partition("/")[0] for entry in widget["properties"]["metrics"] if len(entry) == 5}

    assert set(CONTEXTS) - {"Unspecified"} == steps


def test_counts_and_latencies_follow_the_hosts_conventions():
    """Counts per minute from hidden sums of 60 s; latencies as Average, p90 and Maximum of 300 s with a red line."""
    for widget in BODY["widgets"]:
        properties = widget["properties"]
        label = properties.get("yAxis", {}).get("left", {}).get("label")
        shown = [entry[-1] for entry in properties.get("metrics", []) if entry[-1].get("visible", True)]
        if label == "per Minute":
            assert properties["period"] == 60
            assert all(re.fullmatch(r"(m\d+)/PERIOD\(\1\)\*60", options["expression"]) for options in shown)
            assert "per Minute" in properties["title"]
        if label == "Milliseconds":
            assert ([options["stat"] for options in shown], properties["period"]) == (
                ["Average", "p90", "Maximum"],
                300,
            )
    assert (
        named("Latency of invocations")["properties"]["annotations"]["horizontal"][0]["value"]
        == "${ExecutionTimeThresholdMs}"
    )


def named(title: str) -> dict:
    return next(widget for widget in BODY["widgets"] if widget["properties"].get("title") == title)


def named_query(title: str) -> str:
    return named(title)["properties"]["query"]


MISSED = next(query for name, query in publish.saved_queries(FOLDER / "queries") if name == "Misses by reason")


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("query", [MISSED, named_query("Why requests missed")], ids=["saved query", "widget"])
def test_the_table_of_misses_counts_what_the_metric_counts(query, outcome):
    """Its rows add up to Misses, which stands beside it: whatever the outcome that was counted as one."""
    receipt = written(outcome)

    assert log_query.parse(query.replace("\n", " ")).test(receipt) == bool(receipt["Misses"][0])


def test_the_table_of_errors_tells_whose_they_are():
    """An error type is also written for our own trouble on a request that was answered: outcome and reason say so."""
    plan = log_query.parse(named_query("Errors by type"))

    assert all(plan.test(written(outcome, error_type="ClientError")) for outcome in Outcome)
    assert {"error_type", "outcome", "reason"} == set(plan.by)


def broken(title: str, change) -> dict:
    body = copy.deepcopy(BODY)
    change(next(widget for widget in body["widgets"] if widget["properties"].get("title") == title))
    return body


def _set(*path, value):
    def change(widget):
        for step in path[:-1]:
            widget = widget[step]
        widget[path[-1]] = value

    return change


PAGES = "Pages per Minute"
METRICS_OF = ("properties", "metrics")
BROKEN = {
    "unknown metric": (PAGES, _set(*METRICS_OF, 0, 1, value="Page"), "'Page', which no receipt has"),
    "sum of a latency": (
        "Latency of the look-up",
        _set(*METRICS_OF, 0, 4, "stat", value="Sum"),
        "takes the Sum of LookupLatency",
    ),
    "average of a count": (PAGES, _set(*METRICS_OF, 0, 4, "stat", value="Average"), "takes the Average of Pages"),
    "unknown dimension": (PAGES, _set(*METRICS_OF, 0, 2, value="Context"), "the dimension 'Context'"),
    "unknown step": (
        "Hit ratio by step",
        _set(*METRICS_OF, 0, 3, value="Scan/lambda_hook/x"),
        "metering key 'Scan/lambda_hook/x'",
    ),
    "overlap": (PAGES, _set("x", value=4), "overlaps"),
    "off the grid": (PAGES, _set("x", value=20), "does not fit the grid"),
    "math without end": (PAGES, _set(*METRICS_OF, 1, 0, "expression", value="100*(m1"), "')' is missing"),
    "math with an unknown id": (PAGES, _set(*METRICS_OF, 1, 0, "expression", value="m9+1"), "reads 'm9'"),
    "math with an unknown function": (
        PAGES,
        _set(*METRICS_OF, 1, 0, "expression", value="MEDIAN(m1)"),
        "MEDIAN is not known",
    ),
    "math in a circle": (PAGES, _set(*METRICS_OF, 1, 0, "expression", value="e1+m1"), "refers to itself"),
    "an id twice": (PAGES, _set(*METRICS_OF, 1, 0, "id", value="m1"), "uses the id 'm1' twice"),
    "nothing shown": (
        PAGES,
        _set(*METRICS_OF, value=[entry for entry in named(PAGES)["properties"]["metrics"] if len(entry) == 5]),
        "shows no line",
    ),
    "query of an unknown member": (
        "Errors by type",
        _set("properties", "query", value="SOURCE 'x' | filter oops = 1 | stats count(*) as n by oops"),
        "queries 'oops'",
    ),
    "query without source": (
        "Errors by type",
        _set("properties", "query", value="stats count(*) as n by reason"),
        "names no SOURCE",
    ),
    "query that is none": (
        "Errors by type",
        _set("properties", "query", value="SOURCE 'x' | frobnicate"),
        "'frobnicate' is not known",
    ),
    "no title's properties": (PAGES, lambda widget: widget.pop("properties"), "is not formed as a widget"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_body_is_caught_and_named(kind):
    """A dashboard that CloudWatch would draw empty, or not at all, does not leave the repository."""
    title, change, told = BROKEN[kind]
    findings = check(broken(title, change))

    assert findings
    assert any(told in finding for finding in findings), findings


@pytest.mark.parametrize(
    "change",
    [
        _set("type", value="metrics"),
        _set("width", value=9),
        _set("properties", "view", value="pie"),
        _set("properties", "region", value="us-east-1"),
        _set("properties", "yAxis", "left", "label", value="Count"),
        _set("properties", "colour", value="red"),
        lambda widget: widget["properties"].pop("title"),
    ],
)
def test_the_schema_refuses_what_the_house_does_not_write(change):
    assert DASHBOARD.is_valid(BODY)
    assert not DASHBOARD.is_valid(broken(PAGES, change))


# What follows from it --------------------------------------------------------------------------------------------------


def test_derived_files_are_up_to_date():
    """`python -m hookcache_ops.dashboard.publish` was run after the last change."""
    queries = publish.saved_queries(FOLDER / "queries")

    assert json.loads((FOLDER / "grafana.json").read_text()) == publish.to_grafana(BODY)
    assert (FOLDER / "template.fragment.yaml").read_text() == publish.to_template(BODY, queries)


def test_the_template_deploys_this_dashboard_and_these_queries():
    """What is drawn locally and what is deployed are one thing."""
    fragment = resources((FOLDER / "template.fragment.yaml").read_text())
    template = resources((ROOT / "template.yaml").read_text().partition("\nResources:\n")[2])

    assert {name: template.get(name) for name in fragment} == fragment


def resources(text: str) -> dict:
    """The top-level entries of an indented block, as (tag, value) trees."""

    class Loader(yaml.SafeLoader):
        pass

    def tagged(loader, suffix, node):
        build = {
            "scalar": loader.construct_scalar,
            "sequence": loader.construct_sequence,
            "mapping": loader.construct_mapping,
        }[node.id]
        return {f"!{suffix}": build(node, deep=True) if node.id != "scalar" else build(node)}

    Loader.add_multi_constructor("!", tagged)
    block = text.partition("\nOutputs:")[0]
    return yaml.load("Resources:\n" + block, Loader)["Resources"]


def test_the_deployed_body_is_json_once_filled_in():
    """Fn::Sub leaves no `${...}` behind, and the threshold becomes a number."""
    text = publish.to_body_text(BODY)
    for name in (*publish.TEMPLATE_VALUES, "AWS::Region"):
        text = text.replace(f"${{{name}}}", "30000" if name == "ExecutionTimeThresholdMs" else "x")
    body = json.loads(text)

    assert "${" not in text
    assert 30000 in [
        mark["value"] for w in body["widgets"] for mark in w["properties"].get("annotations", {}).get("horizontal", [])
    ]
    assert len(body["widgets"]) == len(BODY["widgets"])


def test_saved_queries_name_only_what_receipts_hold():
    """Each query runs over the fields of receipts and of Lambda's own lines."""
    known = [
        "filter",
        "stats",
        "fields",
        "sort",
        "limit",
        "by",
        "as",
        "asc",
        "desc",
        "and",
        "or",
        "like",
        "in",
        "count",
        "sum",
        "avg",
        "pct",
        "max",
        "min",
        "bin",
        "ispresent",
    ]
    for name, query in publish.saved_queries(FOLDER / "queries"):
        code = "\n".join(line for line in query.splitlines() if not line.startswith("#"))
        named_here = set(re.findall(r"\bas (\w+)", code))
        words = re.findall(r"@?[A-Za-z_][\w.]*", re.sub(r'"[^"]*"|/[^/\n]+/|\d+d', "", code))
        members = {word.partition(".")[0] for word in words if not word.startswith("@")} - set(known) - named_here

        assert members <= set(RECEIPT_SCHEMA["properties"]), name
        assert name


def test_grafana_shows_the_same_panels():
    """One panel per widget, the same titles, expressions and metrics, without overlap."""
    panels = publish.to_grafana(BODY)["panels"]

    assert [widget["properties"].get("title", "") for widget in BODY["widgets"]] == [panel["title"] for panel in panels]
    for widget, panel in zip(BODY["widgets"], panels, strict=True):
        expected = [entry[-1].get("expression", "") for entry in widget["properties"].get("metrics", [])]
        if expected:
            assert expected == [target["expression"] for target in panel["targets"]]
    cells = [
        (x, y)
        for p in panels
        for x in range(p["gridPos"]["x"], p["gridPos"]["x"] + p["gridPos"]["w"])
        for y in range(p["gridPos"]["y"], p["gridPos"]["y"] + p["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))


def test_the_bill_of_our_metrics_is_the_documented_one():
    """P56: (lean metrics and BackendLatency) x (steps + 1) at 0.30 USD a month, and the log of a million invocations."""
    told = re.findall(r"^\| (\d) \| (\d+) \| ([\d.]+) \|$", README, re.MULTILINE)
    written_names = {entry["Name"] for entry in written(Outcome.HIT_MEMORY)["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    bills = {steps: monthly_bill(steps, 1_000_000) for steps in (1, 2, 5)}

    assert [(str(n), str(bill.metrics), f"{bill.custom_metrics:.2f}") for n, bill in bills.items()] == told
    assert len(written_names | {"BackendLatency"}) * 2 == bills[1].metrics
    assert f"a million invocations cost {bills[1].receipts:.2f} USD" in " ".join(README.split())


def test_the_page_of_scale_counts_what_a_month_always_costs():
    """P56: metrics of one step, alarms by the metrics that each watches, the secret."""
    template = (FOLDER.parent / "template.yaml").read_text(encoding="utf-8")
    alarms = [part.partition("\n\n")[0] for part in template.split("Type: AWS::CloudWatch::Alarm")[1:]]
    watched = sum(max(1, alarm.count("MetricStat:")) for alarm in alarms)
    page = (FOLDER.parent / "docs" / "scale.md").read_text(encoding="utf-8")
    due = {"metrics": float(monthly_bill(1).custom_metrics), "alarms": watched * 0.10, "secret": 0.40}

    assert {name: f"{amount:.2f}" for name, amount in due.items()} == amounts_told(page)
    assert f"{sum(due.values()):.2f}   a month" in page


def amounts_told(page: str) -> dict[str, str]:
    """The first amount behind the arithmetic of each line."""
    return dict(re.findall(r"^    (metrics|alarms|secret) .*?  (\d+\.\d\d)(?:   |$)", page, re.MULTILINE))


def test_control_another_amount_is_noticed():
    page = "    metrics   38 x 0.30               11.40   one step\n    secret                  0.50\n"
    assert amounts_told(page) == {"metrics": "11.40", "secret": "0.50"}
