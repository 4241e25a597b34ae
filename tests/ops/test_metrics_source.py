"""`hookcache dashboard metrics:NAMESPACE`: the page from GetMetricData of an account, where the log is not at hand."""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections import defaultdict
from datetime import UTC, datetime

import boto3
import pytest
from botocore.exceptions import ClientError

from hookcache_ops.cli import main
from hookcache_ops.ledger.book import Ledger
from hookcache_ops.ledger.cloudwatch import QUERIES, fill_from_metrics
from hookcache_ops.ledger.period import Period, SourceError
from hookcache_ops.receipts import Reading
from ops import receipt_samples as samples

NAMESPACE = "GenAIIDP/HookCache"
MANY = list(samples.receipts(1_500, seed=3, days=6))
NOW_MS = samples.START_MS + 6 * samples.DAY_MS
SAME = ("requests", "hits", "hit_ratio", "outcomes", "metrics")
METERED = ("inputTokens", "outputTokens", "pages")  # other units have no metric
MONEY = ("cost", "saved_cost", "own_cost", "net_savings", "cost_with_cache", "cost_without_cache")


class StubCloudWatch:
    """
    ListMetrics and GetMetricData over receipts, as CloudWatch extracts them; `asked` holds every call's arguments.

    Each reply comes in pages of 200 results. Source: Amazon CloudWatch API reference, "GetMetricData", "ListMetrics".
    """

    def __init__(self, receipts, status: str = "Complete") -> None:
        self.asked = []
        self._status = status
        self._values = defaultdict(list)
        for one in receipts:
            for definition in one["_aws"]["CloudWatchMetrics"][0]["Metrics"]:
                name = definition["Name"]
                self._values[one["MeteringKey"], name].append((one["_aws"]["Timestamp"] / 1000, one[name][0]))

    def get_paginator(self, operation):
        return argparse.Namespace(paginate=getattr(self, f"_{operation}"))

    def _list_metrics(self, **asked):
        self.asked.append(asked)
        assert [{"Name": "MeteringKey"}] == asked["Dimensions"]
        keys = {key for key, name in self._values if name == asked["MetricName"]}
        dimensions = [[{"Name": "MeteringKey", "Value": key}] for key in keys]
        dimensions.append([{"Name": "MeteringKey", "Value": "other/of/two"}, {"Name": "Service", "Value": "x"}])
        for one in dimensions:
            yield {"Metrics": [{"Namespace": NAMESPACE, "MetricName": asked["MetricName"], "Dimensions": one}]}

    def _get_metric_data(self, **asked):
        self.asked.append(asked)
        assert len(asked["MetricDataQueries"]) <= QUERIES
        since, until = asked["StartTime"].timestamp(), asked["EndTime"].timestamp()
        found = []
        for query in asked["MetricDataQueries"]:
            stat, period = query["MetricStat"], query["MetricStat"]["Period"]
            assert period % 60 == 0
            buckets = defaultdict(list)
            for at, value in self._values[stat["Metric"]["Dimensions"][0]["Value"], stat["Metric"]["MetricName"]]:
                if since <= at < until:
                    buckets[at - at % period].append(value)
            found.append(
                {
                    "Id": query["Id"],
                    "StatusCode": self._status,
                    "Timestamps": [datetime.fromtimestamp(at, UTC) for at in sorted(buckets)],
                    "Values": [statistic(stat["Stat"], buckets[at]) for at in sorted(buckets)],
                }
            )
        for first in range(0, len(found), 200):
            yield {"MetricDataResults": found[first : first + 200]}


def statistic(name: str, values: list[float]) -> float:
    if name[0] == "p":
        return sorted(values)[math.ceil(len(values) * int(name[1:]) / 100) - 1]
    return float({"Sum": sum, "SampleCount": len, "Minimum": min, "Maximum": max}[name](values))


