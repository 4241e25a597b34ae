"""What a function writes: whole lines, kept in memory and, where asked for, appended to a file."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

KEPT_LINES = 200_000
TAIL_BYTES = 4096


@dataclass(slots=True)
class FunctionLog:
    """
    The log group of one function, written by all its environments.

    Lines end at a newline only: the runtime client joins the lines of a traceback by carriage returns, so that
    they stay one record.
    """

    path: Path | None = None
    _lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    _file: TextIO | None = None

    def write(self, line: str) -> None:
        """Append one line, given without its newline."""
        self._lines.append(line)
        if self.path is None:
            return
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("a", encoding="utf-8", newline="\n", buffering=1)
            self._file.write(line + "\n")
        except OSError:  # no room: the lines in memory serve, and the function's answer does not hang on its log
            self.close()
            self.path = None

    def lines(self) -> tuple[str, ...]:
        """All lines so far, oldest first."""
        while True:
            # Another thread appends meanwhile; a copy that was overtaken is taken again.
            with suppress(RuntimeError):
                return tuple(self._lines)

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()


@dataclass(slots=True)
class LineBuffer:
    """Cuts what arrives on one pipe into lines, so that two writers never share one."""

    emit: Callable[[str], None]
    _rest: bytes = b""

    def feed(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            self.emit(line.decode("utf-8", "replace"))

    def flush(self) -> None:
        """Give out what has no newline yet, at the end of an invocation or of the process."""
        if self._rest:
            self.emit(self._rest.decode("utf-8", "replace"))
            self._rest = b""


def tail(lines: Iterator[str]) -> bytes:
    """The last 4 KB of some lines, as Invoke returns them on request."""
    return ("\n".join(lines) + "\n").encode()[-TAIL_BYTES:]
