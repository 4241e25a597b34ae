"""Nothing is lost and nothing is invented between the backend's bill, the host, the receipts, the report and the page."""

from __future__ import annotations

import io
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from hookcache_ops import demo
from hookcache_ops.backends import named
from hookcache_ops.demo_screen import Screen
from hookcache_ops.demo_stage import LocalStage
from hookcache_ops.pages import render
from money import accounts
from money.traffic import Traffic

ROOT = Path(__file__).resolve().parents[2]
PRICES = {"inputTokens": Decimal("8.0E-7"), "outputTokens": Decimal("3.2E-6"), "pages": Decimal("0.004")}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(5_000, id="5_thousand"),
        pytest.param(100_000, id="100_thousand", marks=[pytest.mark.prove, pytest.mark.timeout(3_000)]),
    ],
)
def traffic(request, tmp_path_factory):
    with Traffic(tmp_path_factory.mktemp("traffic"), request.param) as traffic:
        traffic.run()
    return traffic


def priced(units: dict[str, float]) -> Decimal:
    return sum((PRICES[unit] * Decimal(str(count)) for unit, count in units.items() if unit in PRICES), Decimal(0))


def test_the_run_meets_everything(traffic):
    """The premise: every way to end is in it, and many of each; else the sums below would say little."""
    sums, units = accounts.one_pass(traffic.log)

    assert traffic.requests == sums["Requests"] == traffic.ended["answered"] + traffic.ended["raised"]
    assert min(sums[name] for name in accounts.OUTCOMES) >= traffic.requests / 1_000
    assert sums["Refusals"] >= traffic.requests / 200
    assert {"cacheReadInputTokens"} == set(accounts.present(units["unpriced_units"]))


def test_the_host_is_charged_what_the_backend_charged(traffic):
    """P32, G15: units returned = units that the backend reported = units in receipts, to the unit."""
    _, units = accounts.one_pass(traffic.log)

    assert accounts.present(traffic.billed) == accounts.present(traffic.returned)
    assert accounts.present(traffic.billed) == accounts.present(units["units_spent"])


def test_every_invocation_ended_once(traffic):
    """P31: hits + misses + bypasses + failures = requests, and what was raised is what failed."""
    sums, _ = accounts.one_pass(traffic.log)

    assert sums["Requests"] == sum(sums[name] for name in accounts.OUTCOMES)
    assert traffic.ended["raised"] == sums["Failures"]


def test_money_is_units_times_prices(traffic):
    """P55: what was spent and saved, from the units alone, at the prices of the table."""
    sums, units = accounts.one_pass(traffic.log)

    assert float(priced(traffic.billed)) == pytest.approx(float(sums["Cost"]), abs=1e-9)
    assert float(priced(units["units_saved"])) == pytest.approx(float(sums["SavedCost"]), abs=1e-9)
    assert sums["OwnCost"] > 0


def test_report_and_page_add_up_to_the_receipts(traffic, capsys, tmp_path):
    """Dashboard totals = report totals = sum over receipts: counts and units to the unit, money to a billionth."""
    agree(traffic.log, tmp_path / "page.html", capsys)


def test_the_account_notices_one_unit(traffic, tmp_path, capsys):
    """Negative control: a single unit more in a single receipt is seen by each of the comparisons."""
    lines = traffic.log.read_text(encoding="utf-8").splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.startswith('{"_aws"') and '"outcome":"miss"' in line)
    changed = json.loads(lines[at])
    changed["units_spent"]["inputTokens"] = changed["units_spent"].get("inputTokens", 0) + 1
    lines[at] = json.dumps(changed) + "\n"
    (tmp_path / "function.log").write_text("".join(lines))
    _, units = accounts.one_pass(tmp_path / "function.log")

    assert accounts.present(traffic.billed) != accounts.present(units["units_spent"])
    assert accounts.reported(tmp_path / "function.log", capsys)["units_spent"] != units_of(traffic.log)["units_spent"]


class ListeningStage(LocalStage):
    """The demo's stage, and what passed between the host and the wrapper on it."""

    def __enter__(self):
        super().__enter__()
        self.sent, self.usages, self.ask = [], [], self.invoke
        self.invoke = self._listen
        return self

    def _listen(self, **call):
        reply = self.ask(**call)
        body = reply["Payload"].read()
        self.sent.append(call)
        self.usages.append(json.loads(body)["usage"])
        return reply | {"Payload": io.BytesIO(body)}

    def reported_by_the_backend(self, calls):
        """Its units for these calls, asked once more without the wrapper: the same image gives the same answer."""
        replies = [self.ask(**(call | {"FunctionName": self.backend.function}))["Payload"].read() for call in calls]
        return total(json.loads(reply)["usage"] for reply in replies)


def test_the_demo_adds_up(tmp_path, capsys, ocr):
    """The same over a demo run: real processes, real OCR, a local AWS, and the host's own client."""
    pages = list(render(ROOT / "documents" / "letter.pdf"))
    with ListeningStage(tmp_path, named("ocr")) as stage:
        status = demo.play(stage, pages, tmp_path, Screen(quiet=True), as_json=True)
        told = json.loads(capsys.readouterr().out)
        billed = stage.reported_by_the_backend(stage.sent[: len(pages)])
    sums, units = accounts.one_pass(tmp_path / "receipts.jsonl")

    assert (0, "") == (status, told["trouble"])
    assert 3 * len(pages) == sums["Requests"] == sum(sums[name] for name in accounts.OUTCOMES)
    assert (len(pages),) * 3 == (sums["Misses"], sums["MemoryHits"], sums["TableHits"])
    assert accounts.present(billed) == accounts.present(total(stage.usages))
    assert accounts.present(billed) == accounts.present(units["units_spent"])
    agree(tmp_path / "receipts.jsonl", tmp_path / "page.html", capsys)


def total(usages):
    summed = Counter()
    for usage in usages:
        summed.update(usage)
    return summed


def units_of(log: Path) -> dict:
    return accounts.one_pass(log)[1]


def agree(log: Path, page: Path, capsys) -> None:
    sums, units = accounts.one_pass(log)
    totals = accounts.reported(log, capsys)
    page_sums, page_units = accounts.page_sums(accounts.drawn(log, page))

    for name in ("Requests", *accounts.OUTCOMES):
        assert int(sums[name]) == page_sums[name], name
        assert int(sums[name]) == (totals["requests"] if name == "Requests" else totals["outcomes"][name]), name
    for member, amounts in units.items():
        assert accounts.present(amounts) == accounts.present(totals[member]), member
        assert accounts.present(amounts) == accounts.present(page_units[member]), member
    for metric, total in accounts.MONEY.items():
        assert float(sums[metric]) == pytest.approx(totals[total], abs=1e-9), metric
        assert float(sums[metric]) == pytest.approx(page_sums[metric], abs=1e-9), metric
    assert totals["net_savings"] == pytest.approx(float(sums["SavedCost"] - sums["OwnCost"]), abs=1e-9)
