"""The AWS backends as Lambda processes of their own behind the wrapper: what the platform makes of their answers and errors."""

from __future__ import annotations

from typing import Any

import pytest
from aws_backends import CANARY
from chain import chained

from hookcache_ops.backends import named
from hookcache_ops.backends.reading import Told
from hookcache_ops.host_requests import Call, InlineImage

CHARGED = {"bedrock": "inputTokens", "sagemaker": "inputTokens", "triton": "pages"}


def page(number: int) -> Call:
    content = (f"Read page {number}. {CANARY}", InlineImage(f"JPEG {number} {CANARY}".encode()))
    return Call(context="OCR", content=content, temperature=0.0)


def said(_texts: Any, images: Any) -> Told:
    """What the model says, with words that must not be logged."""
    return Told(f"page of {len(images[0])} bytes, {CANARY}", 40, 12, 1)


@pytest.mark.prove
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", CHARGED)
def test_a_deployed_backend_is_asked_once_and_its_failures_are_told_by_name(name):
    """
    Issue D: 0 calls for a page that was seen; a throttle leaves as ThrottlingException and a slow service as OutOfTimeError,
    before Lambda ends the function without a word; neither is kept, and no content is in any log.
    """
    with chained(named(name), timeout_seconds=12) as chain:
        chain.server.tell = said

        first, again = chain.ask(page(1)), chain.ask(page(1))
        assert (chain.server.calls, chain.receipt["outcome"]) == (1, "hit_memory")
        assert first["output"] == again["output"]
        assert first["usage"][CHARGED[name]] > 0
        assert set(again["usage"].values()) == {0}

        chain.server.misbehave("throttle", "slow")
        assert chain.fail(page(2))["errorType"] == "ThrottlingException"
        assert chain.fail(page(2))["errorType"] == "OutOfTimeError"
        assert chain.receipt["outcome"] == "failed"

        assert CANARY in chain.ask(page(2))["output"]["message"]["content"][0]["text"]
        assert (chain.server.calls, chain.receipt["outcome"]) == (4, "miss")
        assert CANARY not in chain.written
