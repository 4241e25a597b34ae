"""Where receipts go while time is taken."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _LambdaOutput(io.TextIOBase):
    """Standard output as Lambda's runtime client gives it to a handler: every line goes out at once."""

    def __init__(self) -> None:
        self._sink = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - closed by `close`

    def write(self, text: str) -> int:
        written = self._sink.write(text)
        self._sink.flush()
        return written

    def close(self) -> None:
        self._sink.close()


@contextmanager
def receipts_go_out() -> Iterator[None]:
    """Receipts are written, for that takes time, and not read."""
    kept, sys.stdout = sys.stdout, _LambdaOutput()
    try:
        yield
    finally:
        sys.stdout.close()
        sys.stdout = kept
