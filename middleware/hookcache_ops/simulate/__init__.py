"""
`hookcache simulate`: a log replayed under other settings: hit ratio, backend calls, money and latency of each.

    receipts, or payloads of the host -> Log (sums of all, a sample) -> Replay of each Scenario -> Verdict, curve -> text, JSON, page

Small logs are replayed whole, large ones by a sample of their keys, with its error (`sampling`, `tally`).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hookcache.errors import ConfigurationError
from hookcache.prices import Prices, PriceTable
from hookcache_ops.output import terminal_width, whole_file
from hookcache_ops.receipts import SourceError
from hookcache_ops.simulate import page, render
from hookcache_ops.simulate.curve import curve, usual_sizes
from hookcache_ops.simulate.deployed import DEPLOYED, Deployed, deployed, fitted
from hookcache_ops.simulate.log import Log, read_log
from hookcache_ops.simulate.payloads import Payloads, folder_of, read_payloads
from hookcache_ops.simulate.progress import ReplayProgress
from hookcache_ops.simulate.sampling import SPAN, Sample
from hookcache_ops.simulate.scenario import SIMULATED, Scenario, of_file, scenario_of
from hookcache_ops.simulate.verdict import Verdict, compare
from hookcache_ops.simulate.whatifs import asked_for, check_traced, distinct, usual
from hookcache_ops.sources import NO_RECEIPTS, add_source_arguments, period_of, progress_to_terminal, sources_of

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLE = """examples:
  hookcache simulate function.log
  hookcache simulate export/ --since 30d -o simulate.html
  hookcache simulate function.log --deployed memory_bytes=16777216 --memory-bytes 33554432,67108864
  hookcache simulate function.log --fresh-seconds 86400,2592000 --images-only OCR --json
  hookcache simulate function.log --scenario scenarios.yaml
  hookcache simulate payloads.jsonl --images pages/ --prices prices.yaml --price-as bedrock/us.amazon.nova-pro-v1:0

