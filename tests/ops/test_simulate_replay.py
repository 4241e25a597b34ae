"""The replay against the real hook: the same trace, the same outcomes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from contract.tables import TABLE, make_client
from figures import record
from hookcache_ops import cli
from hookcache_ops.local import engines
from hookcache_ops.local.aws import create_table
from ops.local_rig import require_engine
from ops.simulate_traffic import DEPLOYED, Traffic, write_log


def simulate(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert 0 == cli.main(["simulate", *arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def counts(figures: dict[str, Any]) -> dict[str, int]:
    return {name: round(figure["value"]) for name, figure in figures["outcomes"].items()}


def test_a_replay_counts_every_outcome_as_the_real_hook_did(capsys, trace):
    """P10, P11, P31: freshness, copies that expire, evictions, refusals, failures and flights are those of the product."""
    receipts = [json.loads(line) for line in trace.read_text().splitlines()]
    told = simulate(capsys, str(trace), *DEPLOYED)

    real = Counter(receipt["outcome"] for receipt in receipts)
    assert {"hit_memory", "hit_table", "collapsed", "miss", "bypass", "failed", "refresh"} == set(real)
    assert {"absent", "expired"} <= {receipt["reason"] for receipt in receipts}
    assert dict(real) == counts(told["scenarios"][0]) == told["actual"]["outcomes"]


@pytest.mark.parametrize("told", [["memory_bytes=100000"], ["memory_seconds=30"], ["fresh_seconds=1800"]])
def test_other_settings_count_otherwise(tmp_path, capsys, trace, told):
    """P11: the control: the agreement is not that of a replay that copies the log."""
    options = [*DEPLOYED, *(part for setting in told for part in ("--deployed", setting))]
    found = simulate(capsys, str(trace), *options)

    assert found["actual"]["outcomes"] != counts(found["scenarios"][0])


def test_environments_that_the_log_does_not_name_cost_no_hit(tmp_path, capsys, trace):
    """P57: which environment held a copy decides between memory and table, and never between hit and miss."""
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    nameless = [{name: value for name, value in line.items() if name != "environment"} for line in lines]
    found = simulate(capsys, str(write_log(nameless, tmp_path / "nameless")), *DEPLOYED)
    replayed = counts(found["scenarios"][0])
    tiers = {"hit_memory", "hit_table"}

    assert {name: count for name, count in found["actual"]["outcomes"].items() if name not in tiers} == {
        name: count for name, count in replayed.items() if name not in tiers
    }
    assert sum(found["actual"]["outcomes"][tier] for tier in tiers) == sum(replayed[tier] for tier in tiers)


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_twenty_thousand_requests_on_a_real_engine(tmp_path, capsys):
    """P10, P11, P31: as above at length, on a referee; and a sample of it within the error that it states."""
    require_engine("dynoxide")
    with engines.engine("dynoxide") as engine:
        client = make_client(engine.url)
        create_table(client, TABLE)
        receipts = Traffic(20_000, pages=4_000, environments=4, table=(client, TABLE)).run()
    log = str(write_log(receipts, tmp_path / "log"))
    whole = simulate(capsys, log, *DEPLOYED)
    real = dict(Counter(receipt["outcome"] for receipt in receipts))
    assert real == counts(whole["scenarios"][0])
    apart, within, looked = [], 0, 0
    for rate in ("0.5", "0.2"):
        sampled = simulate(capsys, log, *DEPLOYED, "--sample", rate)
        for exact, estimate in zip(whole["scenarios"], sampled["scenarios"], strict=True):
            for figure in ("hit_ratio", "backend_calls"):
                off = abs(exact[figure]["value"] - estimate[figure]["value"])
                within += off <= estimate[figure]["error_95"] + 1e-9
                looked += 1
                apart.append(off / (exact["requests"] if figure == "backend_calls" else 1))
    record(
        "F2",
        "simulated outcomes against the real hook's",
        "equal",
        f"{len(receipts):,} equal",
        met=True,
        note=str(real),
    )
    record(
        "F2",
        "sampled hit ratio and calls off the exact ones",
        "within the stated error",
        max(apart),
        "of requests",
        met=within == looked,
        note=f"{within} of {looked} figures, rates 0.5 and 0.2",
    )
    assert within >= 0.9 * looked


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(Traffic(600, pages=60).run(), tmp_path_factory.mktemp("trace") / "log")
