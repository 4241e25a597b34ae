"""
`metrics:NAMESPACE`: the ledger filled from what CloudWatch kept of the receipts, where their log is gone or not to be read.

Metrics hold sums by time and metering key, not receipts: outcomes, reasons and pages by name are not in them. A bucket's
average, percentiles, smallest and largest time are CloudWatch's own; percentiles over several buckets are approximate.
Rights needed: cloudwatch:ListMetrics and cloudwatch:GetMetricData, which is charged by the metric asked for.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hookcache_ops.cures import cure, told_by
from hookcache_ops.ledger.book import DAY_SECONDS, PICO, WIDTHS, Ledger, RowKey, Sums
from hookcache_ops.ledger.histogram import Histogram, bin_of
from hookcache_ops.ledger.metrics import METRICS
from hookcache_ops.ledger.period import Period, SourceError

if TYPE_CHECKING:
    from hookcache_ops.receipts import Reading

PREFIX = "metrics:"
DEFAULT_DAYS = 7
LISTED_DAYS = 14  # source: Amazon CloudWatch API reference, "ListMetrics": only what had a value in the past two weeks
NAMED = 20  # metering keys in a message; the others are counted
ANY_OUTCOME = "(any)"
QUERIES = 500  # of one GetMetricData call; source: Amazon CloudWatch API reference, "GetMetricData"
_KEPT = ((63, 3_600), (15, 300), (0, 60))  # days back, and the finest seconds that CloudWatch still holds then
_TIME_STATISTICS = ("SampleCount", "Sum", "Minimum", "Maximum", "p50", "p90", "p99")
_UNITS = {
    "units_spent": {"InputTokens": "inputTokens", "OutputTokens": "outputTokens", "Pages": "pages"},
    "units_saved": {"SavedInputTokens": "inputTokens", "SavedOutputTokens": "outputTokens", "SavedPages": "pages"},
}


@dataclass(frozen=True, slots=True)
class _Query:
    """One metric's one statistic under one metering key."""

    metering_key: str
    metric: str
    statistic: str


def namespace_of(sources: list[str]) -> str | None:
    """
    The namespace, if the metrics are what is asked for; None for receipts.

    Raises:
        SourceError: metrics beside other sources, which would count twice, or no namespace.
    """
    if not any(source.startswith(PREFIX) for source in sources):
        return None
    if len(sources) > 1:
        raise SourceError("metrics: stands alone: receipts of the same time would count twice; give one or the other")
    namespace = sources[0].removeprefix(PREFIX)
    if not namespace:
        raise SourceError("metrics: names no namespace; give metrics:GenAIIDP/HookCache")
    return namespace