@pytest.fixture
def cloudwatch(monkeypatch):
    """The account's CloudWatch, and a clock that shows the end of the samples."""
    stub = StubCloudWatch(MANY)
    monkeypatch.setattr(boto3, "client", lambda service: {"cloudwatch": stub}[service])
    monkeypatch.setattr(time, "time_ns", lambda: NOW_MS * 1_000_000)
    return stub


def page_data(page) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1])


def test_the_page_of_the_metrics_has_the_totals_of_the_receipts(cloudwatch, tmp_path, capsys):
    """The same counts, units and money, whichever way they came."""
    (tmp_path / "function.log").write_text("\n".join(samples.lines(MANY)) + "\n")
    main(["report", str(tmp_path / "function.log"), "--json"])
    wanted = json.loads(capsys.readouterr().out)["totals"]

    assert 0 == main(["dashboard", f"metrics:{NAMESPACE}", "--json", "-o", str(tmp_path / "page.html")])
    totals = json.loads(capsys.readouterr().out)["totals"]
    assert {name: wanted[name] for name in SAME} == {name: totals[name] for name in SAME}
    for member in ("units_spent", "units_saved"):
        assert {unit: wanted[member][unit] for unit in METERED} == totals[member]
    assert [wanted[name] for name in MONEY] == pytest.approx([totals[name] for name in MONEY], abs=1e-9)


def test_what_metrics_cannot_tell_is_said_on_the_page(cloudwatch, tmp_path):
    """Tables of requests need receipts, and say so; charts and tiles are drawn."""
    main(["dashboard", f"metrics:{NAMESPACE}", "-o", str(tmp_path / "page.html")])
    data = page_data(tmp_path / "page.html")

    tables = [widget for widget in data["widgets"] if widget["view"] == "table"]
    assert 6 == len(tables)
    assert all(widget["unknown"] and not widget["rows"] for widget in tables)
    assert not any("unknown" in widget for widget in data["widgets"] if widget["view"] != "table")
    assert {"OCR", "Extraction"} < set(data["steps"])
    assert set(samples.FUNCTIONS) == set(data["functions"])


@pytest.mark.parametrize(("since", "may_miss"), [("14d", False), ("15d", True)])
def test_what_a_long_period_may_miss_is_said(since, may_miss, cloudwatch, tmp_path, capsys):
    """CloudWatch lists metrics of the last two weeks only: what was quiet since is not asked for, and looks like nothing."""
    assert 0 == main(["dashboard", f"metrics:{NAMESPACE}", "--since", since, "-o", str(tmp_path / "page.html")])
    said, on_page = capsys.readouterr().err, page_data(tmp_path / "page.html")["missing"]

    assert may_miss == ("went quiet" in said) == bool(on_page)
    assert on_page in said
    keys = {one["MeteringKey"] for one in MANY} if may_miss else set()
    assert all(key in on_page for key in keys)


def test_the_names_that_are_said_are_bounded():
    """Twenty metering keys are named, the others counted."""
    many = [samples.receipt(function=f"F{n:03}", time_ms=NOW_MS - 1_000) for n in range(25)]
    period = Period(since_ms=NOW_MS - 60 * samples.DAY_MS)
    said = fill_from_metrics(Ledger(1), Reading(), NAMESPACE, period, NOW_MS, 6_000, StubCloudWatch(many))

    assert (True, False) == ("OCR/lambda_hook/F019 and 5 more." in said, "F020" in said)


def test_times_are_cloudwatchs_own(cloudwatch):
    """In each bucket: average and maximum exactly, percentiles within a bin (2 %)."""
    ledger = Ledger(1)
    fill_from_metrics(ledger, Reading(), NAMESPACE, Period(), NOW_MS, 6_000, cloudwatch)
    values = defaultdict(list)
    for one in MANY:
        at = one["_aws"]["Timestamp"] // 1000
        values[at - at % ledger.width_seconds, one["context"], one["function"]].append(one["Latency"][0])

    assert len(values) == len(ledger.rows)
    for key, sums in ledger.rows.items():
        seen, times = values[key.start, key.step, key.function], sums.times["Latency"]
        assert (len(seen), max(seen)) == (times.count, times.largest)
        assert sum(seen) / len(seen) == pytest.approx(times.average)
        for percent in (50, 90, 99):
            assert statistic(f"p{percent}", seen) == pytest.approx(times.percentile(percent), rel=0.02)


