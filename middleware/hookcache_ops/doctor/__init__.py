"""
`hookcache doctor`: a deployed function against what it needs to work; each finding with its remedy.

Reads configuration only, with the caller's own rights, and changes nothing. What may not be looked at is listed with the
right that is missing. Endpoints come from the environment, so a local stack is examined in the same way.
"""

from __future__ import annotations

import argparse
import json
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from hookcache.errors import ConfigurationError
from hookcache.limits import HOST_SECONDS
from hookcache.prices import PriceTable
from hookcache_ops.cures import cure
from hookcache_ops.doctor import chain, images, stack, storage
from hookcache_ops.doctor.finding import Finding, Severity, Unseen
from hookcache_ops.doctor.orders import orders
from hookcache_ops.doctor.patient import Asker, Clients, NotExamined, Patient
from hookcache_ops.doctor.price_rows import prices
from hookcache_ops.doctor.rights import rights
from hookcache_ops.output import one_line, terminal_width

EXAMPLE = """examples:
  hookcache doctor hookcache-chandra                        the stack's wrapper
  hookcache doctor --function GENAIIDP-cache-chandra --prices pricing.yaml
  hookcache doctor --function GENAIIDP-cache-chandra --host-timeout 60 --json

exit status: 0 nothing to correct, 1 findings, 2 it could not be examined. Notes and checks that were not possible are
printed and leave it 0.
"""

Check = Callable[[Patient], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    chain.name,
    chain.settings,
    chain.handler,
    chain.times,
    chain.memory,
    chain.backend,
    chain.modes,
    stack.behind_alias,
    stack.alarms,
    rights,
    storage.table,
    storage.restore,
    storage.overflow,
    storage.secret,
    storage.log,
    images.prefixes,
    images.buckets,
    orders,
    prices,
)


@dataclass(frozen=True, slots=True)
class Examination:
    """What came of it: the function, its state in a few words, findings by weight, and what was not seen."""

    function: str
    facts: Mapping[str, Any]
    findings: tuple[Finding, ...]
    unseen: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """True where nothing has to be corrected."""
        return all(finding.severity is Severity.NOTE for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        return {
            "function": self.function,
            **self.facts,
            "ok": self.sound,
            "findings": [finding.to_json() for finding in self.findings],
            "unchecked": list(self.unseen),
        }


def examine(patient: Patient, checks: Sequence[Check] = CHECKS) -> Examination:
    """
    Run every check; one that cannot be done ends alone.

    Raises:
        NotExamined: there is no such function, or it may not be looked at.
    """
    patient.configuration  # noqa: B018 - asked first: without it there is nothing to examine
    findings: list[Finding] = []
    unseen: list[str] = []
    for check in checks:
        try:
            for finding in check(patient):
                findings.append(finding)  # noqa: PERF402 - what was found before the check ended counts
        except Unseen as trouble:
            unseen.append(str(trouble))
    weight = list(Severity)
    ordered = sorted(dict.fromkeys(findings), key=lambda finding: weight.index(finding.severity))
    return Examination(patient.name, _facts(patient), tuple(ordered), tuple(dict.fromkeys(unseen)))


def _facts(patient: Patient) -> dict[str, Any]:
    settings = patient.settings
    if settings is None:
        return {}
    return {
        "backend": settings.backend or None,
        "mode": settings.mode.value,
        "namespace": settings.namespace,
        "generation": settings.generation,
        "identity": settings.identity,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("stack", nargs="?", metavar="STACK", help="a stack made from hookcache's template")
    parser.add_argument("--function", metavar="NAME", help="the wrapper, or the function with the layer or decorator")
    parser.add_argument(
        "--prices",
        metavar="TABLE",
        help="the host's price table: has it this function's rows? (default: the table that the function reads)",
    )
    parser.add_argument(
        "--working-bucket", metavar="BUCKET", help="the host's working bucket (default: the stack's IDPWorkingBucket)"
    )
    parser.add_argument(
        "--host-timeout",
        metavar="SECONDS",
        type=float,
        default=float(HOST_SECONDS),
        help="how long the host waits for a hook: 840, on old hosts 60 (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def run(args: argparse.Namespace) -> int:
    """
    0 nothing to correct, 1 findings.

    Raises:
        NotExamined: it could not be examined.
    """
    examination = examine(_patient(args, Asker(Clients())))
    print(json.dumps(examination.to_json(), indent=2) if args.json else _text(examination, terminal_width()))
    return 0 if examination.sound else 1


def _patient(args: argparse.Namespace, ask: Asker) -> Patient:
    if bool(args.stack) == bool(args.function):
        raise NotExamined("name either the stack or, with --function, the function; see hookcache doctor --help")
    if not 0 < args.host_timeout < math.inf:
        raise NotExamined("--host-timeout must be a number of seconds above 0, such as 840 or 60")
    rows = None if args.prices is None else _price_rows(args.prices)
    function, parameters = (args.function, {}) if args.function else _of_stack(ask, args.stack)
    bucket = args.working_bucket or parameters.get("IDPWorkingBucket", "")
    return Patient(ask, function, bucket, rows, args.host_timeout, parameters, args.prices or "")


def _price_rows(path: str) -> Mapping[str, Mapping[str, Decimal]]:
    try:
        return PriceTable.parse(Path(path).read_text(encoding="utf-8")).rows
    except (OSError, UnicodeDecodeError) as trouble:
        told = getattr(trouble, "strerror", None) or "no text"
        raise NotExamined(f"{path}: {told}; give a price table in the host's format") from None
    except ConfigurationError as trouble:
        raise NotExamined(f"{path}: {' '.join(str(trouble).split())}") from None


def _of_stack(ask: Asker, stack: str) -> tuple[str, dict[str, str]]:
    """The wrapper and the parameters of a stack."""
    remedy = "check the name and AWS_REGION, or give --function"
    try:
        found = ask(f"stack {stack}", "cloudformation", "describe_stacks", StackName=stack)
    except Unseen as trouble:
        raise NotExamined(f"{trouble}; {cure(trouble.needed, remedy)}") from None
    if not found or not found.get("Stacks"):
        raise NotExamined(f"there is no stack {stack}; {remedy}")
    outputs = {each["OutputKey"]: each["OutputValue"] for each in found["Stacks"][0].get("Outputs", [])}
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in found["Stacks"][0].get("Parameters", [])}
    if "FunctionName" not in outputs:
        raise NotExamined(f"stack {stack} has no output FunctionName, so it is none of hookcache; {remedy}")
    return outputs["FunctionName"], parameters


def _text(examination: Examination, width: int | None = None) -> str:
    """For a terminal of this width; without one, as for a file, nothing is broken over lines."""
    lines = [f"{examination.function}"]
    if examination.facts:
        lines[0] += ": " + ", ".join(f"{name} {value}" for name, value in examination.facts.items() if value)
    for finding in examination.findings:
        lines += [f"{finding.severity.value:<7} {finding.id}: {finding.wrong}", f"        -> {finding.remedy}"]
    lines += [f"        {each}" for each in examination.unseen]
    found = sum(finding.severity is not Severity.NOTE for finding in examination.findings)
    lines.append("Nothing to correct." if found == 0 else f"{found} to correct.")
    lines = [one_line(line) for line in lines]
    if width is not None:
        lines = [textwrap.fill(line, width, subsequent_indent=8 * " ", break_on_hyphens=False) for line in lines]
    return "\n".join(lines)
