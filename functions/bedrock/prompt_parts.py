"""The host's texts and images in their order, with a mark where the prompt's repeated part ends."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from backend_errors import BadRequestError
from page_images import PageImage
from prompt_blocks import CACHEPOINT, blocks_of, is_image, messages_of

MOST_CACHE_POINTS = 4  # of one request, as Bedrock documents


@dataclass(frozen=True, slots=True)
class CachePoint:
    """What stands before it may be kept in Bedrock's own prompt cache."""


Part = str | PageImage | CachePoint


def parts_of(blocks: Iterable[Any], fetch: Callable[[Mapping[str, Any]], PageImage]) -> Iterator[Part]:
    """
    The parts of one content list. Blank texts are left out, for Bedrock refuses them.

    Raises:
        BadRequestError: a block that is neither text nor image.
        NoImageError: from `fetch`.
    """
    for block in blocks:
        if is_image(block):
            yield fetch(block["image"])
        elif isinstance(block, dict) and isinstance(block.get("text"), str):
            first, *others = block["text"].split(CACHEPOINT)
            if first.strip():
                yield first
            for text in others:
                yield CachePoint()
                if text.strip():
                    yield text
        elif isinstance(block, dict) and "cachePoint" in block:  # a caller's own system list may hold some
            yield CachePoint()
        else:
            raise BadRequestError("the request holds a block that is neither text nor image: Converse cannot have it")


def prompt_of(
    event: Mapping[str, Any], fetch: Callable[[Mapping[str, Any]], PageImage], *, cache_points: bool
) -> tuple[list[Part], list[tuple[str, list[Part]]]]:
    """
    System parts, and (role, parts) of each message.

    A cache point that nothing stands before, or that follows another, marks nothing and is dropped. Of more than
    Bedrock takes the last stay: they cover the longest prefixes.
    """
    messages = messages_of(event)
    contents = [blocks_of(event, "system"), *(blocks_of(message, "content") for message in messages)]
    lists = [_sensible(parts_of(blocks, fetch)) for blocks in contents]
    kept = sum(isinstance(part, CachePoint) for parts in lists for part in parts)
    surplus = max(0, kept - MOST_CACHE_POINTS) if cache_points else kept
    shortened: list[list[Part]] = []
    for parts in lists:
        remaining: list[Part] = []
        for part in parts:
            if isinstance(part, CachePoint) and surplus:
                surplus -= 1
            else:
                remaining.append(part)
        shortened.append(remaining)
    roles = [str(message.get("role", "user")) for message in messages]
    return shortened[0], list(zip(roles, shortened[1:], strict=True))


def _sensible(parts: Iterable[Part]) -> list[Part]:
    """The parts without the cache points that mark nothing."""
    sensible: list[Part] = []
    for part in parts:
        if isinstance(part, CachePoint) and (not sensible or isinstance(sensible[-1], CachePoint)):
            continue
        sensible.append(part)
    return sensible
