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
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FORMAT = 1
PIECE = 1 << 20


class TransferError(Exception):
    """The export cannot be made or used; the text says what to do."""


class ExportFile:
    """An export that is being written; begins where an interrupted one stopped."""

    def __init__(self, path: Path, table: str, namespace: str) -> None:
        self.path = path
        self._part, self._position = (path.with_name(path.name + end) for end in (".part", ".position"))
        self._head = {"hookcache_export": FORMAT, "table": table, "namespace": namespace}
        self.entries = 0
        self.after: Any = None
        if self._part.is_file() and self._position.is_file():
            self._resume()
        else:
            self._part.write_bytes(_line(self._head))

    def _resume(self) -> None:
        told = json.loads(self._position.read_text())
        with self._part.open("r+b") as file:
            if json.loads(file.readline()) != self._head:
                raise TransferError(
                    f"{self._part} is of another table or namespace; remove it, or name another file with --output"
                )
            file.truncate(told["bytes"])
        self.entries, self.after = told["entries"], decoded(told["after"])

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


def read_export(path: Path) -> Iterator[tuple[dict[str, Any], bytes | None]]:
    """
    Each item of a finished export with its overflow body.

    Raises:
        TransferError: the file is no export, is not finished, or was changed or cut since.
    """
    count = _verified(path)
    with path.open("rb") as file:
        file.readline()
        for _ in range(count):
            line = json.loads(file.readline())
            yield decoded(line["item"]), base64.b64decode(line["body"]) if "body" in line else None


def _verified(path: Path) -> int:
    """The number of entries, once every line is known to be as it was written."""
    digest, last, lines = hashlib.sha256(), b"", 0
    try:
        with path.open("rb") as file:
            for line in file:
                digest.update(last)
                last, lines = line, lines + 1
                if lines == 1 and json.loads(line).get("hookcache_export") != FORMAT:
                    raise TransferError(f"{path} is no export of this version; make one with `hookcache export`")
        told = json.loads(last)
        if told["sha256"] != digest.hexdigest() or told["entries"] != lines - 2:
            raise TransferError(f"{path} was changed or cut since it was made; export again")
        return int(told["entries"])
    except OSError as error:
        raise TransferError(f"{path}: {error.strerror or error}; give the file of an export") from None
    except (ValueError, KeyError, TypeError, AttributeError):
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
