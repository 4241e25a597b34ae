"""
Triton's binary tensors as a server reads and writes them: a JSON header of N bytes, then each tensor's bytes.

Written from the protocol and not with tritonclient, which the function on the other side uses: an error of the one must not
be hidden by the same error of the other.

Source: KServe's binary tensor data extension; BYTES is a 4-byte little-endian length before each element.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

MEDIA_TYPE = "application/vnd.sagemaker-triton.binary+json"
_CONTENT_TYPE = re.compile(rf"{re.escape(MEDIA_TYPE)};json-header-size=(\d+)")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of byte strings, flat, with its shape."""

    name: str
    shape: tuple[int, ...]
    rows: tuple[bytes, ...]


def read_request(body: bytes, content_type: str) -> tuple[dict[str, Tensor], list[str]]:
    """
    The input tensors by name, and the names of the outputs that are wanted.

    Raises:
        ValueError: no such request; the text says what is wrong, as Triton would.
    """
    match = _CONTENT_TYPE.fullmatch(content_type)
    if match is None:
        raise ValueError(f"expected {MEDIA_TYPE} with json-header-size, got {content_type}")
    size = int(match[1])
    header = json.loads(body[:size])
    inputs: dict[str, Tensor] = {}
    place = size
    for told in header["inputs"]:
        length = told["parameters"]["binary_data_size"]
        rows = tuple(_elements(body[place : place + length]))
        place += length
        shape = tuple(told["shape"])
        if told["datatype"] != "BYTES" or prod(shape) != len(rows):
            raise ValueError(f"unexpected shape or type for input '{told['name']}'")
        inputs[told["name"]] = Tensor(told["name"], shape, rows)
    if place != len(body):
        raise ValueError(f"unexpected additional input data: {len(body) - place} bytes")
    return inputs, [told["name"] for told in header.get("outputs", ())]


def _elements(data: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(data):
        (length,) = struct.unpack_from("<I", data, place)
        place += 4 + length
        if place > len(data):
            raise ValueError("incomplete string data")
        yield data[place - length : place]


def write_reply(outputs: Sequence[tuple[str, Sequence[int], str, Sequence[Any]]]) -> tuple[bytes, str]:
    """Body and content type of a reply with (name, shape, BYTES or FP32, rows)."""
    told, data = [], []
    for name, shape, kind, rows in outputs:
        raw = (
            b"".join(struct.pack("<I", len(row)) + row for row in rows)
            if kind == "BYTES"
            else struct.pack(f"<{len(rows)}f", *rows)
        )
        data.append(raw)
        size = {"binary_data_size": len(raw)}
        told.append({"name": name, "datatype": kind, "shape": list(shape), "parameters": size})
    header = json.dumps({"model_name": "page-reader", "model_version": "1", "outputs": told}).encode()
    return header + b"".join(data), f"{MEDIA_TYPE};json-header-size={len(header)}"
