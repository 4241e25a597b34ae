"""
`logs:` and `metrics:` over the wire: boto3's own clients against a CloudWatch and a CloudWatch Logs that are not ours.

moto's stand in for the account. Known to be missing there: percentiles of GetMetricData, for which tests/ops/test_metrics_source.py
has a stub that computes them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from botocore.exceptions import (
    ClientError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    SSLError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from hookcache_ops.cli import main
from hookcache_ops.ledger.book import Ledger
from hookcache_ops.ledger.cloudwatch import fill_from_metrics
from hookcache_ops.ledger.period import Period
from hookcache_ops.ledger.summary import summarise
from hookcache_ops.local.aws import LocalAws
from hookcache_ops.receipts import Reading
from ops import receipt_samples as samples

NAMESPACE, GROUP = "GenAIIDP/HookCache", "/hookcache-ocr/lambda/HookFunction"
BEGIN_MS = (int(time.time()) // 3_600 - 24) * 3_600_000  # CloudWatch Logs takes nothing older than two weeks
HOURS = 3  # a receipt may come some minutes after its even place
MANY = list(samples.receipts(60, seed=11, days=2 / 24))
for _one in MANY:
    _one["_aws"]["Timestamp"] += (
        BEGIN_MS - samples.START_MS + 30_000
    )  # moto leaves out what lies on the beginning itself


def period(begin_hour: int, end_hour: int) -> tuple[str, ...]:
    at = [datetime.fromtimestamp(BEGIN_MS / 1000 + hour * 3_600, UTC).isoformat() for hour in (begin_hour, end_hour)]
    return ("--since", at[0], "--until", at[1])


SAME = ("requests", "hits", "hit_ratio", "outcomes", "metrics")
MONEY = ("cost", "saved_cost", "own_cost", "net_savings", "cost_with_cache", "cost_without_cache")


@pytest.fixture(scope="module")
def account() -> Iterator[LocalAws]:
    with LocalAws() as aws:
        logs, cloudwatch = aws.client("logs"), aws.client("cloudwatch")
        logs.create_log_group(logGroupName=GROUP)
        logs.create_log_stream(logGroupName=GROUP, logStreamName="2026/10/01/[$LATEST]0a")
        events = [
            {"timestamp": one["_aws"]["Timestamp"], "message": line}
            for one in MANY
            for line in samples.lines([one], duplicates=0.1)
        ]
        for first in range(0, len(events), 500):
            batch = sorted(events[first : first + 500], key=lambda event: event["timestamp"])
            logs.put_log_events(logGroupName=GROUP, logStreamName="2026/10/01/[$LATEST]0a", logEvents=batch)
        data = [
            {
                "MetricName": metric["Name"],
                "Dimensions": [{"Name": "MeteringKey", "Value": one["MeteringKey"]}],
                "Timestamp": datetime.fromtimestamp(one["_aws"]["Timestamp"] / 1000, UTC),
                "Value": one[metric["Name"]][0],
                "Unit": metric["Unit"],
            }
            for one in MANY
            for metric in one["_aws"]["CloudWatchMetrics"][0]["Metrics"]
        ]
        for first in range(0, len(data), 1_000):
            cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=data[first : first + 1_000])
        yield aws


@pytest.fixture
def log_file(account, monkeypatch, tmp_path):
    for name, value in account.environment().items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "function.log"
    file.write_text("\n".join(samples.lines(MANY)) + "\n")
    return str(file)


def told(capsys, *arguments: str) -> dict:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_log_group_gives_the_report_of_the_same_log_in_a_file(log_file, capsys):
    """P31: FilterLogEvents, page by page; Lambda's own lines and a second delivery change nothing."""
    group, file = (told(capsys, "report", source, "--by", "step") for source in (f"logs:{GROUP}", log_file))

    assert (file["totals"], file["groups"]) == (group["totals"], group["groups"])
    assert 60 == group["totals"]["receipts"]


def test_a_period_of_a_log_group_is_that_period_of_the_file(log_file, capsys):
    """P31: the times go into the request, and each receipt is judged by its own."""
    hour = period(0, 1)
    group, file = (told(capsys, "report", source, *hour) for source in (f"logs:{GROUP}", log_file))

    assert file["totals"] == group["totals"]
    assert 0 < group["totals"]["receipts"] < 60


def test_the_page_of_a_log_group_has_the_totals_of_the_report(log_file, capsys, tmp_path):
    """Issue E: page totals = report totals, from CloudWatch Logs as well."""
    drawn = told(capsys, "dashboard", f"logs:{GROUP}", "-o", str(tmp_path / "page.html"))

    assert told(capsys, "report", log_file)["totals"] == drawn["totals"]
    assert (tmp_path / "page.html").stat().st_size == drawn["bytes"]


class NoPercentiles:
    """moto's CloudWatch, which fails at a percentile, asked for everything else."""

    def __init__(self, client) -> None:
        self._client = client

    def get_paginator(self, operation):
        real = self._client.get_paginator(operation)

        def paginate(**asked):
            if "MetricDataQueries" in asked:
                asked["MetricDataQueries"] = [
                    query for query in asked["MetricDataQueries"] if not query["MetricStat"]["Stat"].startswith("p")
                ]
            return real.paginate(**asked)

        return argparse.Namespace(paginate=paginate)


