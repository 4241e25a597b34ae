"""Which request ids were met before: exact, in bounded memory."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

MEMORY_IDS = 500_000
DISK_CACHE_KIB = 64 * 1024


class SeenRequests:
    """
    A set of request ids that answers `first_time` exactly, however many there are.

        up to MEMORY_IDS ids     a set in memory, about 100 bytes each
        beyond that              a private SQLite file that vanishes with the process, with a page cache of 64 MiB

    An id counts as 16 bytes: a UUID as it is, anything else by its BLAKE2b digest, so "exact" means up to a collision
    of 128 bits. The file takes about 45 bytes for each id, in SQLite's temporary folder (SQLITE_TMPDIR).
    """

    def __init__(self, memory_ids: int = MEMORY_IDS) -> None:
        self._limit = memory_ids
        self._memory: set[bytes] = set()
        self._disk: sqlite3.Connection | None = None

    def first_time(self, request_id: str) -> bool:
        """True once for each id."""
        short = _short(request_id)
        if self._disk is not None:
            return self._disk.execute("INSERT OR IGNORE INTO seen VALUES (?)", (short,)).rowcount == 1
        before = len(self._memory)
        self._memory.add(short)
        if len(self._memory) > self._limit:
            self._spill()
        return len(self._memory) > before or (self._disk is not None)

    def describe(self) -> str:
        """One phrase for reports."""
        where = "in memory" if self._disk is None else "in a temporary file"
        return f"exact by request id, {where}"

    def _spill(self) -> None:
        disk = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{DISK_CACHE_KIB}"):
            disk.execute(f"PRAGMA {pragma}")
        disk.execute("CREATE TABLE seen (id BLOB PRIMARY KEY) WITHOUT ROWID")
        disk.execute("BEGIN")
        disk.executemany("INSERT INTO seen VALUES (?)", ((short,) for short in sorted(self._memory)))
        self._memory = set()
        self._disk = disk

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._disk is not None:
            self._disk.close()


def _short(request_id: str) -> bytes:
    if len(request_id) == 36:
        try:
            return bytes.fromhex(request_id.replace("-", ""))
        except ValueError:
            pass
    return hashlib.blake2b(request_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
