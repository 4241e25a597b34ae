"""
The host's event as Triton's tensors and back, by tritonclient's own codec.

A request is a JSON header of N bytes and then the tensors as raw bytes; the content type says N. The codec trusts the reply's
header: a body that breaks off would give a shorter text without a word, so the lengths are compared first.
"""

import json
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from backend_errors import BadAnswerError
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

MEDIA_TYPE = "application/vnd.sagemaker-triton.binary+json"
# What reading a reply raises that is none: of the codec, of its unpacking, of JSON of another shape.
_ODD = (
    InferenceServerException,
    struct.error,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)
_HEADER_SIZE = re.compile(rf"{re.escape(MEDIA_TYPE)}\s*;\s*json-header-size\s*=\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Tensors:
    """
    Names of the model's tensors. All of them have one row per page: shape [pages] with `batched` off, else [pages, 1].

    image        input, BYTES: the image, or its S3 address
    prompt       input, BYTES: the prompt's text; empty where the model takes none
    text         output, BYTES
    confidence   output, FP32, 0 to 1; empty where there is none
    """

    image: str = "image"
    prompt: str = ""
    text: str = "text"
    confidence: str = ""
    batched: bool = True

    def request(self, pages: Sequence[bytes], prompt: str) -> tuple[bytes, str]:
        """Body and content type."""
        inputs = [self._input(self.image, pages)]
        if self.prompt:
            inputs.append(self._input(self.prompt, [prompt.encode("utf-8", "replace")] * len(pages)))
        outputs = [InferRequestedOutput(name, binary_data=True) for name in (self.text, self.confidence) if name]
        body, header_bytes = InferenceServerClient.generate_request_body(inputs, outputs=outputs)
        return body, f"{MEDIA_TYPE};json-header-size={header_bytes}"

    def _input(self, name: str, rows: Sequence[bytes]) -> Any:
        tensor = np.array(rows, dtype=np.object_).reshape([len(rows), 1] if self.batched else [len(rows)])
        return InferInput(name, list(tensor.shape), "BYTES").set_data_from_numpy(tensor)

    def pages(self, body: bytes, content_type: str, count: int) -> tuple[list[str], list[float]]:
        """
        Text and confidence of each page; no confidences where the model has none.

        Raises:
            BadAnswerError: cut, no such reply, or not one row per page.
        """
        header_bytes = _checked(body, content_type)
        try:
            result = InferenceServerClient.parse_response_body(body, header_length=header_bytes)
            texts = self._rows(result, self.text, count, _utf8)
            sure = self._rows(result, self.confidence, count, float) if self.confidence else []
        except _ODD as error:
            raise BadAnswerError(
                f"Triton's tensors cannot be read ({type(error).__name__}): check the model's outputs"
            ) from None
        return texts, sure

    def _rows(self, result: Any, name: str, count: int, convert: Callable[[Any], Any]) -> list[Any]:
        tensor = result.as_numpy(name)
        if tensor is None:
            raise BadAnswerError(
                f"Triton's reply holds no tensor {name!r}: check the model's outputs and TRITON_OUTPUT"
            )
        rows = tensor.reshape(-1)
        if len(rows) != count:
            raise BadAnswerError(f"Triton's reply holds {len(rows)} rows of {name!r} for {count} pages")
        return [convert(row) for row in rows]


def _utf8(value: Any) -> str:
    """Bytes that are no UTF-8 are a text cut within a letter, or of another encoding: no answer either."""
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise TypeError("a number in place of a text")
    return value


def _checked(body: bytes, content_type: str) -> int | None:
    """
    The length of the reply's JSON header; None where the whole body is JSON.

    Raises:
        BadAnswerError: no Triton reply, or header and tensors do not add up to the body's length.
    """
    match = _HEADER_SIZE.match(content_type.strip())
    if match is None and not content_type.startswith("application/json"):
        raise BadAnswerError(
            f"the endpoint answered with {content_type[:80]!r} in place of Triton's tensors: is it a Triton container?"
        )
    header_bytes = int(match[1]) if match else len(body)
    try:
        header = json.loads(body[:header_bytes])
        sizes = [_binary_size(output) for output in header["outputs"]]
    except _ODD:
        raise BadAnswerError(
            f"Triton's reply of {len(body)} bytes has no header that can be read, or was cut"
        ) from None
    if header_bytes + sum(sizes) != len(body):
        raise BadAnswerError(
            f"Triton's reply has {len(body)} bytes and announces {header_bytes + sum(sizes)}: it was cut"
        )
    return header_bytes if match else None


def _binary_size(output: Mapping[str, Any]) -> int:
    return int((output.get("parameters") or {}).get("binary_data_size", 0))
