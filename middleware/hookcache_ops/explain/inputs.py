"""What the arguments of `hookcache explain` are: events, receipts, or logs of receipts. And images, where they can be had."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hookcache_ops.bad_input import BadInput
from hookcache_ops.ledger.forms import records_in

WHOLE_BYTES = 8 * 1024 * 1024
"""A file up to here is read whole to see whether it is one event or one receipt; the host's events end at 6 MB."""


@dataclass(frozen=True, slots=True)
class Given:
    """One argument: `kind` is `event`, `receipt` or `log`; `value` is the event or receipt itself."""

    name: str
    kind: str
    value: Mapping[str, Any]


def given(name: str) -> Given:
    """What stands behind an argument. Raises BadInput where there is nothing."""
    if name == "-" or name.startswith(("logs:", "metrics:")):
        return Given(name, "log", {})
    path = Path(name)
    if not path.exists():
        raise BadInput(f"{name}: no such file; give events or receipts as JSON, log exports, or logs:GROUP")
    if path.is_dir() or path.stat().st_size > WHOLE_BYTES:
        return Given(name, "log", {})
    try:
        with path.open("rb") as file:
            text = file.read(WHOLE_BYTES).decode("utf-8-sig", "replace")  # editors of Windows begin a file with a mark
    except OSError as error:
        raise BadInput(f"{name}: {error.strerror or error}; give a file that can be read") from None
    event = _event(text)
    if event is not None:
        return Given(name, "event", event)
    records = [record for line in text.splitlines() for record in records_in(line) if "outcome" in record]
    if not records:
        records = [record for record in records_in(text) if "outcome" in record]
    if len(records) == 1:
        return Given(name, "receipt", records[0])
    if path.is_fifo() or (text and not path.is_file()):  # what the look took is missing, and a second look would wait
        raise BadInput(f"{name}: a log in a pipe; give it through standard input, or as a file")
    return Given(name, "log", {})


def _event(text: str) -> Mapping[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and "messages" in value else None


def payloads(sources: Sequence[str], wanted: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """
    The events of the request ids `wanted`, from logs of payloads: JSON lines with a request id and an event.

    The id is a member `request_id` or `requestId`; the event is `event`, `payload` or `message`, an object or its JSON text.
    """
    ids, found = set(wanted), dict[str, Mapping[str, Any]]()
    for source in sources:
        try:
            with Path(source).open(encoding="utf-8-sig", errors="replace") as lines:
                for line in lines:
                    pair = _payload(line, ids)
                    if pair is not None:
                        found[pair[0]] = pair[1]
        except OSError as error:
            raise BadInput(f"--payloads {source}: {error.strerror or error}; give JSON lines of events") from None
    if ids and sources and not found:
        print(
            f"hookcache explain: no event of these requests in {', '.join(sources)}; a line has request_id and event, unpacked",
            file=sys.stderr,
        )
    return found


def _payload(line: str, ids: set[str]) -> tuple[str, Mapping[str, Any]] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    request_id = str(record.get("request_id") or record.get("requestId") or "")
    if request_id not in ids:
        return None
    for name in ("event", "payload", "message"):
        event = record.get(name)
        if isinstance(event, str):
            event = _event(event)
        if isinstance(event, dict) and "messages" in event:
            return request_id, event
    return None


class Images:
    """
    The bytes of an event's images: from `folder` by the last part of their name, else from S3 with the caller's rights.

    After a first failure S3 is not asked again.
    """

    def __init__(self, folder: str | None) -> None:
        if folder is not None and not Path(folder).is_dir():
            raise BadInput(f"--images {folder}: no such folder; give the one that holds the page images")
        self._folder = Path(folder) if folder is not None else None
        self._s3: Any = None
        self._down = False

    def read(self, location: Mapping[str, Any]) -> bytes | None:
        uri = str(location.get("uri", ""))
        if self._folder is not None:
            file = self._folder / uri.rpartition("/")[2]
            return file.read_bytes() if file.is_file() else None
        if self._down or not uri.startswith("s3://"):
            return None
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        try:
            body: bytes = self._client().get_object(Bucket=bucket, Key=key)["Body"].read()
        except Exception as trouble:  # whatever it is: the texts can still be compared
            told = type(trouble).__name__
            print(f"hookcache explain: images cannot be read from S3 ({told}); give --images DIR", file=sys.stderr)
            self._down = True
            return None
        return body

    def _client(self) -> Any:
        if self._s3 is None:
            import boto3
            from botocore.config import Config

            limits = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 2})
            self._s3 = boto3.client("s3", config=limits)
        return self._s3
