"""What CloudWatch charges for our own metrics, from the hours in which receipts wrote them."""

from __future__ import annotations

import argparse
import json

import pytest

from hookcache_ops import report
from hookcache_ops.ledger import bill
from hookcache_ops.ledger.book import Ledger, fill
from hookcache_ops.receipts import Reading, read_receipts
from monthly_bill import monthly_bill
from ops import receipt_samples as samples

HOUR_MS = 3_600_000


def hours(tmp_path, receipts) -> dict:
    (tmp_path / "function.log").write_text("\n".join(samples.lines(receipts)) + "\n")
    return dict(fill(Ledger(), read_receipts([str(tmp_path / "function.log")], Reading())).metric_hours.told())


def numbered(*changes: dict) -> list[dict]:
    return [samples.receipt(request_id=f"{n}", **change) for n, change in enumerate(changes)]


def test_a_metric_counts_once_an_hour_in_each_dimension(tmp_path):
    """P56: a thousand receipts of an hour cost what one costs; another hour, step or health metric costs more."""
    start = samples.START_MS
    one = hours(tmp_path, numbered({"time_ms": start}))["metric_hours"]

    assert one == hours(tmp_path, numbered(*[{"time_ms": start + n} for n in range(50)]))["metric_hours"]
    assert 2 * one == hours(tmp_path, numbered({"time_ms": start}, {"time_ms": start + HOUR_MS}))["metric_hours"]
    second_step = numbered({"time_ms": start}, {"time_ms": start, "context": "Extraction"})
    assert one * 3 / 2 == hours(tmp_path, second_step)["metric_hours"]
    trouble = numbered({"time_ms": start}, {"time_ms": start, "TableErrors": 1})
    assert one + 2 == hours(tmp_path, trouble)["metric_hours"]


def test_a_month_of_every_hour_is_the_monthly_bill(tmp_path):
    """P56: the sum over hours meets the documented table, for one step in every hour of a month."""
    every_hour = numbered(*[{"time_ms": samples.START_MS + n * HOUR_MS} for n in range(bill.MONTH_HOURS)])

    assert float(monthly_bill(1).custom_metrics) == pytest.approx(hours(tmp_path, every_hour)["cost"])


def test_a_sum_that_was_cut_is_not_told(tmp_path, monkeypatch):
    """Bounded memory: beyond the bound there is no sum, never one that is too low."""
    monkeypatch.setattr(bill, "CELLS", 3)
    start = samples.START_MS

    assert hours(tmp_path, numbered({"time_ms": start}))["cost"] is not None
    assert hours(tmp_path, numbered({"time_ms": start}, {"time_ms": start + HOUR_MS}))["cost"] is None


def test_the_report_shows_the_charge_beside_the_savings(tmp_path, capsys):
    """P56: net of what receipts know, and net of CloudWatch's charge as well."""
    (tmp_path / "function.log").write_text("\n".join(samples.lines(samples.receipts(200, days=2))) + "\n")
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)

    assert 0 == report.run(parser.parse_args([str(tmp_path / "function.log")]))
    assert "Net savings less that charge" in capsys.readouterr().out
    assert 0 == report.run(parser.parse_args([str(tmp_path / "function.log"), "--json"]))
    assert json.loads(capsys.readouterr().out)["totals"]["custom_metrics"]["cost"] > 0


def test_units_charged_on_hits_stand_apart(tmp_path, capsys):
    """P32: what charge-back returned to the host is in a line of its own, and in no amount."""
    page = {"units_saved": {"pages": 2}, "SavedPages": 2, "SavedCost": 0.008, "units_charged": {"pages": 2}}
    lines = samples.lines(numbered({"outcome": "hit_table", **page}))
    (tmp_path / "function.log").write_text("\n".join(lines) + "\n")
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)

    report.run(parser.parse_args([str(tmp_path / "function.log")]))
    assert "Charged to the host on hits" in capsys.readouterr().out
    report.run(parser.parse_args([str(tmp_path / "function.log"), "--json"]))
    totals = json.loads(capsys.readouterr().out)["totals"]
    assert ({"pages": 2}, {}, {"pages": 2}, 0.008) == (
        totals["units_charged"],
        totals["units_spent"],
        totals["units_saved"],
        totals["saved_cost"],
    )
