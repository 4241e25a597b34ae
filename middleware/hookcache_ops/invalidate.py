"""
`hookcache invalidate`: make answers unreachable at once, by step and time or by generation, without deleting any.

    hard (default)    answers made before the time are never served again
    --soft            they are served only in place of an error, where `stale_if_error` is on for the step
    --generation G    another word in every key: earlier answers are out of reach until the word is put back

Every environment follows within a minute and needs no redeploy. An invalidation cannot be taken back; a generation can.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hookcache.orders import ALL_CONTEXTS
from hookcache.request import METERED_CONTEXTS
from hookcache_ops.bad_input import BadInput
from hookcache_ops.reach import Reach, ReachError, add_reach_arguments, confirmed, reach_of, refused
from hookcache_ops.times import moment_ms, now_ms, spelt

EXAMPLE = """examples:
  hookcache invalidate --context OCR --function GENAIIDP-cache-ocr
  hookcache invalidate --all --before 2026-11-01T08:00Z --function GENAIIDP-cache-ocr
  hookcache invalidate --context Extraction --before 2h --soft --function GENAIIDP-cache-ocr
  hookcache invalidate --generation 2 --function GENAIIDP-cache-ocr
  hookcache invalidate --own-generation --function GENAIIDP-cache-ocr
"""
CONTEXT_WORDS = tuple(sorted(METERED_CONTEXTS))
_GENERATION = re.compile(r"[A-Za-z0-9._-]{1,64}")


def add_scope_arguments(parser: argparse.ArgumentParser) -> None:
    """By namespace, step and time: the same for `erase` and `invalidate`."""
    group = parser.add_argument_group("by scope: nothing is deleted, but never served again")
    group.add_argument(
        "--namespace", metavar="NAME", help="the cache's namespace: all of it, or a guard for the others"
    )
    group.add_argument("--context", choices=CONTEXT_WORDS, metavar="STEP", help=f"one step: {', '.join(CONTEXT_WORDS)}")
    group.add_argument(
        "--before", metavar="TIME", help="answers made before: 2026-11-01T08:00Z or 2h (ago); default: now"
    )
    group.add_argument("--soft", action="store_true", help="still served in place of an error, where that is allowed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    add_scope_arguments(parser)
    parser.add_argument("--all", action="store_true", help="every step")
    parser.add_argument("--generation", metavar="WORD", help="put this generation into every key")
    parser.add_argument("--own-generation", action="store_true", help="back to the generation of HOOKCACHE_GENERATION")
    add_reach_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be ordered, and order nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask first")
    parser.add_argument(
        "--json", action="store_true", help="print the orders that stand then, as JSON and nothing else"
    )


def run(args: argparse.Namespace) -> int:
    """0 ordered, 1 the cache could not be asked or nobody confirmed."""
    commands = commands_of(args, now_ms())
    return carry_out(args, commands, reach_of(args), "invalidate")


def commands_of(args: argparse.Namespace, at_ms: int) -> list[dict[str, Any]]:
    """
    The commands that the arguments mean.

    Raises:
        BadInput: no scope was named, or the time cannot be read.
    """
    guard = {"namespace": args.namespace} if args.namespace else {}
    generation, own = getattr(args, "generation", None), getattr(args, "own_generation", False)
    by_time = args.context or args.namespace or getattr(args, "all", False)
    if generation and own:
        raise BadInput("--generation and --own-generation exclude each other; give one of them")
    if args.context and getattr(args, "all", False):
        raise BadInput("--context and --all exclude each other; give one of them")
    if generation and not _GENERATION.fullmatch(generation):
        raise BadInput(f"--generation {generation!r} is no word; use up to 64 letters, digits and . _ -")
    if not (by_time or generation or own):
        raise BadInput("say what to invalidate: --context STEP, --namespace NAME, --all or --generation WORD")
    commands: list[dict[str, Any]] = []
    if generation or own:
        commands.append({"command": "generation", "generation": generation or None, **guard})
    # A namespace beside a generation is a guard and no scope: it must not invalidate what the old word may bring back.
    if args.context or getattr(args, "all", False) or (args.namespace and not commands):
        # Without a time the cache's own clock says what now is: this computer's may be ahead or behind.
        before = {"before_ms": _before_ms(args.before, at_ms)} if args.before else {}
        scope = args.context or ALL_CONTEXTS
        commands.append({"command": "invalidate", "context": scope, **before, "soft": args.soft, **guard})
    elif args.before or args.soft:
        raise BadInput("--before and --soft need --context STEP, --namespace NAME or --all")
    return commands


def _before_ms(text: str, at_ms: int) -> int:
    """
    Raises:
        BadInput: it cannot be read, or lies in the future.
    """
    try:
        then = moment_ms(text, at_ms)
    except ValueError:
        raise BadInput(f"--before {text!r} is no time; write 2026-11-01, 2026-11-01T08:00Z or 2h") from None
    if then > at_ms:
        raise BadInput(f"--before {text} lies in the future; leave it out to mean now")
    return then


def carry_out(args: argparse.Namespace, commands: Sequence[Mapping[str, Any]], reach: Reach, name: str) -> int:
    """Give the orders of `commands_of`, after asking unless `--yes` was given. `name` is the command's own."""
    told = "\n".join(_in_words(command) for command in commands)
    if args.dry_run:
        asked = reach.ask({"command": "show", **({"namespace": args.namespace} if args.namespace else {})})
        if "error" in asked:  # it would be refused: better known now
            return refused(asked, name)
        would = "\n".join(f"Would be ordered: {line}" for line in told.splitlines())
        print(json.dumps({"dry_run": True, "commands": commands}, indent=2) if args.json else would)
        return 0
    try:
        if not args.yes and not confirmed(told, f"Order it {reach.where}?", "Nothing was ordered."):
            return 1
    except KeyboardInterrupt:
        print(f"\nhookcache {name}: interrupted; nothing was ordered", file=sys.stderr)
        return 1
    report: dict[str, Any] = {}
    for number, command in enumerate(commands):
        try:
            report = reach.ask(command)
        except ReachError:
            _tell_given(commands[:number])
            raise
        if "error" in report:
            _tell_given(commands[:number])
            return refused(_with_remedy(report, command), name)
    print(json.dumps(report, indent=2) if args.json else f"{told}\nEvery environment follows within a minute.")
    return 0


def _tell_given(commands: Sequence[Mapping[str, Any]]) -> None:
    """What holds although a later order failed."""
    for command in commands:
        print(f"Ordered already: {_in_words(command)}", file=sys.stderr)


def _with_remedy(report: Mapping[str, Any], command: Mapping[str, Any]) -> Mapping[str, Any]:
    """An erase function of an older release wants a time."""
    if "before_ms" in command or not str(report["error"]).startswith("before_ms: "):
        return report
    remedy = (
        "the erase function is of an older release: deploy it anew, or give --before 0s (now by this computer's clock)"
    )
    return {**report, "error": f"{report['error']}; {remedy}"}


def _in_words(command: Mapping[str, Any]) -> str:
    if command["command"] == "generation":
        word = command["generation"]
        return f"Generation {word} in every key." if word else "The generation of the settings in every key."
    scope = "every step" if command["context"] == ALL_CONTEXTS else command["context"]
    before = spelt(command["before_ms"]) if "before_ms" in command else "now"
    use = "served only in place of an error" if command["soft"] else "never served again"
    return f"Answers for {scope} made before {before} are {use}."
