"""
Makes the data of docs/analysis.md anew: `PYTHONPATH=tests python tests/analysis_example.py`; request ids change with it.

    function.jsonl       receipts of an afternoon in which a time stamp got into the Extraction prompt
    first.json second.json   two of its events
    observe.jsonl        receipts of mode observe
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fakes import event_of
from hookcache_ops.explain.findings import findings
from hookcache_ops.explain.losses import Losses
from hookcache_ops.receipts import Reading, read_receipts
from operator_rig import OperatedRig
from planted import Planted

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "analysis-example"


def main() -> None:
    planted = Planted("time_stamp", 130, seed=3, days=0.5, pages=12, keep_events=True)
    _write("function.jsonl", planted.receipts())
    losses = Losses()
    for receipt in read_receipts([str(FOLDER / "function.jsonl")], Reading()):
        losses.add(receipt)
    pair = findings(losses)[0][0].examples[0]
    for name, request_id in zip(("first.json", "second.json"), pair, strict=True):
        (FOLDER / name).write_text(json.dumps(planted.events[request_id], indent=1) + "\n")
    _write("observe.jsonl", _observed())


def _observed():
    prices = {
        "HOOKCACHE_PRICES": str(ROOT / "docs/prices.example.yaml"),
        "HOOKCACHE_PRICE_AS": "bedrock/us.amazon.nova-pro-v1:0",
    }
    with OperatedRig(HOOKCACHE_MODE="observe", **prices) as rig:
        pages = [rig.image(b"page %d" % number) for number in range(12)]
        for number in range(40):
            rig.clock.advance(600)
            uri = pages[number * number % 12 if number % 3 else number % 12]
            image = {"image": {"format": "jpeg", "source": {"s3Location": {"uri": uri}}}}
            rig.call(event_of("OCR", ["Write down all text on this page.", image], [{"text": "You read documents."}]))
        return rig.receipts


def _write(name, receipts):
    lines = "".join(json.dumps(receipt, separators=(",", ":")) + "\n" for receipt in receipts)
    (FOLDER / name).write_text(lines)


if __name__ == "__main__":
    sys.exit(main())