@pytest.mark.parametrize(
    ("days", "finest"),
    [(0.02, 60), (1, 300), (14, 3_600), (20, 3_600), (70, 10_800), (2_000, 86_400)],
)
def test_buckets_are_as_fine_as_cloudwatch_holds_and_the_page_bears(days, finest, cloudwatch):
    """Old data exists by 5 minutes (15 days) and by the hour (63 days) only; a page has at most 6,000 rows."""
    since = Period(since_ms=int(NOW_MS - days * samples.DAY_MS))
    ledger = Ledger(1)
    fill_from_metrics(ledger, Reading(), NAMESPACE, since, NOW_MS, 6_000, cloudwatch)
    asked = cloudwatch.asked[-1]

    assert {finest} == {query["MetricStat"]["Period"] for query in asked["MetricDataQueries"]}
    assert finest == ledger.width_seconds
    assert asked["StartTime"].timestamp() % finest == asked["EndTime"].timestamp() % finest == 0


def test_many_metering_keys_are_asked_for_in_lawful_batches():
    """At most 500 queries in a call, however many steps and functions there are."""
    functions = [samples.receipt(function=f"GENAIIDP-cache-{n}", time_ms=NOW_MS - 1_000) for n in range(40)]
    stub = StubCloudWatch(functions)
    reading, ledger = Reading(), Ledger(1)
    fill_from_metrics(ledger, reading, NAMESPACE, Period(), NOW_MS, 6_000, stub)

    assert len(stub.asked) > 3
    assert 40 == ledger.totals().count("Requests") == reading.receipts


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (["metrics:"], "names no namespace"),
        (["metrics:Other/Space", "function.log"], "stands alone"),
    ],
)
def test_a_source_that_makes_no_sense_is_refused(sources, said, cloudwatch, tmp_path, capsys):
    assert 2 == main(["dashboard", *sources, "-o", str(tmp_path / "page.html")])
    assert said in capsys.readouterr().err


def test_a_period_that_has_not_begun_is_refused(cloudwatch, tmp_path, capsys):
    """A slip in the year of --since is told as one."""
    assert 2 == main(["dashboard", f"metrics:{NAMESPACE}", "--since", "2030-01-01", "-o", str(tmp_path / "page.html")])
    assert "--since lies ahead" in capsys.readouterr().err


def test_an_empty_namespace_says_what_to_check(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(boto3, "client", lambda service: StubCloudWatch([]))

    assert 2 == main(["dashboard", f"metrics:{NAMESPACE}", "-o", str(tmp_path / "page.html")])
    assert "check namespace and region" in capsys.readouterr().err


def test_a_refusal_names_the_rights(monkeypatch, tmp_path, capsys):
    def refuse(service):
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListMetrics")

    monkeypatch.setattr(boto3, "client", refuse)

    assert 2 == main(["dashboard", f"metrics:{NAMESPACE}", "-o", str(tmp_path / "page.html")])
    assert "cloudwatch:GetMetricData" in capsys.readouterr().err


def test_a_half_answer_is_no_answer():
    """A metric that CloudWatch could not read must not look like a 0."""
    with pytest.raises(SourceError, match="InternalError"):
        fill_from_metrics(
            Ledger(1), Reading(), NAMESPACE, Period(), NOW_MS, 6_000, StubCloudWatch(MANY[:5], "InternalError")
        )


def test_the_report_says_that_it_needs_receipts(capsys):
    assert 2 == main(["report", f"metrics:{NAMESPACE}"])
    assert "metrics hold no receipts" in capsys.readouterr().err
