"""
Which of the host's numbers a model is sent.

The host sends temperature and topP together, and newer models refuse the two side by side. At temperature 0 the likeliest
token is taken whatever topP and topK say, so they can be left out there without changing an answer.
"""

from collections.abc import Mapping
from typing import Any

CHOICES = ("auto", "temperature", "both", "none")
# Where a family takes topK, which Converse has no member for.
TOP_K_AT: Mapping[str, tuple[str, ...]] = {"anthropic.": ("top_k",), "amazon.nova": ("inferenceConfig", "topK")}


def chosen(numbers: Mapping[str, Any], sampling: str) -> dict[str, Any]:
    """
    Of the numbers of a request (`numbers_of`) those to send, by the host's names.

    Args:
        sampling: `auto` (at temperature 0 that alone, else all), `temperature` (that alone where it is given),
            `both` (all), `none` (none of the three, for models that refuse them).
    """
    alone = sampling == "temperature" or (sampling == "auto" and numbers.get("temperature") == 0)
    left_out = {"none": {"temperature", "topP", "topK"}}.get(sampling, set())
    if alone and "temperature" in numbers:
        left_out = {"topP", "topK"}
    return {name: value for name, value in numbers.items() if name not in left_out}


def top_k_fields(model: str, top_k: Any) -> dict[str, Any]:
    """`additionalModelRequestFields` for topK; empty for families that have none, or whose id does not say which it is."""
    for family, path in TOP_K_AT.items():
        if family in model and top_k is not None:
            fields: Any = top_k
            for name in reversed(path):
                fields = {name: fields}
            return dict(fields)
    return {}
