"""
Receipts as they are found in the field: one value per invocation, whatever wrapped it on its way here.

    a line of a function's log          {"_aws": ..., "outcome": "miss", ...}
    export to S3, `aws logs tail`       2026-11-03T10:15:00.123Z [stream] {"_aws": ...}
    filter-log-events, Logs Insights    {"events": [{"message": "{\\"_aws\\": ...}"}]}, pretty-printed or on one line; Insights CSV
    subscriptions, JSON log format      {"logEvents": [{"message": "..."}]}, {"timestamp": ..., "message": ...}, {"record": ...}

Sources are files, folders of files (an export's tree), `-` for standard input and `logs:GROUP` for a log group of the
account; gzip is recognised by its first bytes. Lines that are no receipt are counted and skipped. A request id counts
once: `seen.py` says how that stays exact in bounded memory.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from hookcache.outcome import Outcome
from hookcache_ops.ledger.forms import plain_record, records_in
from hookcache_ops.ledger.lines import lines_of
from hookcache_ops.ledger.metrics import METRICS
from hookcache_ops.ledger.period import Period, SourceError
from hookcache_ops.ledger.seen import SeenRequests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["HITS", "Period", "Reading", "Receipt", "SourceError", "read_receipts"]

HITS = (Outcome.HIT_MEMORY, Outcome.HIT_TABLE, Outcome.COLLAPSED)
"""Outcomes of those whom a kept answer, or another caller's fetch, spared a call. Each is its own word."""
SCHEMA = 1
PROGRESS_LINES = 50_000

_MARK = b"_aws"
_LEAN = tuple(metric.name for metric in METRICS if metric.lean)
_RARE = frozenset(metric.name for metric in METRICS if not metric.lean)
_ALL = frozenset(metric.name for metric in METRICS)
_lean_values = itemgetter(*_LEAN)
MOST = 1e18  # no number of a receipt is as large
END_OF_TIME_MS = 253_402_300_800_000  # the year 10000, which no calendar here has


class Receipt(NamedTuple):
    """
    What one invocation reported about itself.

    `metrics` holds the metrics present, by name, as numbers >= 0; `members` is the whole line as written, for readers
    of members that have no field here. Times are epoch milliseconds, UTC.
    """

    time_ms: int
    request_id: str
    step: str
    function: str
    outcome: str
    metrics: Mapping[str, float]
    members: Mapping[str, Any]


@dataclass(slots=True)
class Reading:
    """What was met while reading: every line is in exactly one of these counts, a line that holds several receipts aside."""

    lines: int = 0
    receipts: int = 0
    duplicates: int = 0
    out_of_range: int = 0
    other_lines: int = 0
    damaged: int = 0
    newer_schema: int = 0
    without_id: int = 0
    sources: list[str] = field(default_factory=list)
    de_duplication: str = ""
    done: bool = False


def read_receipts(
    sources: Iterable[str],
    reading: Reading,
    *,
    period: Period = Period(),
    seen: SeenRequests | None = None,
    progress: Callable[[Reading], None] | None = None,
    stdin: BinaryIO | None = None,
) -> Iterator[Receipt]:
    """
    Each receipt of the sources once, in the order found; `reading` is kept up to date while the iterator is used.

    `seen` is whose it is, and is not closed here. `progress` hears of it every so many lines, and once more when it is `done`, however it ended.

    Raises:
        SourceError: a source is missing, cut short, or no text at all.

    Promise: P31 (log extraction is at-least-once; a request id counts once).
    """
    try:
        with SeenRequests() if seen is None else nullcontext(seen) as ids:
            for source in sources:
                reading.sources.append(source)
                for line in lines_of(source, stdin, period):
                    reading.lines += 1
                    if progress is not None and reading.lines % PROGRESS_LINES == 0:
                        progress(reading)
                    if _MARK not in line:
                        reading.other_lines += 1
                        continue
                    for receipt in _of_line(line, reading):
                        if not period.holds(receipt.time_ms):
                            reading.out_of_range += 1
                        elif receipt.request_id and not ids.first_time(receipt.request_id):
                            reading.duplicates += 1
                        else:
                            reading.without_id += not receipt.request_id
                            reading.receipts += 1
                            yield receipt
            reading.de_duplication = ids.describe()
    finally:
        reading.done = True
        if progress is not None:
            progress(reading)


def _of_line(line: bytes, reading: Reading) -> list[Receipt]:
    """The receipts of one line; it is counted as other or damaged where there are none."""
    found: list[Receipt] = []
    plain = plain_record(line)
    records = [plain] if plain is not None else list(records_in(line.decode("utf-8", "replace")))
    for record in records:
        if not _is_receipt(record):
            continue
        if isinstance(record["schema"], int) and record["schema"] > SCHEMA:
            reading.newer_schema += 1
            continue
        try:
            found.append(_receipt(record))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            reading.damaged += 1
    if not records:
        reading.damaged += 1
    elif not any(_is_receipt(record) for record in records):
        reading.other_lines += 1
    return found


def _is_receipt(record: Mapping[str, Any]) -> bool:
    """True for our own lines: other embedded metrics share the log, those of the wrapped function among them."""
    return "outcome" in record and "MeteringKey" in record and "schema" in record


def _receipt(record: Mapping[str, Any]) -> Receipt:
    step, _, rest = record["MeteringKey"].partition("/")
    time_ms = record["_aws"]["Timestamp"]
    if not 0 <= time_ms < END_OF_TIME_MS:  # also false for NaN
        raise ValueError("Timestamp")
    return Receipt(
        time_ms=int(time_ms),
        request_id=str(record.get("request_id") or ""),
        step=str(record.get("context") or step),
        function=str(record.get("function") or rest.rpartition("/")[2]),
        outcome=str(record["outcome"]),
        metrics=_metrics(record),
        members=record,
    )


def _metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """
    The metrics of a line. Raises ValueError or TypeError where one is no number in range.

    The runtime writes every lean metric as a list of one number: that form is taken in one go, any other name by name.
    """
    try:
        numbers = [number for [number] in _lean_values(record)]
        plain = min(numbers) >= 0 and sum(numbers) < MOST  # the sum is false for NaN, wherever it stands
    except (KeyError, TypeError, ValueError):
        plain = False
    metrics = dict(zip(_LEAN, numbers, strict=True)) if plain else {}
    for name in (_RARE if plain else _ALL) & record.keys():
        value = record[name]
        if value is None:
            continue
        if type(value) is list:
            value = value[0] if len(value) == 1 else sum(value)
        if not 0 <= value < MOST:  # also false for NaN
            raise ValueError(name)
        metrics[name] = value
    return metrics
