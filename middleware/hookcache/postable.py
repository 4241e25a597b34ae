"""
Answers that Lambda's own runtime could not post.

From Python 3.12 on it writes answers as UTF-8, which has no form for a lone surrogate, a legal `\\ud83d` in the backend's
JSON: posting one ends the process, and a kept one would end it again at every hit. It also puts a blank behind each comma
and colon, which makes a large answer that came without them longer than Lambda takes (B8). Bytes are posted as they are.

Source: awslambdaric, lambda_runtime_marshaller.py, `Encoder` and `marshal_response`. On real AWS: *unverified*.
"""

from __future__ import annotations

import json
import os
import re

from hookcache.hints import Any

# As an escape, or as the three bytes that UTF-8 forbids and Python's parser of JSON takes all the same.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")


REPLY_BYTES = 6 * 1024 * 1024
"""Of a reply at most. Source: AWS Lambda Developer Guide, "Quotas"."""
LARGE_BYTES = REPLY_BYTES * 2 // 3
"""From here on blanks may count: at worst, in a list of digits, there are half as many as there were letters."""


def may_be_unpostable(body: bytes) -> bool:
    """True if an answer, as received, is large or spells half a character; the whole of it is searched."""
    if len(body) > LARGE_BYTES:
        return True
    return ((b"\\" in body and b"\\u" in body) or b"\xed" in body) and _SURROGATE.search(body) is not None


def postable(response: Any, body: bytes) -> Any:
    """`response` as it is, or as JSON in bytes where the runtime could not write or post it; `body` is it as received."""
    if not may_be_unpostable(body):
        return response
    if not os.environ.get("AWS_EXECUTION_ENV", "").startswith("AWS_Lambda_python"):
        return response
    try:
        if len(json.dumps(response, ensure_ascii=False).encode()) <= REPLY_BYTES:
            return response
    except UnicodeEncodeError:  # only what has no form is escaped: more could make it too long to be posted (B8)
        pass
    return json.dumps(response, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
