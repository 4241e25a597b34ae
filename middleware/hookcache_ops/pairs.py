"""
Finished work to warm a cache with: requests of the host and the answers they got.

    FILE     JSON lines, each {"event": ..., "answer": ...}; "time" (epoch s or ms, or ISO 8601) says when it was answered;
             plain or gzip, told by the first bytes
    FOLDER   NAME.request.json beside NAME.answer.json, whose file's time is taken for that of the answer

Images that S3 no longer has are looked for in a folder, under the last part of their object's name.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hookcache.references import PAGE_FILES
from hookcache_ops.bad_input import BadInput
from hookcache_ops.times import told_ms

REQUEST, ANSWER = ".request.json", ".answer.json"


class PairError(BadInput):
    """The source cannot be used; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Pair:
    """
    One request and its answer; `time_ms` is when it was answered, None where that is not known; `where` for messages.

    `dated` is False where `time_ms` is that of a file: the answer is as old at least, and older where the file was copied.
    """

    event: Any
    answer: Any
    time_ms: int | None
    where: str
    dated: bool = True


def read_pairs(sources: Iterable[str]) -> Iterator[Pair]:
    """
    The pairs of all sources, in order.

    Raises:
        PairError: a source is missing or holds something else.
    """
    for source in sources:
        path = Path(source)
        try:
            yield from _of_folder(path) if path.is_dir() else _of_file(path)
        except OSError as error:
            raise PairError(f"{source}: {error.strerror or error}; give a file of pairs, or a folder") from None


def check_sources(sources: Iterable[str]) -> None:
    """
    Whether every source is there and may be read, before anything is done with the first. A pipe is left unopened.

    Raises:
        PairError: one is not.
    """
    for source in sources:
        path = Path(source)
        try:
            if stat.S_ISDIR(path.stat().st_mode):
                _requests_in(path)
            elif not os.access(path, os.R_OK):
                raise PairError(f"{source}: it may not be read; give a file of pairs, or a folder")
        except OSError as error:
            raise PairError(f"{source}: {error.strerror or error}; give a file of pairs, or a folder") from None


def _requests_in(folder: Path) -> list[Path]:
    requests = sorted(folder.glob(f"*{REQUEST}"))
    if not requests:
        raise PairError(f"{folder}: no NAME{REQUEST} in it; put each beside its NAME{ANSWER}")
    return requests


def _of_folder(folder: Path) -> Iterator[Pair]:
    for request in _requests_in(folder):
        answer = request.with_name(request.name.removesuffix(REQUEST) + ANSWER)
        if not answer.is_file():
            raise PairError(f"{request}: {answer.name} is not beside it")
        event = _json(request.read_bytes(), str(request))
        changed_ms = int(answer.stat().st_mtime * 1000)
        yield Pair(event, _json(answer.read_bytes(), str(answer)), changed_ms, str(request), dated=False)


def _of_file(path: Path) -> Iterator[Pair]:
    with path.open("rb") as file:
        for number, line in enumerate(_unpacked(file, path), start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            value = _json(line, where)
            if not isinstance(value, dict) or not value.keys() >= {"event", "answer"}:
                raise PairError(f'{where}: no pair; each line must be {{"event": ..., "answer": ...}}')
            yield Pair(value["event"], value["answer"], _time_ms(value.get("time"), where), where)


def _unpacked(file: io.BufferedReader, path: Path) -> Iterator[bytes]:
    """The lines of a file that may be packed, looked at without taking anything from it: it may be a pipe."""
    if file.peek(2)[:2] != b"\x1f\x8b":
        yield from file
        return
    try:
        with gzip.open(file) as lines:
            yield from lines
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise PairError(f"{path}: cut short or damaged gzip; make the file again") from None


def _json(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise PairError(f"{where}: no JSON; one JSON value is expected there") from None


def _time_ms(value: Any, where: str) -> int | None:
    if value is None:
        return None
    try:
        return told_ms(value)
    except (ValueError, TypeError, OverflowError):
        raise PairError(
            f'{where}: "time" must be an epoch in s or ms, or ISO 8601, such as 2026-11-01T08:00Z'
        ) from None


class LocalImages:
    """
    S3 as an image reader uses it, with a folder in front: what lies there under the object's last name is not fetched.

    But for the files of a page by reference, whose last names are those of every other page's.

    Args:
        s3: gives the real client.
    """

    def __init__(self, folder: Path, s3: Callable[[], Any]) -> None:
        self._folder, self._s3 = folder, s3

    def get_object(self, **where: Any) -> Any:
        body = self._body(where)
        if body is None:
            return self._s3().get_object(**where)
        return {"ContentLength": len(body), "Body": io.BytesIO(body), "ETag": '"local"'}

    def head_object(self, **where: Any) -> Any:
        body = self._body(where)
        return self._s3().head_object(**where) if body is None else {"ContentLength": len(body), "ETag": '"local"'}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3(), name)

    def _body(self, where: dict[str, Any]) -> bytes | None:
        name = str(where["Key"]).rpartition("/")[2]
        file = self._folder / name
        return file.read_bytes() if name not in PAGE_FILES and file.is_file() else None
