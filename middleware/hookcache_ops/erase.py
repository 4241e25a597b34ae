"""
`hookcache erase`: remove what was kept of a page image, a request or a key, here and in every environment.

Digests are made on this machine; neither pages nor prompts travel. `--context` and `--namespace` remove nothing, they
forbid: that is `hookcache invalidate`, and both commands do the same there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hookcache.canonical import canonical_form
from hookcache.clients import Clients
from hookcache.clock import SystemClock
from hookcache.errors import Unkeyable
from hookcache.images import ImageReader
from hookcache.outcome import Reason
from hookcache.references import with_references
from hookcache.request import parse
from hookcache.spending import Spending
from hookcache_ops import invalidate
from hookcache_ops.bad_input import BadInput
from hookcache_ops.output import counted, one_line
from hookcache_ops.reach import (
    SLICE_SECONDS,
    Reach,
    ReachError,
    Through,
    add_reach_arguments,
    confirmed,
    reach_of,
    refused,
)
from hookcache_ops.receipts import END_OF_TIME_MS
from hookcache_ops.times import now_ms, spelt

EXAMPLE = """examples:
  hookcache erase --image page-1.jpeg --function GENAIIDP-cache-ocr --dry-run
  hookcache erase --image page-1.jpeg --image page-2.jpeg --function GENAIIDP-cache-ocr
  hookcache erase --event request.json --through hookcache-erase-ocr --yes --json
  hookcache erase --key-id 9cad8744072ba47c --function GENAIIDP-cache-ocr
  hookcache erase --context OCR --before 2026-11-01T08:00Z --function GENAIIDP-cache-ocr

Memory of running environments follows within HOOKCACHE_MEMORY_SECONDS (300 s unless you set it). Where nothing is kept of it
there is nothing to do, exit status 0; a script reads `nothing_of` in --json.
"""
SHOWN = 20
PART = 200
"""So many images, events and key ids are looked for by one call: a look-up for each takes 10 ms, and an erase function has a minute."""
LISTED = 1_000
TOTALS = ("keys", "entries", "bytes", "overflow_objects", "index_items", "fetches_stopped", "failed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    what = parser.add_argument_group("what (each may be given several times)")
    what.add_argument(
        "--image", action="append", default=[], metavar="FILE", help="a page image, byte for byte as sent"
    )
    what.add_argument(
        "--event",
        action="append",
        default=[],
        metavar="FILE",
        help="a request of the host as JSON, - for standard input",
    )
    what.add_argument("--key-id", action="append", default=[], metavar="ID", help="`key_id` of a receipt")
    invalidate.add_scope_arguments(parser)
    add_reach_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask first")
    parser.add_argument("--json", action="store_true", help="print the report as JSON and nothing else")


def run(args: argparse.Namespace) -> int:
    """0 everything found is gone (or nothing was found), 1 not all of it, interrupted or not confirmed."""
    command = erase_command(args)
    if command is None:
        orders = invalidate.commands_of(args, now_ms())
        return invalidate.carry_out(args, orders, reach_of(args), "erase")
    return carry_out(args, command, reach_of(args))


def erase_command(args: argparse.Namespace, s3: Callable[[], Any] | None = None) -> dict[str, Any] | None:
    """
    The command that the arguments mean; None where they name a scope to invalidate instead.

    Raises:
        BadInput: a file cannot be read or used, or nothing was named.
    """
    by_scope = args.context or args.before or args.soft
    if not (args.image or args.event or args.key_id):
        if args.context or args.namespace:
            return None
        if by_scope:
            raise BadInput("--before and --soft need --context STEP or --namespace NAME")
        raise BadInput("say what to erase: --image FILE, --event FILE, --key-id ID, --context STEP or --namespace NAME")
    if by_scope:
        raise BadInput("--context, --before and --soft go without --image, --event and --key-id; run two commands")
    return {
        "command": "erase",
        "images": [_image_digest(name) for name in args.image],
        "forms": [_form_digest(name, s3) for name in args.event],
        "key_ids": [_key_id(text) for text in args.key_id],
    } | ({"namespace": args.namespace} if args.namespace else {})


def carry_out(args: argparse.Namespace, command: Mapping[str, Any], reach: Reach) -> int:
    """Erase, after a look at what there is unless `--yes` was given."""
    if args.dry_run or not args.yes:
        try:
            report: dict[str, Any] = {}
            for part in _parts(command):
                seen = _asked(args, command, reach, {**part, "dry_run": True})
                if "error" in seen:
                    return refused(seen, "erase")
                report = _together(report, seen)
            if args.dry_run:
                return _finish(args, report)
            if not _confirmed(report, reach):
                return 1
        except KeyboardInterrupt:
            print("\nhookcache erase: interrupted; nothing was erased", file=sys.stderr)
            return 1
    return _erase(args, command, reach)


def _erase(args: argparse.Namespace, command: Mapping[str, Any], reach: Reach) -> int:
    """Ask part by part until nothing is left; a long erase comes back now and then, and is asked to go on."""
    whole: dict[str, Any] = {}
    parts, given_up, again = _parts(command), False, False
    while parts:
        try:
            report = _asked(args, command, reach, {**parts[0], "dry_run": False})
        except KeyboardInterrupt:
            _show(args, whole)
            print(f"hookcache erase: interrupted; {_under_way(reach)}", file=sys.stderr)
            return 1
        except ReachError:
            _show(args, whole)
            raise
        if "error" in report:
            _show(args, whole)
            return refused(report, "erase")
        # In a second round what the first has erased is not found either.
        whole = _together(whole, {**report, "nothing_of": []} if again else report)
        again = True
        if report["finished"] or report["keys"] == report["failed"]:
            given_up |= not report["finished"]
            del parts[0]
            again = False
        if parts:
            told = f"hookcache erase: {counted(whole['keys'], 'key')} so far, {whole['failed']:,} failed"
            print(told, file=sys.stderr, flush=True)
    return _finish(args, whole | {"finished": not given_up})


def _asked(
    args: argparse.Namespace, command: Mapping[str, Any], reach: Reach, part: Mapping[str, Any]
) -> dict[str, Any]:
    """The report, in which what nothing is kept of bears the name that was given."""
    report = reach.ask(part)
    if "error" in report:
        return report
    digests = [*command["images"], *command["forms"], *command["key_ids"]]
    given = dict(zip(digests, [*args.image, *args.event, *args.key_id], strict=True))
    # An erase function of an older release does not say.
    return {**report, "nothing_of": [given.get(each, each) for each in report.get("nothing_of", ())]}


def _parts(command: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The command in such parts that one call can look for all that each names."""
    named = list(dict.fromkeys((kind, name) for kind in ("images", "forms", "key_ids") for name in command[kind]))
    parts = []
    for start in range(0, len(named), PART):
        some = named[start : start + PART]
        parts.append(
            {**command, **{kind: [name for of, name in some if of == kind] for kind in ("images", "forms", "key_ids")}}
        )
    return parts


