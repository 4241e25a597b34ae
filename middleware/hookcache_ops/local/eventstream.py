"""
The binary framing of AWS event streams, the sending side: what InvokeWithResponseStream and ConverseStream answer with.

    | total length | headers length | CRC of both | headers | payload | CRC of all before |

Lengths and checksums are 4 bytes, big-endian. botocore checks both checksums on arrival.
Source: Amazon Transcribe and S3 Select guides, "Event stream encoding".
"""

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

STRING_HEADER = 7
PRELUDE_BYTES, CHECKSUM_BYTES = 12, 4


def _header(name: str, value: str) -> bytes:
    return bytes([len(name)]) + name.encode() + struct.pack(">BH", STRING_HEADER, len(value)) + value.encode()


def frame(event_type: str, content_type: str, payload: bytes) -> bytes:
    """One event, ready for the wire; `payload` may be empty."""
    return _message({":message-type": "event", ":event-type": event_type, ":content-type": content_type}, payload)


def exception(exception_type: str, payload: bytes) -> bytes:
    """An error that the service's model lists among its events; the stream ends with it."""
    kind = {":message-type": "exception", ":exception-type": exception_type}
    return _message({**kind, ":content-type": "application/json"}, payload)


def _message(fields: Mapping[str, str], payload: bytes) -> bytes:
    headers = b"".join(_header(name, value) for name, value in fields.items())
    lengths = struct.pack(">II", PRELUDE_BYTES + len(headers) + len(payload) + CHECKSUM_BYTES, len(headers))
    message = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def payload_chunk(data: bytes) -> bytes:
    """The event that carries a piece of the function's answer."""
    return frame("PayloadChunk", "application/octet-stream", data)


def invoke_complete(members: Mapping[str, Any]) -> bytes:
    """The last event; `members` holds ErrorCode, ErrorDetails, LogResult where they apply."""
    return frame("InvokeComplete", "application/json", json.dumps(members).encode())
