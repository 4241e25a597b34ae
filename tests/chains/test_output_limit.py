"""A hook that drops the stop reason, in front of a model whose limit the operator names (P14, S20)."""

import json

import pytest

from fakes import ocr_event, token_answer


@pytest.mark.parametrize(
    ("limit", "out", "numbers", "refusal"),
    [
        (None, 10_000, {}, ""),
        (10_000, 10_000, {}, "truncated"),
        (10_000, 9_999, {}, ""),
        (10_000, 4_000, {"maxTokens": 4_000}, "truncated"),
        (4_000, 4_000, {"maxTokens": 10_000}, "truncated"),
    ],
)
def test_an_answer_as_long_as_the_model_can_make_it_was_cut(make_rig, limit, out, numbers, refusal):
    """P14: newer hosts name no `maxTokens` for OCR, and the bedrock-proxy sample hands no stop reason on."""
    rig = make_rig(HOOKCACHE_POLICY=json.dumps({"OCR": {"output_limit": limit}}))
    rig.backend.handler = lambda event: {
        name: value for name, value in token_answer("a page", 9, out).items() if name != "stopReason"
    }
    event = ocr_event()
    rig.call(event | {"inferenceConfig": {**event["inferenceConfig"], **numbers}})

    assert refusal == rig.last["refusal"]
