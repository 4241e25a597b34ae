"""
`hookcache prices`: the table in use, the rows that the host needs for a wrapper, and a check of a table.

The host meters the wrapper, not the backend behind it, so its price table needs rows in the wrapper's name. How they must
be named depends on the host: `price_regimes.py`.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from hookcache.errors import ConfigurationError
from hookcache.prices import PriceTable, price_text
from hookcache.settings import partition_of
from hookcache_ops.bad_input import BadInput
from hookcache_ops.cures import cure, told_by
from hookcache_ops.output import one_line
from hookcache_ops.price_check import check_function, check_rows

EXAMPLE = """examples:
  hookcache prices                                        list the table in use
  hookcache prices --function GENAIIDP-cache-ocr --price-as bedrock/us.amazon.nova-pro-v1:0
  hookcache prices --function GENAIIDP-cache-ocr --price-as lambda_hook/GENAIIDP-mistral-ocr-hook \\
      --account 123456789012 --region us-east-1 --check pricing.yaml
  hookcache prices --check s3://bucket/pricing.yaml       or ssm:/name, as in HOOKCACHE_PRICES
"""
MANY = 1_000_000
_FUNCTION = re.compile(r"GENAIIDP-[A-Za-z0-9_-]{1,55}")
_ACCOUNT = re.compile(r"\d{12}")
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("--function", metavar="NAME", help="the wrapper, GENAIIDP-cache-...")
    parser.add_argument(
        "--price-as",
        metavar="ROW",
        default=os.environ.get("HOOKCACHE_PRICE_AS"),
        help="the row that the backend's usage is charged at (default: HOOKCACHE_PRICE_AS)",
    )
    parser.add_argument("--account", metavar="ID", help="with --region: also for hosts that meter the function's ARN")
    parser.add_argument("--region", help="see --account")
    parser.add_argument(
        "--prices",
        metavar="TABLE",
        default=os.environ.get("HOOKCACHE_PRICES"),
        help="the table with the backend's prices (default: HOOKCACHE_PRICES, else that of --check where it has ROW, else "
        "the shipped example)",
    )
    parser.add_argument("--check", metavar="TABLE", help="the host's price table: is the wrapper priced right in it?")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0 printed, or the table is right; 1 the check found something."""
    _validate(args)
    if args.check:
        return _check(args)
    if args.function:
        _print_rows(args)
    else:
        _print_table(_table(args.prices or example_path()), args)
    return 0


def example_path() -> str:
    """The example beside the sources, or the copy inside an installed package."""
    beside = Path(__file__).resolve().parents[2] / "docs" / "prices.example.yaml"
    return str(beside if beside.exists() else Path(__file__).with_name("prices.example.yaml"))


def rows_for(
    function: str, units: Mapping[str, Decimal], arn: str | None
) -> list[tuple[str, str, Mapping[str, Decimal]]]:
    """(why, row name, units) of every row that some host needs; all of them together harm none."""
    rows = [
        (f"hosts that match names exactly; metering key STEP/lambda_hook/{function}", f"lambda_hook/{function}", units),
        ("hosts that match names by substring, whatever the metering key spells", function, units),
    ]
    if arn is not None:
        rows.insert(
            1, (f"hosts that match names exactly; metering key STEP/lambda_hook/{arn}", f"lambda_hook/{arn}", units)
        )
    return rows


def _validate(args: argparse.Namespace) -> None:
    if args.function is not None and not _FUNCTION.fullmatch(args.function):
        raise BadInput(
            f"--function {args.function!r} is no wrapper's name; give the bare name, such as GENAIIDP-cache-ocr"
        )
    if (args.account is None) != (args.region is None):
        raise BadInput("--account and --region go together; give both or neither")
    if args.account is not None and not _ACCOUNT.fullmatch(args.account):
        raise BadInput(f"--account {args.account!r} is no account; give its 12 digits")
    if args.region is not None and not _REGION.fullmatch(args.region):
        raise BadInput(f"--region {args.region!r} is no region; write it as us-east-1")
    if not args.function and (args.account or args.price_as != os.environ.get("HOOKCACHE_PRICE_AS")):
        raise BadInput("--price-as, --account and --region are for a wrapper's rows; name it with --function")
    if args.check and args.function and not args.price_as:
        raise BadInput("--check with --function needs --price-as ROW, to know what the units should cost")


