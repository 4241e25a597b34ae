"""
`hookcache import`: the entries of an export under the secret, namespace and table of another wrapper, or of the same one
after its secret was rotated.

An entry's key is made anew from the digests that lie masked in it, so the secret it was made under is needed as well. Only
entries of the backend that answers there now go across: what other code said must not be served as this one's (P1).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from hookcache.assembly import Assembly
from hookcache.cipher import BodyCipher
from hookcache.clock import Clock
from hookcache.commands import OperatorClients
from hookcache.control import Control
from hookcache.entry import Entry, Item
from hookcache.errors import EntryRejected, TierUnavailable
from hookcache.index import index_item
from hookcache.key import CacheKey, Keyer, Secrets
from hookcache.orders import Orders
from hookcache.outcome import Reason
from hookcache.overflow import Overflow
from hookcache.sealer import Sealer, Tombstone
from hookcache.secret import every_version
from hookcache.settings import Settings
from hookcache.table import Found, TableTier
from hookcache.value import replace
from hookcache_ops.cures import cure, told_by
from hookcache_ops.output import counted, living_line
from hookcache_ops.reach import patient_assembly, require_wrapper, variables_for
from hookcache_ops.transfer import Export, TransferError, read_export

EXAMPLE = """examples:
  hookcache import ocr.export --from-function GENAIIDP-cache-ocr --function GENAIIDP-cache-ocr-new
  hookcache import ocr.export --from-function GENAIIDP-cache-ocr --function GENAIIDP-cache-ocr --json

The second line is for a secret that was rotated: entries under the one before it are taken over. An import that was cut
short is run again: what is there already is skipped. What callers asked for under rollout ids of their own goes along
where the ids are named: --rollout blue --rollout green.
"""
OTHERS = "other_backend_or_rollout"
ENDINGS = (
    "imported",
    "known",
    "erased",
    "replaced",
    "expired",
    "invalidated",
    "other_backend",
    OTHERS,
    "without_origin",
    "damaged",
)
SHORT_OF = {"damaged"}


@dataclass(frozen=True, slots=True)
class Side:
    """
    One wrapper's cache as an operator reaches it: every keyer whose entries may lie there, the first in force, and where the
    orders under each stand.
    """

    keyers: tuple[tuple[Keyer, Sealer], ...]
    controls: tuple[Control, ...]
    identity: bytes
    generation: str
    table: TableTier
    assembly: Assembly


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("file", metavar="FILE", help="a finished export")
    parser.add_argument(
        "--from-function", metavar="NAME", required=True, help="the wrapper whose entries were exported"
    )
    parser.add_argument("--function", metavar="NAME", required=True, help="the wrapper that is to have them")
    parser.add_argument(
        "--rollout",
        metavar="ID",
        action="append",
        default=[],
        help="a rollout id that callers name; more than one may be given",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON and nothing else")


def run(args: argparse.Namespace) -> int:
    """0 every entry went one of its ways, 1 some are damaged, or interrupted."""
    counts: Counter[str] = Counter()
    try:
        export = read_export(Path(args.file))
        settings = [
            Settings.of(variables_for(argparse.Namespace(function=name)))
            for name in (args.from_function, args.function)
        ]
        _check_origin(export, settings[0], args.from_function)
        old, new = (side_of(each, OperatorClients(slim=False)) for each in settings)
        transfer(export, old, new, counts, args.rollout)
    except KeyboardInterrupt:
        _show(counts, args)
        return _complain("interrupted; run the same command again, what is there already is skipped")
    except (TierUnavailable, ClientError, BotoCoreError) as error:
        _show(counts, args)
        told = told_by(error)
        remedy = cure(told, "see docs/analysis.md for the rights on both tables and secrets")
        return _complain(f"{told}; {remedy}: the same command skips what is there already")
    _show(counts, args)
    return int(any(counts[ending] for ending in SHORT_OF))


def _check_origin(export: Export, settings: Settings, name: str) -> None:
    """Under another wrapper's secret and namespace every entry would seem to be damaged."""
    if settings.namespace != export.namespace:
        raise TransferError(
            f"{export.path} holds namespace {export.namespace}, and {name} keeps {settings.namespace}; "
            "give --from-function with the wrapper that it was exported from"
        )


def side_of(settings: Settings, clients: Any, clock: Clock | None = None) -> Side:
    """
    The cache of a wrapper with these settings.

    Raises:
        ReachError: it is no wrapper.
        TransferError: its secret or its backend's identity cannot be had.
    """
    require_wrapper(settings)
    assembly = patient_assembly(settings, {}, clients, clock)
    texts = every_version(clients.secrets_manager, settings.secret_arn) if settings.secret_arn else [settings.secret]
    secrets = [Secrets.derive(text.encode()) for text in texts]
    keyers = tuple((keyer := Keyer(each, settings.namespace), _sealer(each, keyer, settings)) for each in secrets)
    standing = assembly.control(keyers[0][0], secrets[0]).now(share=False)
    if standing.identity is None:
        raise TransferError(
            f"the backend {settings.backend} cannot be looked up; you need lambda:GetFunctionConfiguration on it"
        )
    controls = tuple(assembly.control(keyer, each) for (keyer, _), each in zip(keyers, secrets, strict=True))
    bucket = settings.overflow_bucket
    overflow = Overflow(clients.s3, bucket, assembly.spending) if bucket else None
    table = TableTier(assembly.items, keyers[0][1], overflow)
    generation = standing.orders.generation or settings.generation
    return Side(keyers, controls, standing.identity.digest, generation, table, assembly)