a scenario file:
  deployed: {fresh_seconds: 604800, memory_bytes: 67108864}    # what the log was made under
  scenarios:
    - {name: a month for OCR, policy: {OCR: {fresh_seconds: 2592000}}}
    - {name: four environments, environments: 4, memory_bytes: 134217728}
    - {name: apart by function, split: function}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    add_source_arguments(parser, "; JSON lines of time and event (payloads of the host) as well")
    parser.add_argument("--fresh-seconds", type=_numbers, metavar="N,N", help="what if answers stayed fresh so long")
    parser.add_argument("--memory-bytes", type=_numbers, metavar="N,N", help="what if the memory tier were so large")
    parser.add_argument("--memory-seconds", type=_numbers, metavar="N,N", help="what if copies in memory lived so long")
    parser.add_argument(
        "--environments", type=_numbers, metavar="N,N", help="what if the requests were spread evenly over so many"
    )
    parser.add_argument(
        "--images-only", type=_words, metavar="STEP,STEP", help="what if the key of these steps were the images alone"
    )
    parser.add_argument(
        "--merge-namespaces", action="store_true", help="what if the functions in the log shared their answers"
    )
    parser.add_argument("--scenario", metavar="FILE", help="scenarios as YAML or JSON: see below")
    parser.add_argument(
        "--deployed",
        type=_setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"a setting the log was made under: {', '.join(SIMULATED)} (default: what the log betrays, else the default)",
    )
    parser.add_argument(
        "--sample",
        type=_rate,
        default="auto",
        metavar="auto|exact|RATE",
        help="replay a bounded sample of a large log, all of it, or this share of its keys (default: auto)",
    )
    parser.add_argument("--payloads", action="store_true", help="the lines are payloads of the host (standard input)")
    parser.add_argument("--images", metavar="FOLDER", help="page images of payloads, by the last part of their URI")
    parser.add_argument("--prices", metavar="FILE", help="price table in the host's format, for payloads with answers")
    parser.add_argument("--price-as", default="", metavar="ROW", help="the row that the usage is charged at")
    parser.add_argument(
        "-o", "--output", metavar="PAGE", help="write the figures and the curve as an HTML page as well"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """0 the figures are printed, 1 nothing to replay was found."""
    told, wished = _scenario_file(args)
    log = _read(args, told)
    if not log.requests:
        print(f"hookcache simulate: {NO_RECEIPTS}; or JSON lines with time and event", file=sys.stderr)
        return 1
    base = fitted(deployed(told, log.in_time if not log.payloads else ()), told, log)
    scenarios = _scenarios(base, log, args, wished)
    verdict, points = _replay(base, scenarios, log, args)
    shown = (verdict, log, points, base)
    if args.output:
        with whole_file(Path(args.output)) as file:
            file.write(page.build(*shown))
    if args.json:
        print(json.dumps(render.to_json(*shown), indent=2))
    else:
        print(render.text(*shown, terminal_width()), end="")
        print(f"Page: {args.output}\n" if args.output else "", end="")
    return 0


def _scenario_file(args: argparse.Namespace) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    """The deployed settings that were told, and the entries of the scenario file."""
    told: Mapping[str, Any] = {}
    wished: list[Mapping[str, Any]] = []
    if args.scenario:
        try:
            text = Path(args.scenario).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "no text"
            raise SourceError(f"{args.scenario}: {why}; give a scenario file as in --help") from None
        told, wished = of_file(text, args.scenario)
    told = {**told, **dict(args.deployed)}
    base = deployed(told, ()).scenario
    for entry in wished:
        scenario_of(entry, base)  # a mistake in it is told before a long log is read
    return told, wished


def _read(args: argparse.Namespace, told: Mapping[str, Any]) -> Log:
    sources = sources_of(args)
    period = period_of(args)
    progress = progress_to_terminal("simulate")
    payloads = Payloads(deployed(told, ()).scenario, _prices(args), folder_of(args.images))
    if not args.payloads:
        log = read_log(sources, _sample(args.sample), period, progress)
        if log.requests and (args.prices or args.images):
            raise SourceError("--prices and --images are for payloads; these are receipts, which name costs and images")
        if log.requests or "-" in sources:
            return log
    return read_payloads(sources, payloads, _sample(args.sample), period, progress)


def _sample(told: str | float) -> Sample:
    if told == "auto":
        return Sample()
    return Sample(SPAN if told == "exact" else max(1, round(float(told) * SPAN)), most=None)


def _prices(args: argparse.Namespace) -> Prices | None:
    if not args.prices:
        if args.price_as:
            raise SourceError("--price-as names a row of the table in --prices; give both, or neither")
        return None
    try:
        table = PriceTable.parse(Path(args.prices).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ConfigurationError) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise SourceError(f"{args.prices}: {why}; give a price table in the host's format") from None
    if args.price_as not in table.rows:
        raise SourceError(
            f"--price-as {args.price_as!r} is no row of {args.prices}; it has {', '.join(list(table.rows)[:5])}"
        )
    return Prices(args.price_as, lambda: table)


def _scenarios(base: Deployed, log: Log, args: argparse.Namespace, wished: list[Mapping[str, Any]]) -> list[Scenario]:
    found = [check_traced(scenario_of(entry, base.scenario), log) for entry in wished]
    found += asked_for(base.scenario, log, args)
    return distinct(found or usual(base, log))


def _replay(base: Deployed, scenarios: list[Scenario], log: Log, args: argparse.Namespace) -> tuple[Verdict, list[Any]]:
    sizes = sorted({*usual_sizes(base.scenario, log), *(args.memory_bytes or ())})
    progress = ReplayProgress(len(log.in_time) * (1 + len(scenarios) + len(sizes)))
    try:
        verdict = compare(base, scenarios, log, progress.on)
        points = curve(base, log, sizes, lambda done: progress.on("memory curve", done))
    finally:
        progress.close()
    return verdict, points


def _numbers(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers; write 86400 or 86400,2592000")
    return found


def _words(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    name = name.strip().lower().removeprefix("hookcache_")
    if name not in SIMULATED or not value:
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=VALUE with a name among {', '.join(SIMULATED)}")
    return name, value


def _rate(text: str) -> str | float:
    if text in {"auto", "exact"}:
        return text
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: write auto, exact, or a share of the keys such as 0.1")
    return rate


__all__ = ["DEPLOYED", "add_arguments", "run"]
