"""
The receipts of several logs in the order of their times.

An export has a file for each environment, one after the other; who asked first cannot be told from that. Each file is in
order by itself, so the files are merged, and each is open only while its time lasts.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from hookcache_ops.ledger.lines import files_of
from hookcache_ops.ledger.seen import SeenRequests
from hookcache_ops.receipts import Reading, Receipt, read_receipts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hookcache_ops.ledger.period import Period

OTHER_FILES = 1_024
"""Open files that are no logs: standard streams, libraries, sockets."""


def receipts_in_time(sources: Iterable[str], period: Period, progress: Callable[[Reading], None]) -> Iterator[Receipt]:
    """
    Each receipt of the sources once; those of one file in the order found.

    Raises:
        SourceError: a source is missing, cut short, or no text at all.
    """
    files = [file for source in sources for file in files_of(source)]
    reading = Reading()
    if len(files) < 2:
        yield from read_receipts(files, reading, period=period, progress=progress)
        return

    def going_on(so_far: Reading) -> None:
        so_far.done = False  # one file is: the others are not
        progress(so_far)

    _allow_open(len(files))
    unopened = sorted(((_begin_ms(file, period), number) for number, file in enumerate(files)), reverse=True)
    heads: list[tuple[int, int, Receipt, Iterator[Receipt]]] = []
    with SeenRequests() as seen:
        while unopened or heads:
            while unopened and (not heads or unopened[-1][0] <= heads[0][0]):
                number = unopened.pop()[1]
                stream = read_receipts([files[number]], reading, period=period, seen=seen, progress=going_on)
                _push(heads, number, stream)
            if heads:
                _, number, receipt, stream = heapq.heappop(heads)
                yield receipt
                _push(heads, number, stream)
    reading.done = True
    progress(reading)


def _push(heads: list[tuple[int, int, Receipt, Iterator[Receipt]]], number: int, stream: Iterator[Receipt]) -> None:
    receipt = next(stream, None)
    if receipt is not None:
        heapq.heappush(heads, (receipt.time_ms, number, receipt, stream))


def _begin_ms(file: str, period: Period) -> int:
    """The time of its first receipt; what can be read only once, or by asking AWS, begins before all others."""
    if file == "-" or file.startswith("logs:"):
        return 0
    first = next(read_receipts([file], Reading(), period=period), None)
    return 0 if first is None else first.time_ms


def _allow_open(files: int) -> None:
    """Let this process open so many, where the system does."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files + OTHER_FILES if hard == resource.RLIM_INFINITY else min(files + OTHER_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
