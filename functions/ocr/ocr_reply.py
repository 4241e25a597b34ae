"""
The answer to the host: the text in reading order, blocks in Textract's form, and what reading it took.

Usage counts `pages`, and tokens by a fixed rule, so that a price per token can be tried out on this backend too:
input tokens are the pixels of all images / 750 plus the characters of prompt and system text / 4, output tokens the
characters of the answer / 4, each rounded up.
"""

from collections.abc import Iterable, Iterator
from math import ceil
from typing import Any

from ocr_engines import Page, Piece

PIXELS_PER_TOKEN = 750
CHARACTERS_PER_TOKEN = 4
COLUMN_GAP = "  "  # between pieces on one line, so that the columns of a table stay apart


def reply(event: dict[str, Any], pages: list[Page], engine: str) -> dict[str, Any]:
    """The answer to `event`, whose images were read as `pages` by `engine`."""
    lines = [_in_reading_order(page.pieces) for page in pages]
    text = "\n\n".join("\n".join(COLUMN_GAP.join(piece.text for piece in line) for line in page) for page in lines)
    pixels = sum(page.width * page.height for page in pages)
    prompt = sum(len(part) for part in _texts(event))
    spent = ceil(pixels / PIXELS_PER_TOKEN) + ceil(prompt / CHARACTERS_PER_TOKEN)
    told = ceil(len(text) / CHARACTERS_PER_TOKEN)
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "textractBlocks": {
            "DocumentMetadata": {"Pages": len(pages)},
            "Blocks": [
                block
                for number, (page, of_page) in enumerate(zip(pages, lines, strict=True))
                for block in _blocks(number, page, [piece for line in of_page for piece in line])
            ],
            "ModelId": engine,
        },
        "usage": {"pages": len(pages), "inputTokens": spent, "outputTokens": told, "totalTokens": spent + told},
    }


def _in_reading_order(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """
    Lines from the top, pieces in each from the left.

    A piece belongs to the line above it in this order if its middle lies within that line's first piece: a small
    word beside a tall one then shares its line, and slightly slanted scans keep their rows together.
    """
    lines: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: (piece.top + piece.bottom, piece.left)):
        middle = (piece.top + piece.bottom) / 2
        if lines and lines[-1][0].top <= middle <= lines[-1][0].bottom:
            lines[-1].append(piece)
        else:
            lines.append([piece])
    return [sorted(line, key=lambda piece: piece.left) for line in lines]


def _blocks(number: int, page: Page, pieces: list[Piece]) -> Iterator[dict[str, Any]]:
    """One PAGE block and a LINE block for each piece; ids are the same each time."""
    ids = [f"ocr-{number}-{place}" for place in range(1, len(pieces) + 1)]
    sheet = {"BlockType": "PAGE", "Id": f"ocr-{number}-0", "Geometry": _geometry(page, 0, 0, page.width, page.height)}
    yield {**sheet, "Relationships": [{"Type": "CHILD", "Ids": ids}]} if ids else sheet
    for block_id, piece in zip(ids, pieces, strict=True):
        yield {
            "BlockType": "LINE",
            "Id": block_id,
            "Text": piece.text,
            "Confidence": round(piece.confidence, 2),
            "Geometry": _geometry(page, piece.left, piece.top, piece.right, piece.bottom),
        }


def _geometry(page: Page, left: float, top: float, right: float, bottom: float) -> dict[str, Any]:
    """Edges in pixels as shares of the page, cut to it."""
    left, right = (min(max(x / page.width, 0.0), 1.0) for x in (left, right))
    top, bottom = (min(max(y / page.height, 0.0), 1.0) for y in (top, bottom))
    box = {"Left": left, "Top": top, "Width": right - left, "Height": bottom - top}
    return {"BoundingBox": {side: round(share, 5) for side, share in box.items()}}


def _texts(event: dict[str, Any]) -> Iterator[str]:
    """Every text of the request: the system's and the user's."""
    contents = [listed(event, "system"), *(listed(message, "content") for message in listed(event, "messages"))]
    for content in contents:
        for block in content:
            if isinstance(block, dict) and isinstance(block.get("text"), str):
                yield block["text"]


def listed(holder: Any, name: str) -> list[Any]:
    """The list of this name in an object; empty where there is none, as in an event that the host does not send."""
    told = holder.get(name) if isinstance(holder, dict) else None
    return told if isinstance(told, list) else []
