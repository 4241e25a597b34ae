"""(c) The caches of LiteLLM and LangChain, where they do the same: making a key, and finding an answer in memory."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable
from typing import Any


@functools.cache
def _litellm() -> Any:
    logging.getLogger("LiteLLM").setLevel(logging.ERROR)
    from litellm.caching.caching import Cache

    return Cache(type="local")


def _openai_call(event: Any) -> dict[str, Any]:
    """The host's request in the words that LiteLLM knows; its key leaves out what it does not know."""
    numbers = event["inferenceConfig"]
    return {
        "model": "bedrock/us.amazon.nova-pro-v1:0",
        "messages": [
            {"role": "system", "content": event["system"][0]["text"]},
            {"role": "user", "content": event["messages"][0]["content"][0]["text"]},
        ],
        "temperature": numbers["temperature"],
        "top_p": numbers["topP"],
        "max_tokens": numbers["maxTokens"],
    }


def litellm_key(event: Any) -> str:
    key: str = _litellm().get_cache_key(**_openai_call(event))
    return key


def litellm_hit(event: Any, answer: dict[str, Any]) -> Callable[[], object]:
    """A look-up that finds `answer` in LiteLLM's local cache; key included, no record written."""
    cache, call = _litellm(), _openai_call(event)
    cache.add_cache(json.dumps(answer), **call)

    def hit() -> object:
        found = cache.get_cache(**call)
        return found if isinstance(found, dict) else json.loads(found)

    if hit() != answer:
        raise AssertionError("LiteLLM's cache gave another answer")
    return hit


def _messages(event: Any) -> list[Any]:
    from langchain_core.messages import HumanMessage, SystemMessage

    return [SystemMessage(event["system"][0]["text"]), HumanMessage(event["messages"][0]["content"][0]["text"])]


def langchain_key(event: Any) -> str:
    from langchain_core.load import dumps

    return dumps(_messages(event))


def langchain_hit(event: Any, answer: dict[str, Any]) -> Callable[[], object]:
    """A chat model of LangChain whose answer comes from its in-memory cache; no record written."""
    from langchain_core.caches import InMemoryCache
    from langchain_core.language_models.fake_chat_models import FakeListChatModel

    model, messages = FakeListChatModel(responses=[json.dumps(answer)], cache=InMemoryCache()), _messages(event)

    def hit() -> object:
        return json.loads(model.invoke(messages).content)

    if hit() != answer:
        raise AssertionError("LangChain's cache gave another answer")
    return hit
