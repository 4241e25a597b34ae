"""
What commands write: characters that a terminal shows and does not obey; a file, whole under its name or not at all, so that an
earlier one stays when this one fails; progress; widths; counts.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

from hookcache_ops.ledger.period import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ERRORS = "backslashreplace"
"""Half a character, which answers may hold, is written as JSON escapes it."""
_OBEYED = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, with which escape sequences begin, and those that turn the direction of writing; not tab and line end."""

_ENDING = re.compile(f"[\t\n\u2028\u2029]|{_OBEYED.pattern}")


def plain(text: str) -> str:
    """What a terminal would obey is spelt as JSON escapes it, so that JSON stays what it says: `\\u001b`. Promise: P36, T11."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """A name of foreign origin as part of a line: what ends a line, or looks like the next column, is spelt out as well. Promise: T11."""
    return text if text.isprintable() else _ENDING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class PlainStream:
    """
    A stream for text of any origin: a log may be anybody's, and so may the names and messages in it and in AWS's replies.

    All that commands say goes through one (`cli.py` puts it before standard output and error, `whole_file` before files), but for
    what draws on the terminal with sequences of its own: that takes the stream beneath, and text of its own only.
    """

    def __init__(self, beneath: TextIO | IO[str]) -> None:
        self.beneath = beneath

    def write(self, text: str) -> int:
        self.beneath.write(plain(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.beneath, name)


def beneath(stream: TextIO) -> TextIO:
    """The stream that takes escape sequences: the one beneath, where this is a `PlainStream`."""
    return cast("TextIO", stream.beneath) if isinstance(stream, PlainStream) else stream


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
                yield cast("IO[str]", PlainStream(file))
            return
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors=ERRORS, dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            part = Path(file.name)
            yield cast("IO[str]", PlainStream(file))
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
    full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    remedy = "make room there, or name another place" if full else "choose a folder that exists and may be written"
    return f"{error.strerror or error}; {remedy}"


def living_line(text: str = "") -> None:
    """
    Progress on a terminal, in the place of the line before; empty takes it away, or what is said next would stand behind it.

    It is cut to the terminal: a line that wraps would stay there in part.
    """
    if sys.stderr.isatty():
        cut = plain(text)[: _columns(sys.stderr) - 1]
        print(f"\r\033[K{cut}", end="", file=beneath(sys.stderr), flush=True)


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


def block(stream: TextIO) -> str:
    """What bars are drawn with there: one whose encoding lacks the block would show its number for each."""
    try:
        "█░".encode(stream.encoding or "utf-8")
    except (LookupError, UnicodeEncodeError):
        return "#"
    return "█"


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
