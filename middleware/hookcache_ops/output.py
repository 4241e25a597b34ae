"""What commands write: a file, whole under its name or not at all, so that an earlier one stays when this one fails; progress; widths; counts."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, TextIO

from hookcache_ops.ledger.period import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

ERRORS = "backslashreplace"
"""Half a character, which answers may hold, is written as JSON escapes it."""


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """
    A file under another name, which takes its own when the block has ended well. Into a device or a pipe it is written at once.

    Raises:
        SourceError: it cannot be written there.
    """
    target = path.resolve()
    if target.is_dir():
        raise SourceError(f"{path}: a folder; name the file in it")
    part: Path | None = None
    try:
        if target.exists() and not target.is_file():  # to be replaced by a file would be the end of /dev/null
            with target.open("w", encoding="utf-8", errors=ERRORS) as file:
                yield file
            return
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors=ERRORS, dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            part = Path(file.name)
            yield file
        part.chmod(_mode_of(target))
        part.replace(target)
    except BaseException as error:
        if part is not None:
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise SourceError(f"{path}: {unwritten(error)}") from error
        raise


def unwritten(error: OSError) -> str:
    """Why something cannot be written, and the remedy."""
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    remedy = "make room there, or name another place" if full else "choose a folder that exists and may be written"
    return f"{error.strerror or error}; {remedy}"


def living_line(text: str = "") -> None:
    """
    Progress on a terminal, in the place of the line before; empty takes it away, or what is said next would stand behind it.

    It is cut to the terminal: a line that wraps would stay there in part.
    """
    if sys.stderr.isatty():
        print(f"\r\033[K{text[: _columns(sys.stderr) - 1]}", end="", file=sys.stderr, flush=True)


def terminal_width() -> int | None:
    """Columns of the terminal that is printed to (one that does not know says 0, and has 80); None where it is a file or a pipe."""
    if not sys.stdout.isatty():
        return None
    return _columns(sys.stdout)


def _columns(stream: TextIO) -> int:
    """What the shell says in COLUMNS, else of the terminal behind this stream: the other stream may well be a file."""
    told = os.environ.get("COLUMNS", "")
    columns = int(told) if told.isdecimal() else 0
    with suppress(OSError, ValueError):  # no terminal; no file at all
        columns = columns or os.get_terminal_size(stream.fileno()).columns
    return max(40, columns or 80)


def counted(number: int, one: str, many: str = "") -> str:
    """`1 key`, `2 keys`; `many` where an s does not do."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _mode_of(target: Path) -> int:
    """Who may read it: whoever may read the one that it replaces, else whom the caller's umask lets."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
