"""
Answers that Lambda's own runtime could not post.

From Python 3.12 on it writes answers as UTF-8, which has no form for a lone surrogate, a legal `\\ud83d` in the backend's
JSON: posting one ends the process, and a kept one would end it again at every hit. Bytes are posted as they are.

Source: awslambdaric, lambda_runtime_marshaller.py, `Encoder` and `marshal_response`. On real AWS: *unverified*.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

# As an escape, or as the three bytes that UTF-8 forbids and Python's parser of JSON takes all the same.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")


def may_hold_surrogates(body: bytes) -> bool:
    """True if an answer, as received, spells half a character; the whole of it is searched."""
    return ((b"\\" in body and b"\\u" in body) or b"\xed" in body) and _SURROGATE.search(body) is not None


def postable(response: Any, body: bytes) -> Any:
    """`response` as it is, or as JSON with escapes where the runtime could not write it; `body` is it as received."""
    if not may_hold_surrogates(body):
        return response
    if not os.environ.get("AWS_EXECUTION_ENV", "").startswith("AWS_Lambda_python"):
        return response
    try:
        json.dumps(response, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # only what has no form is escaped: more could make it too long to be posted (B8)
        return json.dumps(response, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    return response
