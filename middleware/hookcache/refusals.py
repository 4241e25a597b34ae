"""What an AWS service said when it refused, read without importing the SDK that says it: a hit never needs that import."""

from __future__ import annotations

from collections.abc import Mapping

from hookcache.hints import Any


def refusal_in(error: BaseException) -> Mapping[str, Any] | None:
    """The parsed reply that botocore's `ClientError` carries; None if `error` is another one, such as a lost connection."""
    response = getattr(error, "response", None)
    return response if isinstance(response, dict) and isinstance(response.get("Error"), dict) else None


def code_in(error: BaseException) -> str:
    """The code of a refusal, empty if `error` is none."""
    refusal = refusal_in(error)
    return "" if refusal is None else str(refusal["Error"].get("Code", ""))
