"""What hookcache itself uses, by unit, in the receipts; and what charge-back returns to the host."""

from __future__ import annotations

import json
import random
from collections import Counter
from decimal import Decimal

import pytest

from fakes import OVERFLOW_BUCKET, ocr_event, page_answer, summarization_event, token_answer
from hookcache.prices import OWN_PRICES
from rig import metric

BIG = "".join(random.Random(7).choices([chr(number) for number in range(0x4E00, 0x9E00)], k=250_000))


def under_key(rig, **told):
    """From now on S3 says of every object that it lies under a KMS key."""
    for name in ("get_object", "put_object"):
        inner = getattr(rig.s3, name)
        setattr(rig.s3, name, lambda inner=inner, **asked: inner(**asked) | {"ServerSideEncryption": "aws:kms", **told})


@pytest.mark.parametrize(
    ("told", "requests"),
    [({}, 1), ({"BucketKeyEnabled": True}, 0), ({"ServerSideEncryption": "AES256"}, 0)],
    ids=["own_key", "bucket_key", "no_key"],
)
def test_an_image_under_a_key_costs_a_kms_request(told, requests, rig):
    """P56: as the reply tells; a bucket key serves many objects, keys of S3's own cost nothing."""
    uri = rig.image(b"page")
    under_key(rig, **told)
    rig.call(ocr_event(uri))

    assert requests == rig.last["own_units"].get("kms_requests", 0)


def test_a_large_answer_under_a_key_costs_a_kms_request_at_each_end(rig):
    """P56, P49: one when its overflow object is put, one when it is read."""
    under_key(rig)
    rig.backend.handler = lambda event: token_answer(BIG)
    rig.call(summarization_event())
    assert 1 == rig.last["own_units"]["kms_requests"]

    rig.call(summarization_event(), rig.second)
    assert ("hit_table", 1) == (rig.last["outcome"], rig.last["own_units"]["kms_requests"])


def test_the_secret_is_paid_once_in_an_environment(rig):
    """P56: read at its first request, and counted there."""
    for _ in range(3):
        rig.call(summarization_event())

    assert [1, 0, 0] == [receipt["own_units"].get("secret_requests", 0) for receipt in rig.receipts]


def test_own_units_are_those_that_the_services_saw(rig):
    """P56: S3 requests and table units as counted at their ends; every unit has a price, and OwnCost is their sum."""
    counted = Counter()
    for data in (b"one", b"two", b"one"):
        rig.call(ocr_event(rig.image(data)))
        counted.update(rig.last["own_units"])
    rig.backend.handler = lambda event: token_answer(BIG)
    for environment in (rig.first, rig.second):
        rig.call(summarization_event(), environment)
        counted.update(rig.last["own_units"])
    asked = rig.s3.count("get_object") + rig.s3.count("head_object")
    uploaded = sum(call["Bucket"] == OVERFLOW_BUCKET for name, call in rig.s3.calls if name == "put_object")

    assert (asked, uploaded) == (counted["s3_requests"], counted["s3_put_requests"])
    assert (True, 1) == (asked > 1, uploaded)
    assert 5 == counted["lambda_requests"]
    assert counted["table_write_units"] > 0
    assert counted.keys() <= OWN_PRICES.keys()
    cost = sum(OWN_PRICES[unit] * Decimal(str(amount)) for unit, amount in counted.items())
    assert float(cost) == pytest.approx(sum(metric(receipt, "OwnCost") for receipt in rig.receipts))


def test_charge_back_is_shown_apart(make_rig):
    """P32: what the host is charged for hits, by choice, is spent nowhere; the equation holds with it. Zero is the control."""
    for wish, charged in (("original", {"pages": 1}), ("zero", {})):
        rig = make_rig(HOOKCACHE_POLICY=json.dumps({"OCR": {"usage_on_hit": wish}}))
        rig.charged_hits = True
        rig.backend.handler = lambda event: page_answer()
        replies = [rig.call(ocr_event(rig.image(b"page"))) for _ in range(2)]
        shown = rig.last.get("units_charged", {})

        assert charged == {unit: count for unit, count in shown.items() if count}
        assert {} == rig.last["units_spent"]
        assert {"pages": 1} == {unit: count for unit, count in rig.last["units_saved"].items() if count}
        returned = sum(reply["usage"]["pages"] for reply in replies)
        assert returned == rig.backend.units["pages"] + charged.get("pages", 0)
