"""
How `erase`, `invalidate` and `mode` reach a deployed cache.

    --function GENAIIDP-cache-x     the erase function of that stack, hookcache-erase-x, if it is deployed; else the table
                                    and secret that the wrapper's own environment names, with the caller's rights
    --through hookcache-erase-x     that erase function: the caller needs no right but to invoke it
    --direct                        the table and secret, even if there is an erase function
    (none)                          the table and secret that HOOKCACHE_* variables of this shell name

Both ways take the same commands (`hookcache/commands.py`) and give the same reports.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, HTTPClientError

from hookcache.assembly import Assembly
from hookcache.commands import RESERVE_SECONDS, Commands
from hookcache.erasable import ErasableItems
from hookcache.errors import ConfigurationError
from hookcache.settings import PREFIX, Settings
from hookcache_ops.bad_input import BadInput
from hookcache_ops.cures import LOG_IN, NETWORK, cure, told_by
from hookcache_ops.output import one_line

if TYPE_CHECKING:
    import argparse

    from hookcache.clock import Clock

WRAPPER_PREFIX, ERASE_PREFIX = "GENAIIDP-cache-", "hookcache-erase-"
SLICE_SECONDS = 5.0
"""A direct erase reports its progress so often."""
LAMBDA_SECONDS = 910.0
SHELL = "this shell's HOOKCACHE_* variables"


class ReachError(BadInput):
    """The cache cannot be reached as asked; the text says what to do."""


class Reach(Protocol):
    """A deployed cache that takes commands."""

    @property
    def where(self) -> str:
        """Which one, and by which way, in words."""

    def ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """The report; one with `finished` false asks to be asked again."""


@dataclass(frozen=True, slots=True)
class Direct:
    """Table and secret with the caller's own rights."""

    commands: Callable[[Any, Any], dict[str, Any]]
    where: str

    def ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        return _with_remedy(
            self.commands(dict(command), _Slice()), "check your rights on its table and secret, and the region"
        )


class _Slice:
    """A Lambda context with little time, so that long erases come back now and then."""

    def __init__(self) -> None:
        self._end = time.monotonic() + SLICE_SECONDS + RESERVE_SECONDS

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._end - time.monotonic()) * 1000))


@dataclass(frozen=True, slots=True)
class Through:
    """The erase function, which acts under its own role."""

    client: Any
    function: str
    where: str

    def ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        try:
            reply = self.client.invoke(FunctionName=self.function, Payload=json.dumps(dict(command)).encode())
        except (ClientError, BotoCoreError) as error:
            raise ReachError(
                _remedy(error, self.function, "ask for lambda:InvokeFunction on it, or add --direct")
            ) from None
        try:
            report = json.loads(reply["Payload"].read())
        except (ValueError, RecursionError):
            report = None
        if reply.get("FunctionError") or not isinstance(report, dict):
            kind = report.get("errorType", "no report") if isinstance(report, dict) else "no report"
            raise ReachError(f"{self.function} failed ({kind}); its log says why, or run again with --direct")
        # A hook answers whatever it is asked, some with the event itself: only a report has what no command has.
        told = "keys" if command["command"] == "erase" else "not_before_ms"
        if "error" not in report and not (report.get("command") == command["command"] and told in report):
            raise ReachError(
                f"{self.function} is no erase function; the cache was not asked. Name one that is called {ERASE_PREFIX}..., or "
                "the wrapper with --function"
            )
        return _with_remedy(report, f"check what the role of {self.function} may do on table and secret")


def _with_remedy(report: dict[str, Any], rights: str) -> dict[str, Any]:
    """A cache that could not be asked is told with what to do, where it does not say so itself."""
    told = str(report.get("error", ""))
    return (
        {**report, "error": f"{told}; {cure(told, rights)}"}
        if report.get("fault") == "cache" and ";" not in told
        else report
    )


def add_reach_arguments(parser: argparse.ArgumentParser) -> None:
    """The same for every command that reaches a deployed cache."""
    group = parser.add_argument_group("which cache (default: the HOOKCACHE_* variables of this shell)")
    group.add_argument("--function", metavar="NAME", help="the wrapper, such as GENAIIDP-cache-ocr")
    group.add_argument("--through", metavar="NAME", help="its erase function, such as hookcache-erase-ocr")
    group.add_argument("--direct", action="store_true", help="table and secret with your own rights, no erase function")


