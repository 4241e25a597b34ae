"""`hookcache explain` on logs with a planted cause: it names the cause first, and counts what it cost."""

from __future__ import annotations

import json
import time

import pytest

from figures import record
from hookcache_ops.cli import main
from planted import CAUSES, Planted


def explained(planted: Planted, folder, capsys, *more: str):
    """The log written out, and what the command says of it."""
    log = folder / "function.log"
    with log.open("w") as lines:
        for receipt in planted.receipts():
            lines.write(json.dumps(receipt) + "\n")
    capsys.readouterr()
    assert main(["explain", str(log), "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def check(planted: Planted, told) -> None:
    top = told["findings"][0]
    calls = {cause: sum(each["calls"] for each in told["findings"] if each["cause"] == cause) for cause in CAUSES}

    assert planted.cause == top["cause"]
    assert planted.first_sights == told["first_sights"]["calls"]
    if planted.cause == "memory":  # no call of the backend is lost to it
        assert [] == [each for each in told["findings"] if each["cause"] != "memory"]
        return
    # The first time that a page comes with its cause on it, some other request may be the nearest.
    assert planted.lost[planted.cause] == pytest.approx(calls[planted.cause], rel=0.02)


@pytest.mark.parametrize("cause", CAUSES)
def test_the_planted_cause_comes_first_and_its_calls_are_counted(cause, tmp_path, capsys):
    """P58: 5,000 receipts of three steps, in which each other cause is planted as well, twenty times rarer."""
    planted = Planted(cause, 5_000)

    check(planted, explained(planted, tmp_path, capsys))


@pytest.mark.prove
@pytest.mark.parametrize("cause", CAUSES)
def test_the_planted_cause_comes_first_in_a_long_log(cause, tmp_path, capsys):
    """P58: the same over 50,000 receipts, within a minute."""
    planted = Planted(cause, 50_000)
    told = explained(planted, tmp_path, capsys)
    started = time.process_time()
    main(["explain", str(tmp_path / "function.log"), "--json"])
    seconds = time.process_time() - started
    top = told["findings"][0]
    record(
        "P58",
        f"planted cause {cause} named first of {len(told['findings'])}",
        "top cause",
        f"{top['cause']}: {top['calls']:,} calls of {planted.lost[cause]:,}, {seconds:.1f} s",
        met=top["cause"] == cause,
        note="50,000 receipts",
    )

    check(planted, told)
    assert seconds < 60


def test_a_log_without_a_trace_still_names_what_reasons_tell(tmp_path, capsys):
    """P58: expiry, bypasses and the memory tier need no trace; the rest says that it is missing."""
    planted = Planted("freshness", 1_500)
    log = tmp_path / "function.log"
    with log.open("w") as lines:
        for receipt in planted.receipts():
            lines.write(json.dumps({name: value for name, value in receipt.items() if name != "components"}) + "\n")
    assert main(["explain", str(log), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)

    assert "freshness" == told["findings"][0]["cause"]
    assert told["untraced_misses"] > 0
    assert set() == {each["cause"] for each in told["findings"]} - {"freshness", "sampling"}


def test_control_pages_that_only_share_a_prompt_are_no_near_misses(tmp_path, capsys):
    """P58: a log without causes; each request equals others but for its image or text, and no call was lost."""
    planted = Planted("memory", 600, pages=4_000)
    told = explained(planted, tmp_path, capsys)

    assert [] == [each for each in told["findings"] if each["cause"] not in {"memory", "environments"}]
    assert planted.first_sights > 400
    assert planted.first_sights == told["first_sights"]["calls"]


def test_events_beside_the_receipts_show_the_time_stamp_itself(tmp_path, capsys):
    """P58: with payloads of the same request ids, the finding quotes the place; without them it never could."""
    planted = Planted("time_stamp", 1_200, keep_events=True)
    log, events = tmp_path / "function.log", tmp_path / "payloads.jsonl"
    log.write_text("".join(json.dumps(receipt) + "\n" for receipt in planted.receipts()))
    events.write_text(
        "".join(json.dumps({"request_id": name, "event": event}) + "\n" for name, event in planted.events.items())
    )
    main(["explain", str(log)])
    alone = capsys.readouterr().out
    main(["explain", str(log), "--payloads", str(events), "--images", str(tmp_path)])
    beside = capsys.readouterr().out

    assert "Processed at" not in alone
    assert "messages[0].content[0].text, line 10" in beside
    assert "+Processed at 2026-11-21T10:" in beside
