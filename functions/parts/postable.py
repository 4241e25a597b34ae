"""
Answers that Lambda's own runtime could not post.

From Python 3.12 on it writes answers as UTF-8, which has no form for half a character, a legal `\\ud83d` in a service's JSON:
posting one ends the process, and the host has the work done, and paid, eight times. Bytes are posted as they are.

Source: awslambdaric, lambda_runtime_marshaller.py, `Encoder` and `marshal_response`. On real AWS: *unverified*.
"""

import json
from collections.abc import Mapping
from typing import Any


def postable(answer: Mapping[str, Any]) -> Any:
    """The answer as it is, or as JSON in bytes with an escape for each half of a character."""
    spelt = json.dumps(answer, ensure_ascii=False)
    try:
        spelt.encode()
    except UnicodeEncodeError:
        return spelt.encode("utf-8", "backslashreplace")
    return answer
