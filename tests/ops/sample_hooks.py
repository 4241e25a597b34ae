"""
Doubles of the host's sample hooks and of the CDK flavour's bridge: their documented answers, and their documented ways
to hide a failure in a success.

Each is `make(world) -> handler(event) -> reply`. The world is what they depend on: S3, which may fail, and a vendor or
model, whose replies the test prepares. `SETTINGS` are the rules that each needs, as docs/chaining.md gives them.

Source: the host's sample hooks as its documentation describes them; the words and the code here are our own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

Reply = dict[str, Any]
Handler = Callable[[Mapping[str, Any]], Any]


class S3Failed(Exception):
    """The hook may not read the image, or it is gone."""


@dataclass
class World:
    """
    What a sample hook depends on.

    Attributes:
        s3_fails: reading an image fails, in the hook and not in the cache.
        says: what the vendor or model returns for a call, by number, from 0 on.
        calls: vendor calls so far.
    """

    says: Callable[[int], Any] = lambda number: f"text {number}"
    s3_fails: bool = False
    calls: int = field(default=0)

    def read(self, event: Mapping[str, Any]) -> list[bytes]:
        blocks = [block for block in event["messages"][0]["content"] if "image" in block]
        if blocks and self.s3_fails:
            raise S3Failed("Access Denied")
        return [b"image" for _ in blocks]

    def ask(self) -> Any:
        number, self.calls = self.calls, self.calls + 1
        said = self.says(number)
        if isinstance(said, Exception):
            raise said
        return said


def converse_reply(text: str, **more: Any) -> Reply:
    return {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}, **more}


def tokens(into: Any = 0, out: Any = 0) -> dict[str, Any]:
    return {"inputTokens": into, "outputTokens": out, "totalTokens": (into if isinstance(into, int) else 0)}


def text_blocks(text: str, blocks: int = 3) -> Reply:
    """Textract-like blocks; their ids repeat from image to image, as the vendor's adapters number them."""
    lines = [{"BlockType": "LINE", "Id": f"block-0-{number}", "Text": text} for number in range(blocks)]
    return {"DocumentMetadata": {"Pages": 1}, "Blocks": [{"BlockType": "PAGE", "Id": "block-0-0"}, *lines]}


def bedrock_proxy(world: World) -> Handler:
    """Hands `output` on and three token counts; stop reason and cache tokens are lost. Raises on any error."""

    def handler(event: Mapping[str, Any]) -> Reply:
        world.read(event)
        reply = world.ask()
        usage = {unit: reply["usage"].get(unit, 0) for unit in ("inputTokens", "outputTokens", "totalTokens")}
        return {"output": reply["output"], "usage": usage}

    return handler


def sagemaker(world: World) -> Handler:
    """Swallows an S3 failure and asks without the image; a body that it does not know becomes the text."""

    def handler(event: Mapping[str, Any]) -> Reply:
        with suppress(S3Failed):
            world.read(event)
        body = world.ask()
        text = body["generated_text"] if "generated_text" in body else json.dumps(body)
        return converse_reply(text, usage=tokens(body.get("input_tokens", 0), body.get("output_tokens", 0)))

    return handler


def chandra(world: World) -> Handler:
    """An S3 failure is an empty text; usage is always zeros."""

    def handler(event: Mapping[str, Any]) -> Reply:
        try:
            world.read(event)
        except S3Failed:
            return converse_reply("", usage=tokens())
        return converse_reply(world.ask(), usage=tokens())

    return handler


def mistral(world: World) -> Handler:
    """Charges by the page and gives blocks; an S3 failure is an empty text with no page and no blocks."""

    def handler(event: Mapping[str, Any]) -> Reply:
        try:
            pages = len(world.read(event))
        except S3Failed:
            return converse_reply("", usage={"pages": 0, **tokens()})
        text, blocks = world.ask()
        return converse_reply(text, textractBlocks=text_blocks(text, blocks), usage={"pages": pages, **tokens()})

    return handler


def cohere(world: World) -> Handler:
    """Like Mistral's, but raises where it cannot read, and says something else each time."""

    def handler(event: Mapping[str, Any]) -> Reply:
        pages = len(world.read(event))
        text = world.ask()
        return converse_reply(text, textractBlocks=text_blocks(text), usage={"pages": pages, **tokens()})

    return handler


def w2_copy_consistency(world: World) -> Handler:
    """Free and deterministic; what it cannot parse becomes an empty object."""

    def handler(event: Mapping[str, Any]) -> Reply:
        said = world.ask()
        return converse_reply("{}" if said is None else json.dumps(said), usage=tokens())

    return handler


def cdk_bridge(world: World) -> Handler:
    """A class as JSON, without `totalTokens`; whatever fails is `unclassified`."""

    def handler(event: Mapping[str, Any]) -> Reply:
        usage = {"inputTokens": 7, "outputTokens": 2}
        try:
            world.read(event)
            found = world.ask()
        except Exception:  # as documented: no error of the endpoint ever leaves the bridge
            found = "unclassified"
        return converse_reply(json.dumps({"class": found}), stopReason="end_turn", usage=usage)

    return handler


HOOKS: Mapping[str, Callable[[World], Handler]] = {
    "bedrock-proxy": bedrock_proxy,
    "sagemaker": sagemaker,
    "chandra": chandra,
    "mistral": mistral,
    "cohere": cohere,
    "w2": w2_copy_consistency,
    "cdk-bridge": cdk_bridge,
}

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "bedrock-proxy": {},
    "sagemaker": {"*": {"refused_texts": ["model is loading", "unclassified"], "image_tokens": 200}},
    "chandra": {},
    "mistral": {"OCR": {"blank_pages": True, "fresh_seconds": 604800}},
    "cohere": {"OCR": {"blank_pages": True}},
    "w2": {"*": {"mode": "off"}},
    "cdk-bridge": {},
}