def fill_from_metrics(
    ledger: Ledger, reading: Reading, namespace: str, period: Period, now_ms: int, row_limit: int, client: Any = None
) -> str:
    """
    Rows for every metering key of the namespace, DEFAULT_DAYS back where the period has no beginning. Returns what of
    the period may be missing, and empty where nothing is.

    The ledger must be empty; its buckets get the finest width that CloudWatch still holds and that keeps to `row_limit`.

    Raises:
        SourceError: CloudWatch cannot be asked, or has nothing in that namespace; the period has not begun.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    until = math.ceil((now_ms if period.until_ms is None else period.until_ms) / 1000)
    since = until - DEFAULT_DAYS * DAY_SECONDS if period.since_ms is None else period.since_ms // 1000
    if since >= until:
        raise SourceError(f"{PREFIX}{namespace}: --since lies ahead of now; give a moment that has been")
    try:
        cloudwatch = client or boto3.client("cloudwatch")
        keys = _metering_keys(cloudwatch, namespace)
        width = ledger.width_seconds = _width(since, until, now_ms // 1000, len(keys), row_limit)
        missing = _missing(keys) if since < now_ms // 1000 - LISTED_DAYS * DAY_SECONDS else ""
        since, until = since - since % width, until + -until % width
        found = _fetched(cloudwatch, namespace, keys, since, until, width)
    except (BotoCoreError, ClientError) as error:
        told = told_by(error)
        rights = "check region and the rights cloudwatch:ListMetrics, cloudwatch:GetMetricData"
        raise SourceError(f"{PREFIX}{namespace}: {told}; {cure(told, rights)}") from error
    for (metering_key, start), values in sorted(found.items()):
        step, _, rest = metering_key.partition("/")
        sums = _sums(values)
        reading.receipts += sums.receipts
        ledger.put(RowKey(start, step, rest.rpartition("/")[2], ANY_OUTCOME), sums)
    reading.sources.append(PREFIX + namespace)
    reading.de_duplication = "none: a receipt that CloudWatch took twice counts twice"
    return missing


def _missing(keys: list[str]) -> str:
    named = ", ".join(keys[:NAMED]) + (f" and {len(keys) - NAMED:,} more" if len(keys) > NAMED else "")
    return (
        f"CloudWatch lists only what had a value in the last {LISTED_DAYS} days: a step or function that went quiet before is missing "
        f"from this period. Found: {named}. Draw the page from the log, with logs:GROUP, to have all"
    )


def _metering_keys(cloudwatch: Any, namespace: str) -> list[str]:
    pages = cloudwatch.get_paginator("list_metrics").paginate(
        Namespace=namespace, MetricName="Requests", Dimensions=[{"Name": "MeteringKey"}]
    )
    keys = {
        metric["Dimensions"][0]["Value"]
        for page in pages
        for metric in page["Metrics"]
        if len(metric["Dimensions"]) == 1
    }
    if not keys:
        raise SourceError(
            f"{PREFIX}{namespace}: CloudWatch lists no Requests by MeteringKey there in the last two weeks; "
            "check namespace and region, or read the log with logs:GROUP"
        )
    return sorted(keys)


def _width(since: int, until: int, now: int, keys: int, row_limit: int) -> int:
    """Seconds of a bucket: what CloudWatch still holds that far back, and few enough rows; a day at most."""
    finest = next(seconds for days, seconds in _KEPT if now - since >= days * DAY_SECONDS)
    widths = [width for width in WIDTHS if finest <= width <= DAY_SECONDS]
    return next((width for width in widths if (until - since) / width * keys <= row_limit), widths[-1])


def _queries(keys: list[str]) -> Iterator[_Query]:
    for key in keys:
        for metric in METRICS:
            for statistic in _TIME_STATISTICS if metric.is_time else ("Sum",):
                yield _Query(key, metric.name, statistic)


def _fetched(
    cloudwatch: Any, namespace: str, keys: list[str], since: int, until: int, width: int
) -> dict[tuple[str, int], dict[tuple[str, str], float]]:
    """(metering key, bucket) -> (metric, statistic) -> value."""
    found: defaultdict[tuple[str, int], dict[tuple[str, str], float]] = defaultdict(dict)
    queries = list(_queries(keys))
    for first in range(0, len(queries), QUERIES):
        batch = {f"q{at}": query for at, query in enumerate(queries[first : first + QUERIES])}
        pages = cloudwatch.get_paginator("get_metric_data").paginate(
            MetricDataQueries=[_asked(id_, query, namespace, width) for id_, query in batch.items()],
            StartTime=datetime.fromtimestamp(since, UTC),
            EndTime=datetime.fromtimestamp(until, UTC),
            ScanBy="TimestampAscending",
        )
        for result in (result for page in pages for result in page["MetricDataResults"]):
            if result.get("StatusCode", "Complete") not in {"Complete", "PartialData"}:
                raise SourceError(f"{PREFIX}{namespace}: CloudWatch says {result['StatusCode']}; try a shorter period")
            query = batch[result["Id"]]
            for time, value in zip(result["Timestamps"], result["Values"], strict=True):
                found[query.metering_key, int(time.timestamp())][query.metric, query.statistic] = value
    return found


def _asked(id_: str, query: _Query, namespace: str, width: int) -> dict[str, Any]:
    metric = {
        "Namespace": namespace,
        "MetricName": query.metric,
        "Dimensions": [{"Name": "MeteringKey", "Value": query.metering_key}],
    }
    return {"Id": id_, "MetricStat": {"Metric": metric, "Period": width, "Stat": query.statistic}, "ReturnData": True}


def _sums(values: dict[tuple[str, str], float]) -> Sums:
    sums = Sums()
    for metric in METRICS:
        if metric.is_time:
            times = _times({statistic: values.get((metric.name, statistic), 0) for statistic in _TIME_STATISTICS})
            if times.count:
                sums.times[metric.name] = times
        elif value := values.get((metric.name, "Sum"), 0):
            sums.metrics[metric.name] = round(value * PICO) if metric.is_money else value
    sums.receipts = int(sums.count("Requests"))
    for member, units in _UNITS.items():
        sums.units[member] = {unit: sums.count(name) for name, unit in units.items() if sums.count(name)}
    return sums


def _times(told: dict[str, float]) -> Histogram:
    """A histogram with these very statistics: so many values at each percentile, the rest at the largest."""
    times = Histogram()
    times.count, times.total = int(told["SampleCount"]), told["Sum"]
    times.smallest, times.largest = told["Minimum"], told["Maximum"]
    placed = 0
    for value, share in ((told["p50"], 0.5), (told["p90"], 0.9), (told["p99"], 0.99), (told["Maximum"], 1.0)):
        reached = math.ceil(round(times.count * share, 6))
        if reached > placed:
            at = bin_of(value)
            times.bins[at] = times.bins.get(at, 0) + reached - placed
            placed = reached
    return times