def test_the_metrics_of_a_namespace_give_the_counts_and_money_of_the_log(account, log_file, capsys):
    """P35: ListMetrics and GetMetricData give back every count, unit and amount that the receipts held."""
    ledger, reading = Ledger(), Reading()
    all_of_it = Period(BEGIN_MS, BEGIN_MS + HOURS * 3_600_000)
    client = NoPercentiles(account.client("cloudwatch"))
    fill_from_metrics(ledger, reading, NAMESPACE, all_of_it, int(time.time() * 1000), 500, client)
    drawn = summarise(ledger, reading, "step").totals
    report = told(capsys, "report", log_file)["totals"]

    assert {name: report[name] for name in SAME} == {name: drawn[name] for name in SAME}
    assert [report[name] for name in MONEY] == pytest.approx([drawn[name] for name in MONEY], abs=1e-9)
    assert drawn["units_saved"] == {
        unit: report["units_saved"][unit] for unit in ("inputTokens", "outputTokens", "pages")
    }
    latency = sum(sums.times["Latency"].total for sums in ledger.rows.values())
    assert latency == pytest.approx(sum(one["Latency"][0] for one in MANY))


@pytest.mark.parametrize(
    ("source", "said"),
    [("logs:/hookcache-gone", "check the name and AWS_REGION, and whether it is still there"),
     ("metrics:Other/Namespace", "check namespace and region, or read the log with logs:GROUP")],
)  # fmt: skip
def test_what_is_not_there_is_one_line_with_the_remedy(source, said, log_file, capsys, tmp_path):
    """Exit status 2, no traceback, and no sentence that ends twice."""
    assert main(["dashboard", source, "-o", str(tmp_path / "page.html")]) == 2
    error = capsys.readouterr().err

    assert (1, True) == (error.count("\n"), said in error)
    assert ".;" not in error


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("ExpiredTokenException", "; set AWS_PROFILE and AWS_REGION, or log in"),
        ("ThrottlingException", "; wait a moment and try again"),
        ("AccessDeniedException", "; check name, region and the right logs:FilterLogEvents"),
    ],
)
def test_what_aws_refuses_is_told_with_its_own_remedy(code, remedy, capsys, monkeypatch):
    """Who waits or logs in need not look for a right that is there."""

    def refused(_service):
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "FilterLogEvents")

    monkeypatch.setattr("boto3.client", refused)
    assert main(["report", "logs:/x"]) == 2
    assert capsys.readouterr().err.endswith(remedy + "\n")


class Refusing:
    """A client of any service whose every operation ends in one trouble."""

    def __init__(self, trouble):
        self._trouble = trouble

    def __getattr__(self, operation):
        def asked(*_, **__):
            raise self._trouble

        return asked


LOG_IN = "; set AWS_PROFILE and AWS_REGION, or log in\n"
COMMANDS = pytest.mark.parametrize(
    "command",
    [
        ["report", "logs:/x"],
        ["dashboard", "metrics:N"],
        ["prices", "--check", "ssm:/x"],
        ["doctor", "SSO-stack"],
        ["doctor", "--function", "f"],
        ["mode", "--show", "--function", "f"],
    ],
    ids=lambda command: " ".join(command[:2]),
)


@pytest.mark.parametrize(
    ("trouble", "logs_in"),
    [
        (ProfileNotFound(profile="nope"), True),
        (TokenRetrievalError(provider="sso", error_msg="Token has expired and refresh failed"), True),
        (UnauthorizedSSOTokenError(), True),
        (PartialCredentialsError(provider="env", cred_var="aws_secret_access_key"), True),
        (ClientError({"Error": {"Code": "ExpiredTokenException", "Message": "no"}}, "Any"), True),
        (ClientError({"Error": {"Code": "InvalidClientTokenId", "Message": "no"}}, "Any"), True),
        (ClientError({"Error": {"Code": "ValidationError", "Message": "no"}}, "Any"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
@COMMANDS
def test_who_is_not_logged_in_is_told_so_and_of_no_right(command, trouble, logs_in, capsys, monkeypatch):
    """A login that is over is the commonest of all troubles: name, region and rights may all be as they should."""

    monkeypatch.setattr("boto3.client", lambda *_, **__: Refusing(trouble))
    assert main(command) == 2
    assert logs_in == capsys.readouterr().err.endswith(LOG_IN)


@COMMANDS
@pytest.mark.parametrize(
    ("trouble", "remedy"),
    [
        (SSLError(endpoint_url="https://logs", error="self-signed certificate"), "set AWS_CA_BUNDLE to a file"),
        (ProxyConnectionError(proxy_url="http://proxy", error="refused"), "check the network and AWS_REGION"),
    ],
    ids=["certificate", "proxy"],
)
def test_a_network_with_roots_or_a_proxy_of_its_own_is_no_missing_right(command, trouble, remedy, capsys, monkeypatch):
    """Nobody was asked, so nobody refused anything."""

    monkeypatch.setattr("boto3.client", lambda *_, **__: Refusing(trouble))
    assert main(command) == 2
    assert f"; {remedy}" in capsys.readouterr().err
