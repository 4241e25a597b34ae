"""
An export: a table's entries in a file, sealed as they lie in the table, and where an interrupted one stands.

    FILE           line 1   {"hookcache_export": 1, "table": ..., "namespace": ...}
                   then     {"item": DynamoDB item, "body": base64 of its overflow object, if it has one}
                   last     {"entries": number of them, "sha256": of all lines before this one}
    FILE.part      the lines so far; becomes FILE when the last one stands
    FILE.position  after which item the next page begins, and how long FILE.part was then

What the file holds is readable with the secret only where bodies are encrypted (HOOKCACHE_ENCRYPT); keep it as you would
keep the answers. Nothing in it can be moved or changed unseen: each item is under its tag, all lines under the digest.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hookcache_ops.bad_input import BadInput

FORMAT = 1
PIECE = 1 << 20


class TransferError(BadInput):
    """The export cannot be made or used; the text says what to do."""


class ExportFile:
    """An export that is being written; begins where an interrupted one stopped."""

    def __init__(self, path: Path, table: str, namespace: str) -> None:
        self.path = path
        self._part, self._position = (path.with_name(path.name + end) for end in (".part", ".position"))
        self._head = {"hookcache_export": FORMAT, "table": table, "namespace": namespace}
        self.entries = 0
        self.after: Any = None
        self._mine = self._part.open("ab")
        self._take()
        if self._position.is_file() and self._part.stat().st_size:
            self._resume()
        else:
            self._position.unlink(missing_ok=True)  # of an export that was killed once its file stood
            self._part.write_bytes(_line(self._head))

    def _take(self) -> None:
        """One export at a time: two would write between each other's lines."""
        try:
            fcntl.flock(self._mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Not where it was finished, and so renamed, between the two lines.
            taken = self._part.is_file() and os.path.samestat(os.fstat(self._mine.fileno()), self._part.stat())
        except BlockingIOError:
            taken = False
        if not taken:
            raise TransferError(f"another export is writing {self._part}; let it end, or name another file")

    def _resume(self) -> None:
        length = self._stands_at()
        with self._part.open("r+b") as file:
            if length < 0 or file.seek(0, os.SEEK_END) < length:
                raise TransferError(
                    f"{self._part} and {self._position.name} do not belong together; remove both and export again"
                )
            file.truncate(length)

    def _stands_at(self) -> int:
        """How long the file was after its last whole page; -1 where that cannot be read."""
        try:
            with self._part.open("rb") as file:
                head = json.loads(file.readline())
            told = json.loads(self._position.read_text())
            length, self.entries, self.after = int(told["bytes"]), int(told["entries"]), decoded(told["after"])
        except (ValueError, KeyError, TypeError):
            return -1
        if head != self._head:
            raise TransferError(
                f"{self._part} is of another table or namespace; remove it, or name another file with --output"
            )
        return length

    def add(self, page: list[tuple[Mapping[str, Any], bytes | None]], after: Any) -> None:
        """The items of one page with their overflow bodies; `after` is where the next page begins, None at the end."""
        with self._part.open("ab") as file:
            for item, body in page:
                line = {"item": encoded(item)} | ({} if body is None else {"body": base64.b64encode(body).decode()})
                file.write(_line(line))
            length = file.tell()
        self.entries += len(page)
        self.after = after
        told = {"bytes": length, "entries": self.entries, "after": encoded(after)}
        beside = self._position.with_name(self._position.name + ".new")
        beside.write_text(json.dumps(told))
        beside.replace(self._position)

    def finish(self) -> None:
        """Close the file with its count and digest, under its own name."""
        digest = hashlib.sha256()
        with self._part.open("r+b") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
            file.write(_line({"entries": self.entries, "sha256": digest.hexdigest()}))
        self._part.replace(self.path)
        self._position.unlink(missing_ok=True)

    def close(self) -> None:
        """Let others write; what is there stays for the next export."""
        self._mine.close()


def check_place(path: Path) -> None:
    """
    Whether an export may lie there: known before anybody is asked for anything.

    Raises:
        TransferError: it may not.
    """
    if path.is_dir():
        raise TransferError(f"{path}: a folder; name the file in it")
    if path.exists() and not path.is_file():  # its end would be to be replaced by the export
        raise TransferError(f"{path}: a device or a pipe, where no export goes on that was cut short; name a file")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise TransferError(f"{path}: cannot be written; choose a folder that exists and may be written")


@dataclass(frozen=True, slots=True)
class Export:
    """A finished export; iterating gives each item with its overflow body."""

    path: Path
    namespace: str
    entries: int

    def __iter__(self) -> Iterator[tuple[dict[str, Any], bytes | None]]:
        with self.path.open("rb") as file:
            file.readline()
            for _ in range(self.entries):
                line = json.loads(file.readline())
                yield decoded(line["item"]), base64.b64decode(line["body"]) if "body" in line else None


def read_export(path: Path) -> Export:
    """
    The export in a file, once every line is known to be as it was written.

    Raises:
        TransferError: the file is no export, is not finished, or was changed or cut since.
    """
    digest, last, lines = hashlib.sha256(), b"", 0
    head: dict[str, Any] = {}
    try:
        with path.open("rb") as file:
            for line in file:
                digest.update(last)
                last, lines = line, lines + 1
                head = head or json.loads(line)
                if lines == 1 and head.get("hookcache_export") != FORMAT:
                    raise TransferError(f"{path} is no export of this version; make one with `hookcache export`")
        told = json.loads(last)
        if told["sha256"] != digest.hexdigest() or told["entries"] != lines - 2:
            raise TransferError(f"{path} was changed or cut since it was made; export again")
        return Export(path, str(head["namespace"]), int(told["entries"]))
    except OSError as error:
        raise TransferError(f"{path}: {error.strerror or error}; give the file of an export") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise TransferError(f"{path} is no finished export; run `hookcache export` again, it goes on") from None


def encoded(value: Any) -> Any:
    """DynamoDB's attributes with their bytes as base64, for JSON."""
    if isinstance(value, bytes | bytearray):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {name: encoded(each) for name, each in value.items()}
    return value


def decoded(value: Any) -> Any:
    """The inverse of `encoded`."""
    if isinstance(value, dict):
        if value.keys() == {"base64"}:
            return base64.b64decode(value["base64"])
        return {name: decoded(each) for name, each in value.items()}
    return value


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
