"""
The command line `hookcache`: arguments go to one command, whose return value is the exit status.

    0  done        1  done, and the finding is bad (or interrupted)        2  bad input; one line says what to do

A command is a module with `add_arguments(parser)` and `run(args) -> int`, which raises `BadInput`. It is imported only when
it is called, so that no command pays for another's libraries. To add one, add its line to `COMMANDS`.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
import threading
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TextIO, cast

from hookcache import __version__
from hookcache.errors import ConfigurationError
from hookcache_ops.bad_input import BadInput
from hookcache_ops.output import PlainStream, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

INTERRUPTED = 1
BAD_INPUT = 2
ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))  # Windows has one


@dataclass(frozen=True, slots=True)
class Command:
    """A word of the command line, the module behind it, and its line in `hookcache --help`."""

    name: str
    module: str
    help: str


COMMANDS: tuple[Command, ...] = (
    Command(
        "demo", "hookcache_ops.demo", "send real pages through the cache on this machine: miss, memory hit, table hit"
    ),
    Command(
        "report", "hookcache_ops.report", "what was spent and saved, and what it would have cost without the cache"
    ),
    Command(
        "explain", "hookcache_ops.explain", "why requests missed: two events or receipts, one event, or a whole log"
    ),
    Command(
        "dashboard",
        "hookcache_ops.dashboard",
        "draw the CloudWatch dashboard from receipts, as one HTML page that opens offline",
    ),
    Command(
        "simulate",
        "hookcache_ops.simulate",
        "replay a log under other settings: hit ratio, backend calls, money and latency of each",
    ),
    Command(
        "review",
        "hookcache_ops.review",
        "what the truth check found: how often a kept answer is still what the backend says",
    ),
    Command("warm", "hookcache_ops.warm", "fill the cache from finished work: requests and the answers they got"),
    Command(
        "export",
        "hookcache_ops.export",
        "write a namespace's entries to a file, for another secret, namespace or table",
    ),
    Command(
        "import",
        "hookcache_ops.import_entries",
        "take the entries of an export over, under this wrapper's secret, namespace and table",
    ),
    Command(
        "doctor", "hookcache_ops.doctor", "examine a deployed wrapper, layer or decorator, and say what to correct"
    ),
    Command(
        "prices",
        "hookcache_ops.prices_command",
        "print the price rows that the host needs for a wrapper, or check a price table",
    ),
    Command(
        "erase",
        "hookcache_ops.erase",
        "remove what was kept of a page image, a request or a key, and forbid its return",
    ),
    Command(
        "invalidate", "hookcache_ops.invalidate", "make the answers for a step, or all of them, unreachable at once"
    ),
    Command(
        "mode",
        "hookcache_ops.mode",
        "switch the cache between on, observe, read_only, write_only and off, without a redeploy",
    ),
    Command(
        "workflow",
        "hookcache_ops.workflow",
        "run the Step Functions workflows on this machine, twice each: the second time without the backend",
    ),
)


class CommandModule(Protocol):
    """What a command's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