def _under_way(reach: Reach) -> str:
    """What became of the round that was interrupted, of which there is no report, and how to go on."""
    told = f"what the last {SLICE_SECONDS:g} s removed is in no figure"
    if isinstance(reach, Through):
        told = f"{reach.function} goes on with what it was asked, which is in no figure"
    return f"{told}. Run the same command again: it finds what is left"


def _together(first: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    if not first:
        return dict(then)
    if then["dry_run"]:
        then = _first_seen(first, then)
    summed = {name: first[name] + then[name] for name in TOTALS}
    finished = first["finished"] and then["finished"]
    # A key's own id may stand in a later part than its page.
    erased = {removed["key_id"] for removed in first["removed"]}
    lists = {"nothing_of": [*first["nothing_of"], *(each for each in then["nothing_of"] if each.lower() not in erased)]}
    lists["removed"] = [*first["removed"], *then["removed"]][:LISTED]
    return {**then, **summed, "finished": finished, **lists}


def _first_seen(first: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """A look at a later part without the keys that an earlier one lists: a page's are found by their own ids as well."""
    seen = {removed["key_id"] for removed in first["removed"]}
    again = [removed for removed in then["removed"] if removed["key_id"] in seen and not removed["error"]]
    less = {
        "keys": len(again),
        "entries": sum(removed["entry"] == "removed" for removed in again),
        "bytes": sum(removed["stored_bytes"] for removed in again),
        **{name: sum(removed[name] for removed in again) for name in ("overflow_objects", "fetches_stopped")},
        "index_items": sum(min(1, removed["index_items"]) for removed in again),  # its own id's, which each look counts
    }
    left = [removed for removed in then["removed"] if removed not in again]
    return {**then, **{name: then[name] - number for name, number in less.items()}, "removed": left}


def _show(args: argparse.Namespace, report: Mapping[str, Any]) -> None:
    """What the rounds until now came to, if there were any."""
    if report:
        print(json.dumps(report, indent=2) if args.json else _text(report))


def _finish(args: argparse.Namespace, report: Mapping[str, Any]) -> int:
    _show(args, report)
    return 1 if report["failed"] or (not report["dry_run"] and not report["finished"]) else 0


def _confirmed(report: Mapping[str, Any], reach: Reach) -> bool:
    if not report["keys"]:
        return True  # nothing to lose, and the erase says so itself
    return confirmed(_text(report), f"Erase {reach.where}?", "Nothing was erased.")


def _text(report: Mapping[str, Any]) -> str:
    if not report["keys"]:
        missed = _names(report["nothing_of"]) or "it"
        return f"Nothing is kept of {missed}. (A page counts by its bytes: give the file that the host sent.)"
    dry_run = report["dry_run"]
    parts = [
        counted(report["keys"], "key"),
        f"{counted(report['entries'], 'entry', 'entries')} of {report['bytes']:,} bytes",
        counted(report["overflow_objects"], "large body", "large bodies"),
        counted(report["index_items"], "index item"),
        f"{counted(report['fetches_stopped'], 'fetch', 'fetches')} in flight",
    ]
    lines = [
        "Would be erased:" if dry_run else "Erased:" if report["finished"] else "Erased so far:",
        f"  {'at least ' if dry_run and not report['finished'] else ''}{', '.join(parts)}",
        "",
        "key_id            made                  bytes  state",
        *(_row(removed, dry_run=dry_run) for removed in report["removed"][:SHOWN]),
    ]
    if report["keys"] > SHOWN:
        lines.append(f"... and {report['keys'] - SHOWN:,} more (--json lists up to {LISTED:,})")
    if report["failed"]:
        lines.append(f"{report['failed']:,} failed: run the same command again.")
    if missed := _names(report["nothing_of"]):
        lines.append(f"Nothing is kept of {missed}.")
    return "\n".join(lines)


def _names(missed: Sequence[str]) -> str:
    more = f" and {len(missed) - SHOWN:,} more (--json lists them)" if len(missed) > SHOWN else ""
    return f"{', '.join(map(one_line, missed[:SHOWN]))}{more}"


def _row(removed: Mapping[str, Any], *, dry_run: bool) -> str:
    made = spelt(removed["created_ms"]) if 0 < removed["created_ms"] < END_OF_TIME_MS else "-"  # as its writer said
    state = one_line(removed["error"] or "") or (
        "kept" if dry_run and removed["entry"] == "removed" else removed["entry"].replace("_", " ")
    )
    return f"{removed['key_id']}  {made:20}  {removed['stored_bytes']:>5,}  {state}"


def _image_digest(name: str) -> str:
    body = _read(name, "--image")
    if not body:
        raise BadInput(f"--image {name} is empty; give the page's bytes as they were sent")
    return hashlib.sha256(body).hexdigest()


def _form_digest(name: str, s3: Callable[[], Any] | None) -> str:
    """SHA-256 of the canonical form of a request, its images read from S3 with the caller's own rights."""
    try:
        event = json.loads(sys.stdin.buffer.read() if name == "-" else _read(name, "--event"))
    except (ValueError, RecursionError):
        raise BadInput(f"--event {name} is not JSON; give the request as the host sent it") from None
    try:
        request = parse(event)
        # A member that names a page counts by its content where the step's policy says so; where it does not, such a
        # request is never cached, so that nothing is missed by resolving it here.
        named = [name for name, value in request.event.items() if isinstance(value, str) and value.startswith("s3://")]
        request = with_references(request, sorted(set(named) - {"context", "modelId"}))
        buckets = sorted({image.uri.split("/")[2] for image in request.images if image.uri.startswith("s3://")} - {""})
        reader = ImageReader(
            s3 or Clients(slim=False).s3, [f"s3://{bucket}" for bucket in buckets], SystemClock(), Spending()
        )
        form = canonical_form(request, reader.digest(request.images))
    except Unkeyable as unkeyable:
        if unkeyable.reason is Reason.IMAGE_UNREADABLE:
            raise BadInput(
                f"--event {name}: its images cannot be read from S3, any more or by you; give the pages themselves with --image"
            ) from None
        raise BadInput(f"--event {name} is never cached ({unkeyable.reason.value}), so nothing is kept of it") from None
    return hashlib.sha256(form).hexdigest()


def _key_id(text: str) -> str:
    if len(text) != 16 or set(text.lower()) - set("0123456789abcdef"):
        raise BadInput(f"--key-id {text} is no `key_id` of a receipt; it has 16 hexadecimal digits")
    return text.lower()


def _read(name: str, option: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise BadInput(f"{option} {name}: {error.strerror or error}; give a file that can be read") from None
