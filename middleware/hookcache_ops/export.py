"""
`hookcache export`: a namespace's entries into a file, to be imported under another secret, namespace or table.

Reads the table from end to end with your own rights (dynamodb:Scan, which no function has). An export that was cut short
goes on where it stopped when the same command is run again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from hookcache.clock import SystemClock
from hookcache.commands import OperatorClients
from hookcache.entry import Item
from hookcache.errors import TierUnavailable
from hookcache.overflow import Overflow
from hookcache.settings import Settings
from hookcache.spending import Spending
from hookcache_ops.bad_input import BadInput
from hookcache_ops.cures import cure, told_by
from hookcache_ops.output import counted, living_line, unwritten
from hookcache_ops.reach import variables_for
from hookcache_ops.transfer import ExportFile, check_place

EXAMPLE = """examples:
  hookcache export --function GENAIIDP-cache-ocr -o ocr.export
  hookcache import ocr.export --from-function GENAIIDP-cache-ocr --function GENAIIDP-cache-ocr-new

The file holds answers: keep it as you would keep them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the export; FILE.part until it is whole")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON and nothing else")
    group = parser.add_argument_group("which cache (default: the HOOKCACHE_* variables of this shell)")
    group.add_argument("--function", metavar="NAME", help="the wrapper, such as GENAIIDP-cache-ocr")


def run(args: argparse.Namespace) -> int:
    """0 the export is whole, 1 interrupted or the table failed (run it again)."""
    try:
        check_place(Path(args.output))
        settings = Settings.of(variables_for(args))
        file = ExportFile(Path(args.output), settings.table, settings.namespace)
        resumed = file.entries
        export(settings, file, OperatorClients(slim=False))
    except (ClientError, BotoCoreError, TierUnavailable) as error:
        remedy = cure(told_by(error), "you need dynamodb:Scan on the table and s3:GetObject on the overflow bucket")
        return _complain(f"{told_by(error)}; {remedy}: the same command goes on where it stopped")
    except OSError as error:
        raise BadInput(f"{args.output}: {unwritten(error)}") from None
    except KeyboardInterrupt:
        return _complain("interrupted; run the same command again, it goes on where it stopped")
    figures = {"entries": file.entries, "resumed_after": resumed, "file": str(file.path)}
    earlier = f", {resumed:,} of them written by the run that was cut short" if resumed else ""
    print(json.dumps(figures) if args.json else f"{counted(file.entries, 'entry', 'entries')} in {file.path}{earlier}")
    return 0


def export(settings: Settings, file: ExportFile, clients: Any) -> None:
    """
    Write what is left to write, page by page.

    Raises:
        ClientError, BotoCoreError, TierUnavailable: table or bucket failed; what was written stays good.
    """
    overflow = Overflow(clients.s3, settings.overflow_bucket, Spending()) if settings.overflow_bucket else None
    now_seconds = SystemClock().now_ms() // 1000
    try:
        _write(settings, file, clients, overflow, now_seconds)
    finally:
        living_line()
        file.close()


def _write(settings: Settings, file: ExportFile, clients: Any, overflow: Overflow | None, now_seconds: int) -> None:
    begun = bool(file.entries or file.after)
    while file.after is not None or not begun:
        begun = True
        start = {"ExclusiveStartKey": file.after} if file.after is not None else {}
        reply = clients.dynamodb().scan(
            TableName=settings.table,
            FilterExpression="#kind = :entry AND begins_with(#namespace, :namespace) AND attribute_not_exists(erased)",
            ExpressionAttributeNames={"#kind": "kind", "#namespace": "namespace"},
            ExpressionAttributeValues={":entry": {"S": "ENTRY"}, ":namespace": {"S": f"{settings.namespace}/"}},
            **start,
        )
        alive = [item for item in reply["Items"] if not _is_over(item, now_seconds)]
        file.add([(item, _body(item, overflow)) for item in alive], reply.get("LastEvaluatedKey"))
        living_line(f"hookcache export: {counted(file.entries, 'entry', 'entries')}")
    file.finish()


def _is_over(item: Item, now_seconds: int) -> bool:
    """False where it cannot be read: an import tells such an item as damaged."""
    try:
        return int(item["ttl"]["N"]) <= now_seconds
    except (KeyError, TypeError, ValueError):
        return False


def _body(item: Item, overflow: Overflow | None) -> bytes | None:
    if "overflow" not in item or overflow is None:
        return None
    try:
        name, size_bytes = item["overflow"]["S"], int(item["stored_bytes"]["N"])
    except (KeyError, TypeError, ValueError):
        return None  # somebody else wrote it
    return overflow.get(name, size_bytes)


def _complain(text: str) -> int:
    print(f"hookcache export: {text}", file=sys.stderr)
    return 1
