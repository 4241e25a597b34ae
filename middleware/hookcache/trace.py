"""
The trace: one keyed digest per component of a request, so that two receipts can say what changed, without content (P58).

Digests are made under a secret of their own: whoever reads the log can tell that two texts differ, and can confirm no guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hookcache.canonical import CACHE_POINT, value_form
from hookcache.images import ImageDigest
from hookcache.key import Keyer
from hookcache.request import HookRequest

_KNOWN_TOP = frozenset({"messages", "system", "inferenceConfig", "context", "modelId"})
_KNOWN_NUMBERS = frozenset({"temperature", "topP", "topK", "maxTokens"})
_KNOWN_BLOCK = frozenset({"text", "image"})


def components(
    keyer: Keyer, request: HookRequest, digests: Sequence[ImageDigest], identity: bytes, generation: str
) -> dict[str, Any]:
    """
    The components of a request as short digests, 16 hexadecimal letters each.

    `blocks` is their kinds in order (`t` text, `i` image), `texts` and `images` their contents; `numbers` go by name;
    `unknown` covers all other members together.
    """
    event = request.event
    content: list[Mapping[str, Any]] = event["messages"][0]["content"]
    texts = [block["text"] for block in content if "text" in block]
    system = [block.get("text", "") for block in event["system"]]

    def shown(component: str, value: bytes) -> str:
        return keyer.traced(component, value)

    return {
        "blocks": "".join("i" if "image" in block else "t" for block in content),
        "system": [shown("system", _bytes(text.replace(CACHE_POINT, ""))) for text in system if isinstance(text, str)],
        "texts": [shown("text", _bytes(text)) for text in texts],
        "images": [shown("image", digest.sha256) for digest in digests],
        "numbers": {
            name if name in _KNOWN_NUMBERS else shown("name", _bytes(name)): shown("number", value_form(value))
            for name, value in event["inferenceConfig"].items()
        },
        "context": shown("context", _bytes(request.context)),
        "model": shown("model", _bytes(str(event.get("modelId", "")))),
        "identity": shown("identity", identity),
        "generation": shown("generation", _bytes(generation)),
        "unknown": shown("unknown", value_form(_unknown(request))),
    }


def _unknown(request: HookRequest) -> list[Any]:
    """Every member that has no component of its own, in a fixed order."""
    event = request.event
    message = event["messages"][0]
    return [
        {name: value for name, value in event.items() if name not in (*_KNOWN_TOP, *request.references)},
        {name: value for name, value in message.items() if name != "content"},
        [{name: value for name, value in block.items() if name not in _KNOWN_BLOCK} for block in message["content"]],
        [
            {name: value for name, value in block["image"].items() if name != "source"}
            for block in message["content"]
            if "image" in block
        ],
        [{name: value for name, value in block.items() if name != "text"} for block in event["system"]],
    ]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