def _sealer(secrets: Secrets, keyer: Keyer, settings: Settings) -> Sealer:
    return Sealer(secrets.tags, keyer.namespace, BodyCipher(secrets.bodies), encrypts=settings.encrypt)


def transfer(export: Export, old: Side, new: Side, counts: Counter[str], rollouts: Sequence[str] = ()) -> None:
    """
    Take every entry of the export over, or count why not. `rollouts` are the words under which callers may have asked (P51).

    Raises:
        TransferError: an entry is too large for the new stack.
        TierUnavailable: a table or bucket failed; what was imported stays good.
    """
    orders: list[Orders] = []
    try:
        for item, body in export:
            orders = orders or [control.orders() for control in old.controls]
            counts[_ending(item, body, orders, old, new, ("", *rollouts))] += 1
            living_line(f"hookcache import: {counted(counts.total(), 'entry', 'entries')}")
    finally:
        living_line()


def _ending(item: Item, body: bytes | None, orders: list[Orders], old: Side, new: Side, rollouts: Sequence[str]) -> str:
    opened = _opened(item, body, old)
    if opened is None:
        return "damaged"
    entry, origin, keyer = opened
    if not origin:
        return "without_origin"
    if entry.hard_until_ms <= new.assembly.clock.now_ms():
        return "expired"
    if any(entry.created_ms < max(told.not_before(entry.context), told.stale_before(entry.context)) for told in orders):
        return "invalidated"  # the orders stay behind, and it would be served there as if nothing had been wrong (P44)
    if old.identity != new.identity:
        return "other_backend"
    made = {keyer.key_of_digest(origin[0], old.identity, old.generation, word): word for word in rollouts}
    if entry.key not in made:
        return OTHERS
    return _gone(item, entry, old) or _store(item, entry, origin, old, new, made[entry.key])


def _gone(item: Item, entry: Entry, old: Side) -> str | None:
    """What became of an entry since it was exported, if it must not come back by this way (P13)."""
    now = old.assembly.items.get(entry.key, "ENTRY", consistent=True)
    if now is None or "erased" in now:  # a mark of it stands for a day
        return "erased"
    return None if now.get("tag") == item.get("tag") else "replaced"  # refreshed, or erased and asked for again


def _opened(item: Item, body: bytes | None, old: Side) -> tuple[Entry, tuple[bytes, ...], Keyer] | None:
    for keyer, sealer in old.keyers:
        try:
            key = CacheKey(bytes(item["pk"]["B"]))
            entry = sealer.open(key, item, lambda _name, _size: body or b"")
        except (EntryRejected, KeyError, TypeError):
            continue
        if not isinstance(entry, Tombstone):
            return entry, sealer.origin_of(key, item), keyer
    return None


def _there(new: Side, key: CacheKey) -> str | None:
    """What stands in an entry's way where it is to go."""
    there = new.table.get(key, consistent=True)
    if isinstance(there, Found):
        return "known"
    return "erased" if there.reason is Reason.ERASED else None


def _store(item: Item, entry: Entry, origin: tuple[bytes, ...], old: Side, new: Side, rollout: str) -> str:
    keyer, _ = new.keyers[0]
    key = keyer.key_of_digest(origin[0], new.identity, new.generation, rollout)
    if there := _there(new, key):
        return there
    now = new.assembly.clock.now_ms()
    new.assembly.items.put_all([index_item(index, key, now) for index in keyer.indexes(origin, key)])
    # An erase beside us, of the old side first, either was seen here or finds the items just written.
    gone = _gone(item, entry, old)
    if gone is not None:
        return gone
    refused = new.table.put(replace(entry, key=key, origin=origin))
    if refused is Reason.SUPERSEDED:
        return _there(new, key) or "known"
    if refused is not None:
        raise TransferError(f"an entry could not be kept ({refused.value}); give the new stack an overflow bucket")
    stored = new.table.get(key, consistent=True)
    # Read back: under its new tag it must say what it said before.
    return "imported" if isinstance(stored, Found) and stored.entry.body == entry.body else "damaged"


def _show(counts: Mapping[str, int], args: argparse.Namespace) -> None:
    figures = {"entries": sum(counts.values()), **{ending: counts.get(ending, 0) for ending in ENDINGS}}
    if args.json:
        print(json.dumps(figures))
        return
    endings = (
        f"{counts.get(name, 0):,} {name.replace('_', ' ')}"
        for name in ENDINGS
        if counts.get(name) or name == "imported"
    )
    print(", ".join((counted(figures["entries"], "entry", "entries"), *endings)))
    if counts.get("replaced"):
        print(f"{counts['replaced']:,} have another answer at the old wrapper by now: export again and import that.")
    if counts.get(OTHERS):
        print(
            f"{counts[OTHERS]:,} stayed behind: other code, configuration or another generation made them, or callers asked "
            "for them under a rollout id; name those ids with --rollout and import again."
        )


def _complain(text: str) -> int:
    print(f"hookcache import: {text}", file=sys.stderr)
    return 1
