"""A chat completion as the host's answer: text, stop reason and usage under Converse's names."""

from collections.abc import Mapping
from typing import Any

from backend_errors import BadAnswerError, ServiceFailedError

# What is not in here is handed on as the server says it; a wrapper keeps no answer with a stop reason that it does not know.
STOP_REASONS = {
    "stop": "end_turn",
    "eos_token": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "content_filter": "content_filtered",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
}


def converse_answer(told: Any, *, blank_pages: bool) -> dict[str, Any]:
    """
    The answer to the host.

    Args:
        told: the completion as parsed.
        blank_pages: an empty text that ended well is a blank page.

    Raises:
        ServiceFailedError: an error that came with status 200.
        BadAnswerError: no text where one must be, or nothing that says how it ended.
    """
    if not isinstance(told, dict):
        raise BadAnswerError("the model server's answer is no JSON object: check its address and what it speaks")
    choices = told.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    # Some servers fail half way, and send what they have with the error beside it.
    failed = isinstance(choice, dict) and (choice.get("error") or choice.get("finish_reason") == "error")
    if told.get("error") or failed:
        raise ServiceFailedError("the model server answered with an error in place of a completion: see its own log")
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise BadAnswerError(
            "the model server's answer holds no message: check its address, and that it speaks chat completions"
        )
    finish = choice.get("finish_reason")
    if not isinstance(finish, str) or not finish:
        raise BadAnswerError(
            "the model server does not say how its answer ended: a whole one cannot be told from a cut one"
        )
    stop, text = STOP_REASONS.get(finish, finish), _text_of(message)
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        stop, text = "content_filtered", text or message["refusal"]
    if not text.strip() and not (blank_pages and stop == "end_turn"):
        raise BadAnswerError(
            f"the model's answer is empty (it ended with {stop}): raise maxTokens where that is max_tokens; "
            "BLANK_PAGES=on where the model says nothing about a blank page"
        )
    usage = usage_of(told.get("usage"))
    answer = {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}, "stopReason": stop}
    return {**answer, "usage": usage} if usage else answer


def _text_of(message: Mapping[str, Any]) -> str:
    """The text, which some servers send in parts; reasoning stands elsewhere and is left there."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def usage_of(told: Any) -> dict[str, int]:
    """
    Token counts under Converse's names; empty where the server counts nothing.

    Theirs count cached tokens among the prompt's, Converse beside them: each token stands in one unit, to be paid once.
    Some leave reasoning out of the completion's and have it in the total alone, though it is charged as output.
    """
    told = told if isinstance(told, dict) else {}
    prompt, out = _count(told.get("prompt_tokens")), _count(told.get("completion_tokens"))
    if prompt is None and out is None:
        return {}
    total = _count(told.get("total_tokens"))
    if prompt is not None and total is not None:
        out = max(out or 0, total - prompt)
    details = told.get("prompt_tokens_details")
    cached = min(_count(details.get("cached_tokens")) or 0 if isinstance(details, dict) else 0, prompt or 0)
    usage = {
        "inputTokens": (prompt or 0) - cached,
        "outputTokens": out or 0,
        "totalTokens": (prompt or 0) + (out or 0),
    }
    return {**usage, "cacheReadInputTokens": cached} if cached else usage


def _count(told: Any) -> int | None:
    return told if isinstance(told, int) and not isinstance(told, bool) and told >= 0 else None
