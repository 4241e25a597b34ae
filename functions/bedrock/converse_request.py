"""The host's event as the parameters of Converse: image bytes in place of S3 addresses, cache points in place of marks."""

from collections.abc import Callable, Mapping
from typing import Any

from page_images import PageImage
from prompt_blocks import numbers_of
from prompt_parts import CachePoint, Part, prompt_of
from sampling import chosen, top_k_fields

NUMBERS = ("temperature", "topP", "maxTokens", "stopSequences")


def converse_request(
    event: Mapping[str, Any],
    fetch: Callable[[Mapping[str, Any]], PageImage],
    *,
    model: str,
    sampling: str = "auto",
    cache_points: bool = True,
    guardrail: Mapping[str, str] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """
    What `client.converse` takes.

    Args:
        model: id or ARN of a model or of an inference profile.
        sampling: see `sampling.chosen`.
        guardrail: `guardrailIdentifier` and `guardrailVersion`.
        fields: laid over `additionalModelRequestFields`.

    Raises:
        BadRequestError, NoImageError
    """
    system, messages = prompt_of(event, fetch, cache_points=cache_points)
    numbers = chosen(numbers_of(event), sampling)
    request: dict[str, Any] = {
        "modelId": model,
        "messages": [{"role": role, "content": list(map(_block, parts))} for role, parts in messages],
    }
    if system:
        request["system"] = list(map(_block, system))
    if config := {name: numbers[name] for name in NUMBERS if name in numbers}:
        request["inferenceConfig"] = config
    if additional := {**top_k_fields(model, numbers.get("topK")), **(fields or {})}:
        request["additionalModelRequestFields"] = additional
    if guardrail:
        request["guardrailConfig"] = dict(guardrail)
    return request


def _block(part: Part) -> dict[str, Any]:
    match part:
        case str():
            return {"text": part}
        case CachePoint():
            return {"cachePoint": {"type": "default"}}
        case PageImage():
            return {"image": {"format": part.format, "source": {"bytes": part.data}}}