@contextmanager
def _region_as_told() -> Iterator[None]:
    """AWS_REGION goes before AWS_DEFAULT_REGION and the profile, as in AWS's own command line; boto3 alone never reads it."""
    told, before = os.environ.get("AWS_REGION"), os.environ.get("AWS_DEFAULT_REGION")
    if told:
        os.environ["AWS_DEFAULT_REGION"] = told
    try:
        yield
    finally:
        if told:
            os.environ.pop("AWS_DEFAULT_REGION")
            os.environ.update({} if before is None else {"AWS_DEFAULT_REGION": before})


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end a command by way of every `finally`, as Ctrl-C does: what is half written is taken away."""

    def end(number: int, _: object) -> NoReturn:
        for each in ours:
            signal.signal(each, signal.SIG_IGN)  # once: a second one would cut the tidying short
        raise SystemExit(128 + number)

    here = threading.current_thread() is threading.main_thread()  # no other may change a handler
    ours = [each for each in ENDINGS if here and signal.getsignal(each) is signal.SIG_DFL]  # not what nohup ignores
    for each in ours:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def _streams() -> Iterator[None]:
    """Whatever a command may ask of its streams: they are there, take every character, and show it without obeying it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller, as some schedulers do
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for the process's life
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Terminals of other encodings, and halves of characters, which prompts and answers may hold.
        sys.stdout.reconfigure(errors="backslashreplace")
    out, err = (cast("TextIO", PlainStream(stream)) for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(out), redirect_stderr(err):
        yield


@_region_as_told()
@_ended_in_order()
@_streams()
def main(argv: Sequence[str] | None = None, commands: Iterable[Command] = COMMANDS) -> int:
    """Run one command and return the exit status; `argv` without the program's name, default: that of the process."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        parser, called = _parser(arguments, tuple(commands))
        args = _parsed(parser, arguments)
        if called is None:
            parser.print_help()
            return 0
        if read := _read_and_written(args):
            return _ended(BAD_INPUT, f"hookcache: -o would replace {read}, which is read: name another file")
        status = called(args)
        print(end="", flush=True)
    except (BadInput, ConfigurationError) as error:
        return _ended(BAD_INPUT, f"{args.parser.prog}: {one_line(str(error))}")
    except KeyboardInterrupt:
        return _ended(INTERRUPTED, "Interrupted.")
    except BrokenPipeError:
        # Our reader, such as `head`, has seen enough.
        _drop(sys.stdout)
        return INTERRUPTED
    except ValueError as error:
        if not str(error).startswith("Invalid endpoint: "):  # the SDK's own check of an address
            raise
        remedy = "correct AWS_ENDPOINT_URL, or endpoint_url in the profile: http://HOST or https://HOST"
        return _ended(BAD_INPUT, f"hookcache: {error}; {remedy}")
    except OSError as error:
        # No command foresaw it: a full disk behind `>`, a file that went away while it was read.
        where = f"{one_line(str(error.filename))}: " if error.filename else ""
        why = error.strerror or str(error) or type(error).__name__
        _drop(sys.stdout)
        return _ended(BAD_INPUT, f"hookcache: {where}{why}; make room there, or use another place that may be written")
    return status


def _ended(status: int, why: str) -> int:
    """The status, and its line on standard error; where that has no room, the status tells it alone."""
    _say(f"{why}\n")
    return status


def _say(text: str) -> None:
    """On standard error, as far as it takes it; what stays in its buffer would end the process with 120."""
    try:
        print(text, end="", file=sys.stderr, flush=True)
    except OSError:
        _drop(sys.stderr)


def _parsed(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments; files may stand behind options as well, where the parser takes them from one place only."""
    args, unknown = parser.parse_known_args(arguments)
    if hasattr(args, "sources") and not any(each.startswith("-") and each != "-" for each in unknown):
        args.sources += unknown
    elif unknown:
        getattr(args, "parser", parser).error(f"unrecognized arguments: {' '.join(unknown)}")
    return args


def _read_and_written(args: argparse.Namespace) -> str | None:
    """The file among the other arguments that `--output` names as well: a log would be gone for the report on it."""
    given = vars(args)
    output = given.get("output")
    if not isinstance(output, str) or not os.path.isfile(output):
        return None
    others = [value for name, value in given.items() if name != "output"]
    told = [each for value in others for each in (value if isinstance(value, list) else [value])]
    return next(
        (each for each in told if isinstance(each, str) and os.path.isfile(each) and os.path.samefile(each, output)),
        None,
    )


def _drop(stream: TextIO) -> None:
    """What is still buffered must not fail once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as commands do, and not beneath ten lines of usage."""

    def _print_message(self, message: str, file: Any = None) -> None:
        """Help and release, written out at once: argparse's own passes over a full disk, as it may for a word on stderr."""
        if file is sys.stdout:
            print(message, end="", flush=True)
        else:
            _say(message)

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser(
    arguments: Sequence[str], commands: Sequence[Command]
) -> tuple[argparse.ArgumentParser, Callable[[argparse.Namespace], int] | None]:
    """The parser with the arguments of the command that is called, and that command's `run`."""
    parser = _Parser(
        prog="hookcache",
        description="Tools around hookcache, a caching and metering layer in front of LambdaHook functions.",
        epilog="example:\n  hookcache demo\n\n`hookcache COMMAND --help` shows a command's own options and an example.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hookcache {__version__}")
    chosen = parser.add_subparsers(title="commands", metavar="COMMAND")
    name = next((argument for argument in arguments if not argument.startswith("-")), None)
    called = None
    for command in commands:
        own = chosen.add_parser(
            command.name,
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if command.name == name:
            module = cast("CommandModule", importlib.import_module(command.module))
            module.add_arguments(own)
            own.set_defaults(parser=own)
            called = module.run
    return parser, called


if __name__ == "__main__":
    raise SystemExit(main())