def _arn(args: argparse.Namespace) -> str | None:
    if args.account is None:
        return None
    return f"arn:{partition_of(args.region)}:lambda:{args.region}:{args.account}:function:{args.function}"


def _text(reference: str) -> str:
    """The table's text, from wherever the function itself would read it."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return price_text(reference, partial(boto3.client, "s3"), partial(boto3.client, "ssm"))
    except (BotoCoreError, ClientError) as error:
        told = told_by(error)
        raise BadInput(f"{reference}: {told}; {cure(told, 'check name, region and the right to read it')}") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no text, or s3:// without bucket and key"
        raise BadInput(f"{reference}: {why}; give a price table in the host's format") from error


def _table(reference: str) -> PriceTable:
    try:
        return PriceTable.parse(_text(reference))
    except ConfigurationError as error:
        raise BadInput(f"{reference}: {' '.join(str(error).split())}") from error


def _units(args: argparse.Namespace, checked: PriceTable | None = None) -> Mapping[str, Decimal]:
    """What the wrapper's units should cost. `checked`: the host's table, whose own row for the backend goes before an example's."""
    if not args.price_as:
        raise BadInput(
            "--price-as ROW is missing: the row that the backend is charged at; `hookcache prices` lists them"
        )
    path = args.prices or example_path()
    if checked is not None and not args.prices and args.price_as in checked.rows:
        rows = checked.rows
    else:
        rows = _table(path).rows
    if args.price_as not in rows:
        near = difflib.get_close_matches(args.price_as, rows, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else "; add it"
        raise BadInput(f"{path} has no row {args.price_as}{hint}")
    # A request is counted for hits as well: priced on the wrapper's row, every hit would be charged.
    return {unit: price for unit, price in rows[args.price_as].items() if unit != "requests"}


def _print_rows(args: argparse.Namespace) -> None:
    rows = rows_for(args.function, _units(args), _arn(args))
    if args.json:
        print(json.dumps({"pricing": [_row(name, units) | {"for": why} for why, name, units in rows]}, indent=2))
        return
    print(
        f"# Rows for the host's price table. {args.function} costs what {args.price_as} costs: add every unit that the"
    )
    print("# function may return and that is missing here. Do not price `requests`: the host counts one for each hit.")
    if args.account is None:
        print(
            "# A host that meters the function's ARN and matches exactly needs one more row: give --account and --region."
        )
    print("pricing:")
    for why, name, units in rows:
        print(f"  # For {why}")
        print(f"  - name: {name}\n    units:")
        for unit, price in units.items():
            print(f'      - name: {unit}\n        price: "{_spelt(price)}"')


def _print_table(table: PriceTable, args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps({"pricing": [_row(name, units) for name, units in table.rows.items()]}, indent=2))
        return
    print(f"For {MANY:,} of each unit, in the table's own currency:")
    for name, units in table.rows.items():
        print(f"\n{one_line(name)}")
        for unit, price in units.items():
            whole, point, part = f"{price * MANY:,.6f}".rstrip("0").partition(".")
            print(f"    {one_line(unit):<22} {whole:>7}{point if part else ''}{part}")


def _spelt(price: Decimal) -> str:
    """As price tables spell it: 3.2E-6 is read at a glance, and zeros are not counted."""
    return str(price) if price == 0 or price >= Decimal("0.001") else f"{price:E}"


def _check(args: argparse.Namespace) -> int:
    table = _table(args.check)
    raw: dict[str, Any] = yaml.safe_load(_text(args.check))
    findings = check_rows(raw["pricing"])
    if args.function:
        arn = _arn(args)
        services = [f"lambda_hook/{name}" for name in (args.function, arn) if name]
        findings += check_function(table.rows, _units(args, table), args.function, services)
    if args.json:
        print(json.dumps({"table": args.check, "findings": [finding.to_json() for finding in findings]}, indent=2))
    else:
        for finding in findings:
            print(f"{one_line(finding.text)}\n  -> {one_line(finding.remedy)}")
        what = "the wrapper is priced right" if args.function else "the table is well formed"
        print(f"{len(findings)} findings in {args.check}" if findings else f"{args.check}: {what}")
    return 1 if findings else 0


def _row(name: str, units: Mapping[str, Decimal]) -> dict[str, Any]:
    return {"name": name, "units": [{"name": unit, "price": _spelt(price)} for unit, price in units.items()]}
