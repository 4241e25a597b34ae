"""The lines of log files, folders, pipes and log groups: gzip unpacked, one at a time."""

from __future__ import annotations

import gzip
import io
import json
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from hookcache_ops.cures import cure, told_by
from hookcache_ops.ledger.period import Period, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT_BYTES = 64 * 1024 * 1024  # a pretty-printed JSON document is parsed whole up to here
LATE_MS = 900_000  # a line may reach its log this long after, or be stamped this long before, its receipt's time


def lines_of(source: str, stdin: BinaryIO | None, period: Period) -> Iterator[bytes]:
    """
    The lines of one source: a file, a folder of files, `-` or `logs:GROUP`, which alone is asked for the period only.

    Raises:
        SourceError: it is missing, cut short, or no text at all.
    """
    if source == "-":
        yield from _stream_lines(stdin or sys.stdin.buffer, "standard input")
        return
    if source.startswith("logs:"):
        yield from _log_group_lines(source.removeprefix("logs:"), period)
        return
    if source.startswith("metrics:"):
        raise SourceError(f"{source}: metrics hold no receipts; draw them with hookcache dashboard, or give logs:GROUP")
    for file in files_of(source):
        try:
            with Path(file).open("rb") as stream:
                yield from _stream_lines(stream, file)
        except (OSError, EOFError, zlib.error) as error:
            why = "cut short" if isinstance(error, EOFError) else (getattr(error, "strerror", None) or str(error))
            raise SourceError(f"{file}: {why}; fetch the file again or leave it out") from error


def files_of(source: str) -> list[str]:
    """
    The files of a folder, however deep, by name; any other source as it is.

    Raises:
        SourceError: it is missing.
    """
    path = Path(source)
    if source == "-" or source.startswith(("logs:", "metrics:")):
        return [source]
    if not path.exists():
        raise SourceError(f"{source}: no such file or folder; give log exports, `-` for standard input or logs:GROUP")
    return [str(file) for file in sorted(path.rglob("*")) if file.is_file()] if path.is_dir() else [source]


def _stream_lines(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """The lines of one stream, unpacked; a pretty-printed document of bounded size comes as one line."""
    buffered = cast("Any", stream) if hasattr(stream, "peek") else _peekable(stream)
    unpacked = gzip.open(buffered) if buffered.peek(2)[:2] == b"\x1f\x8b" else buffered  # noqa: SIM115 - closed by its owner
    try:
        first = unpacked.readline()
        if first.strip() in {b"{", b"["}:
            whole = first + unpacked.read(DOCUMENT_BYTES)
            if len(whole) < DOCUMENT_BYTES and _is_document(whole):
                yield whole
                return
            whole += unpacked.readline()
            yield from whole.splitlines(keepends=True)
        elif first:
            if b"\x00" in first[:1024]:
                raise SourceError(f"{name}: not text; give JSON lines, a log export or their gzip form")
            yield first
        yield from unpacked
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(f"{name}: cut short or damaged gzip; fetch the file again or leave it out") from error


def _peekable(stream: BinaryIO) -> Any:
    return io.BufferedReader(cast("Any", stream))


def _is_document(whole: bytes) -> bool:
    try:
        json.loads(whole)
    except (ValueError, RecursionError):
        return False
    return True


def _log_group_lines(group: str, period: Period) -> Iterator[bytes]:
    """The receipts of a log group of the account that the SDK's own settings name; needs logs:FilterLogEvents."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    if not group:
        raise SourceError(
            "logs: names no log group; give the stack's output LogGroupName, as logs:/STACK/lambda/HookFunction"
        )
    times: dict[str, int] = {}
    if period.since_ms is not None:
        times["startTime"] = max(0, period.since_ms - LATE_MS)
    if period.until_ms is not None:
        times["endTime"] = period.until_ms + LATE_MS
    try:
        pages = boto3.client("logs").get_paginator("filter_log_events")
        for page in pages.paginate(logGroupName=group, filterPattern='"_aws"', **times):
            for event in page["events"]:
                yield event["message"].encode("utf-8", "replace")
    except (BotoCoreError, ClientError) as error:
        told = told_by(error)
        raise SourceError(
            f"logs:{group}: {told}; {cure(told, 'check name, region and the right logs:FilterLogEvents')}"
        ) from error
