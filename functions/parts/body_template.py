"""
A model's own body for those that speak no shape we know: the operator writes it down, with words for what is to be put in.

    {"prompt": "$PROMPT", "max_gen_len": "$MAX_TOKENS", "images": "$IMAGES"}        the request
    text=generation stop=stop_reason inputTokens=prompt_token_count                 where the answer is

A value that is exactly one of these words is replaced, and its member is left out where the request has none: `$PROMPT`
(system and user texts), `$SYSTEM`, `$USER` (texts apart), `$IMAGES` (a list of base64), `$IMAGE_URLS` (a list of data
URLs), `$TEMPERATURE`, `$TOP_P`, `$TOP_K`, `$MAX_TOKENS`.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from backend_errors import BadAnswerError, BadRequestError, SettingsError
from page_images import PageImage
from prompt_blocks import blocks_of, is_image, messages_of, numbers_of, text_of

NUMBERS = {"$TEMPERATURE": "temperature", "$TOP_P": "topP", "$TOP_K": "topK", "$MAX_TOKENS": "maxTokens"}
WORDS = frozenset({"$PROMPT", "$SYSTEM", "$USER", "$IMAGES", "$IMAGE_URLS", *NUMBERS})
# By the word in small letters: some spell it MAX_TOKENS, and the host reads `max_tokens`.
STOPS = {
    "end_turn": "end_turn",
    "stop_sequence": "stop_sequence",
    "stop": "end_turn",
    "eos_token": "end_turn",
    "endoftext": "end_turn",
    "finish": "end_turn",
    "complete": "end_turn",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "content_filter": "content_filtered",
    "content_filtered": "content_filtered",
}
_ABSENT = object()


def words_in(template: Any) -> set[str]:
    """The values that are words, known or not, and those that hold one within a longer text."""
    match template:
        case str():
            return {template} if template.startswith("$") or any(word in template for word in WORDS) else set()
        case dict():
            return set().union(*map(words_in, template.values()))
        case list():
            return set().union(*map(words_in, template))
    return set()


def check_template(template: Any, setting: str) -> None:
    """
    Raises:
        SettingsError: a word that nothing stands for, a word within a longer text, which would go to the model as it is
            written, or nothing that would carry the prompt.
    """
    words = words_in(template)
    if unknown := words - WORDS:
        raise SettingsError(
            f"{setting} holds {', '.join(sorted(unknown))}: there are {', '.join(sorted(WORDS))}, each a whole value"
        )
    if not words & {"$PROMPT", "$USER", "$IMAGES", "$IMAGE_URLS"}:
        raise SettingsError(f"{setting} holds neither $PROMPT, $USER, $IMAGES nor $IMAGE_URLS: nothing would be asked")


def filled(
    template: Mapping[str, Any],
    event: Mapping[str, Any],
    fetch: Callable[[Mapping[str, Any]], PageImage],
    laid_over: Mapping[str, Any],
) -> dict[str, Any]:
    """
    The request's body.

    Args:
        laid_over: members that replace or join the template's; null takes one out.

    Raises:
        BadRequestError: the request has images or texts and the template no place for them, or a block of another kind.
            A template of images alone is for a model that reads no text.
        NoImageError: from `fetch`.
    """
    user: list[str] = []
    images: list[PageImage] = []
    for message in messages_of(event):
        for block in blocks_of(message, "content"):
            if is_image(block):
                images.append(fetch(block["image"]))
            else:
                user.append(text_of(block))
    system = [text_of(block) for block in blocks_of(event, "system")]
    words = words_in(template)
    if images and not words & {"$IMAGES", "$IMAGE_URLS"}:
        raise BadRequestError("the request has images and the body template has no place for them: add $IMAGES")
    for word, texts in (("$SYSTEM", system), ("$USER", user)):
        if any(texts) and words & {"$SYSTEM", "$USER"} and not words & {word, "$PROMPT"}:
            raise BadRequestError(
                f"the request has texts for {word} and the body template no place for them: add {word}"
            )
    encoded = [base64.b64encode(image.data).decode("ascii") for image in images]
    numbers = numbers_of(event)
    values: dict[str, Any] = {word: numbers.get(name) for word, name in NUMBERS.items()}
    values |= {"$SYSTEM": "\n\n".join(filter(None, system)), "$USER": "\n\n".join(filter(None, user))}
    values["$PROMPT"] = "\n\n".join(filter(None, [*system, *user]))
    values["$IMAGES"] = encoded
    values["$IMAGE_URLS"] = [f"data:{i.media_type};base64,{data}" for i, data in zip(images, encoded, strict=True)]
    body = _put(template, {word: value for word, value in values.items() if value not in (None, "", [])})
    left_out = {name for name, value in laid_over.items() if value is None}
    return {name: value for name, value in {**body, **laid_over}.items() if name not in left_out}


def _put(template: Any, values: Mapping[str, Any]) -> Any:
    match template:
        case str() if template in WORDS:
            return values.get(template, _ABSENT)
        case dict():
            members = {name: _put(value, values) for name, value in template.items()}
            return {name: value for name, value in members.items() if value is not _ABSENT}
        case list():
            return [value for value in (_put(item, values) for item in template) if value is not _ABSENT]
    return template


def paths_of(told: str, setting: str) -> dict[str, list[str]]:
    """
    `text=results.0.outputText stop=...` as paths by name.

    Raises:
        SettingsError: malformed, a name or a step is empty, or `text` is not among them.
    """
    paths = dict(part.split("=", 1) for part in told.split() if "=" in part)
    steps = {name: path.split(".") for name, path in paths.items()}
    if len(paths) != len(told.split()) or "text" not in paths or not all(map(all, [paths, *steps.values()])):
        raise SettingsError(f"{setting} must be like: text=results.0.outputText stop=results.0.completionReason")
    return steps


def answer_at(paths: Mapping[str, list[str]], body: Any, *, blank_pages: bool) -> dict[str, Any]:
    """
    The host's answer from a model's body. Paths other than `text` and `stop` are units of usage.

    Args:
        blank_pages: an empty text that ended well is a blank page; only where `stop` is among the paths.

    Raises:
        BadAnswerError: no text there, or an empty one.
    """
    text, stop = _at(body, paths["text"]), _at(body, paths["stop"]) if "stop" in paths else ""
    stop = STOPS.get(stop.lower(), stop) if isinstance(stop, str) else ""
    if not isinstance(text, str) or not (text.strip() or (blank_pages and stop == "end_turn")):
        raise BadAnswerError(
            f"the model's answer has no text at {'.'.join(paths['text'])}: check ANSWER_PATHS; with stop among them, "
            "BLANK_PAGES=on where the model says nothing about a blank page"
        )
    if "stop" in paths and not stop:
        raise BadAnswerError(
            f"the model does not say how its answer ended at {'.'.join(paths['stop'])}: check stop in ANSWER_PATHS, since a "
            "whole answer cannot be told from a cut one"
        )
    answer: dict[str, Any] = {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}}
    if stop:
        answer["stopReason"] = stop
    found = {unit: _at(body, path) for unit, path in paths.items() if unit not in {"text", "stop"}}
    usage = {unit: n for unit, n in found.items() if isinstance(n, int | float) and not isinstance(n, bool)}
    return {**answer, "usage": usage} if usage else answer


def _at(body: Any, path: list[str]) -> Any:
    for step in path:
        if isinstance(body, list) and step.isdecimal() and int(step) < len(body):
            body = body[int(step)]
        elif isinstance(body, dict):
            body = body.get(step)
        else:
            return None
    return body