def confirmed(told: str, question: str, otherwise: str) -> bool:
    """
    Whether whoever is there says yes; `otherwise` is said where not.

    Raises:
        BadInput: nobody is there.
    """
    if not sys.stdin.isatty():
        raise BadInput("nobody is there to confirm; add --yes, or look first with --dry-run")
    print(f"{told}\n{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in {"y", "yes"}:
        return True
    print(otherwise, file=sys.stderr)
    return False


def refused(report: Mapping[str, Any], name: str) -> int:
    """Say what a cache has against a command, and whose fault it is: the exit status. `name` is the command's own."""
    print(f"hookcache {name}: {one_line(str(report['error']))}", file=sys.stderr)
    return 2 if report.get("fault") == "command" else 1


def reach_of(args: argparse.Namespace, client: Any = None, environ: Mapping[str, str] | None = None) -> Reach:
    """
    The cache that the arguments name.

    Raises:
        ReachError: it cannot be found, or not by these arguments.
    """
    environ = os.environ if environ is None else environ
    if args.through and args.direct:
        raise ReachError("--through and --direct exclude each other; give one of them")
    try:
        if not (args.function or args.through):
            return _direct(environ, SHELL)
        client = client if client is not None else _lambda_client()
        if args.through:
            return Through(client, args.through, f"through {args.through}")
        variables = _variables(client, args.function, through=True)
        eraser = None if args.direct else _eraser_of(client, args.function)
        if eraser is not None:
            return Through(client, eraser, f"through {eraser}")
        return _direct(variables, f"the variables of {args.function}")
    except BotoCoreError as error:
        raise ReachError(_unasked(error)) from None


def variables_of(function: str) -> Mapping[str, str]:
    """
    The environment of a deployed function, whose table and secret a command then uses with the caller's own rights.

    Raises:
        ReachError: it cannot be found or read.
    """
    try:
        return _variables(_lambda_client(), function)
    except BotoCoreError as error:
        raise ReachError(_unasked(error)) from None


def variables_for(args: argparse.Namespace) -> dict[str, str]:
    """
    The HOOKCACHE_* variables of `--function`, else of this shell.

    Raises:
        ReachError: they cannot be read, or name no table.
    """
    if args.function:
        return _own(variables_of(args.function), f"the variables of {args.function}")
    return _own(os.environ, SHELL)


def require_wrapper(settings: Settings) -> None:
    """
    Raises:
        ReachError: a decorator or layer is at work there, whose keys nobody makes from outside.
    """
    if not settings.backend:
        raise ReachError(
            f"no {PREFIX}BACKEND is named: which code answers inside a decorator or layer cannot be seen from outside; "
            "give a wrapper's name"
        )


def patient_assembly(
    settings: Settings, environ: Mapping[str, str], clients: Any, clock: Clock | None = None
) -> Assembly:
    """A function's parts as an operator uses them: from far away, and through a spell of throttling (F3 is about requests)."""
    assembly = Assembly(settings, environ, clients, clock)
    assembly.items = ErasableItems(clients.dynamodb, settings.table, assembly.clock, assembly.spending)
    return assembly


def _direct(variables: Mapping[str, str], whence: str) -> Direct:
    try:
        settings = Settings.of(_own(variables, whence))
    except ConfigurationError as error:
        raise ReachError(str(error)) from None
    return Direct(Commands(settings), f"in table {settings.table}, namespace {settings.namespace}")


def _own(variables: Mapping[str, str], whence: str) -> dict[str, str]:
    """Those that are ours, a table among them."""
    own = {name: value for name, value in variables.items() if name.startswith(PREFIX)}
    if f"{PREFIX}TABLE" not in own:
        raise ReachError(f"{whence} name no table; give --function with the wrapper's name, or set {PREFIX}TABLE")
    return own


def _variables(client: Any, function: str, *, through: bool = False) -> Mapping[str, str]:
    """The function's environment; `through`: the command has another way, its erase function."""
    denied = "ask for lambda:GetFunctionConfiguration on it"
    if through:
        denied = "ask for lambda:InvokeFunction on the erase function, and --through it"
    try:
        reply = client.get_function_configuration(FunctionName=function)
    except ClientError as error:
        raise ReachError(_remedy(error, function, denied)) from None
    environment: Mapping[str, Any] = reply.get("Environment") or {}
    if "Error" in environment:
        other = ", or --through" if through else ""
        raise ReachError(f"the environment of {function} cannot be read; you need kms:Decrypt on its key{other}")
    variables: Mapping[str, str] = environment.get("Variables") or {}
    return variables


def _eraser_of(client: Any, function: str) -> str | None:
    """The erase function that belongs to a wrapper by name; None where it is not deployed."""
    name = function.split(":function:")[-1].split(":")[0]
    if not name.startswith(WRAPPER_PREFIX):
        return None
    eraser = ERASE_PREFIX + name.removeprefix(WRAPPER_PREFIX)
    try:
        client.get_function_configuration(FunctionName=eraser)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
            return None
        raise ReachError(f"{eraser} cannot be looked up; add --through {eraser} or --direct") from None
    return eraser


def _unasked(error: BotoCoreError) -> str:
    """Why the SDK asked nobody, and the remedy."""
    told = told_by(error)
    unheard = isinstance(error, (EndpointConnectionError, HTTPClientError))
    return f"{told}; {NETWORK if unheard else cure(told, LOG_IN)}"


def _remedy(error: ClientError | BotoCoreError, function: str, denied: str) -> str:
    """What a function's refusal means; `denied` is what to do where a right is missing."""
    if isinstance(error, BotoCoreError):
        return _unasked(error)
    code = error.response.get("Error", {}).get("Code", "")
    if code == "ResourceNotFoundException":
        return f"there is no function {function} in this region; check the name and AWS_REGION"
    if code in {"AccessDeniedException", "AccessDenied"}:
        return f"you may not use {function} ({code}); {denied}"
    return f"{function} cannot be asked ({code}); {cure(code, 'check its name, AWS_PROFILE and AWS_REGION')}"


def _lambda_client() -> Any:
    # One attempt: an erase may run for minutes, and a repeat by the SDK would run beside the first.
    limits = Config(connect_timeout=5, read_timeout=LAMBDA_SECONDS, retries={"total_max_attempts": 1})
    return boto3.client("lambda", config=limits)
