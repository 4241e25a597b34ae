"""What `hookcache warm` sends its pairs through: the deployed hook with their answers in its backend's place."""

from __future__ import annotations

import contextlib
import json
import math
import uuid
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hookcache.backend import Answer
from hookcache.cache import Cache
from hookcache.clock import Clock, Deadline
from hookcache.codec import ZLIB_LEVEL
from hookcache.commands import OperatorClients
from hookcache.errors import BackendError
from hookcache.hook import CachingHook
from hookcache.metering import Meter
from hookcache.outcome import Reason
from hookcache.policy import Mode
from hookcache.runtime_json import spelt
from hookcache.sealer import INLINE_BYTES
from hookcache.settings import Settings
from hookcache.truth import TruthCheck
from hookcache.value import replace
from hookcache_ops.pairs import Pair
from hookcache_ops.reach import patient_assembly, require_wrapper
from hookcache_ops.receipts import HITS
from hookcache_ops.warm_clients import WarmClients
from hookcache_ops.warm_dated import Dated

PLENTY_MS = 840_000
OTHER_WRITES = 5
"""Write units of a fill besides the entry's own: lease taken and released, three index items."""
KB = 1024
UNWRITTEN = "unwritten"
_OWN_RULES: Mapping[str, Any] = {"check_share": 0.0, "delegate_after_wait": True, "negative_errors": frozenset()}
"""Of every context, whatever is set: the answer is at hand, and nobody's backend is asked for it."""


@dataclass(slots=True)
class Warmed:
    """
    What became of the pairs.

    `kept` were stored (in a dry run: would be), `known` were there already, `refused` and `bypassed` are counted by reason;
    `unwritten` is what the table did not get, for a reason that no receipt tells. `unpriced` of those kept have a unit
    without a price, although there is a row to charge them at.
    `write_units` are DynamoDB's, estimated in a dry run; `cost` is theirs and the reads', in the price table's currency.
    """

    pairs: int = 0
    kept: int = 0
    known: int = 0
    unpriced: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    bypassed: Counter[str] = field(default_factory=Counter)
    write_units: float = 0.0
    cost: Decimal = Decimal(0)

    def to_json(self) -> dict[str, Any]:
        return {
            "pairs": self.pairs,
            "kept": self.kept,
            "known": self.known,
            "unpriced": self.unpriced,
            "refused": dict(self.refused),
            "bypassed": dict(self.bypassed),
            "write_units": round(self.write_units, 1),
            "cost": float(round(self.cost, 12)),
        }


class Warmer:
    """
    The deployed hook with recorded answers in its backend's place.

    Args:
        settings: of the function that is warmed.
        dry_run: nothing is written, and the table's client could not.
        images: folder of images that S3 no longer has.
        clients, clock: the real ones if not given.

    Raises:
        ReachError: the function is no wrapper.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        dry_run: bool = False,
        images: str | None = None,
        clients: Any = None,
        clock: Clock | None = None,
    ) -> None:
        require_wrapper(settings)
        self._dry_run = dry_run
        self._assembly = patient_assembly(
            settings, {}, WarmClients(clients or OperatorClients(), dry_run=dry_run, images=images), clock
        )
        self._lines: list[str] = []
        self._pair: Pair | None = None
        assembly = self._assembly
        rules = {
            context: replace(each, mode=_mode(each.mode, dry_run=dry_run), **_OWN_RULES)
            for context, each in assembly.rules().items()
        }
        meter = Meter(assembly.clock, assembly.spending, assembly.prices, {}, write=self._lines.append)
        self._hook = CachingHook(
            self, self._cache, rules, assembly.prices, meter, TruthCheck(assembly.clock), assembly.clock
        )

    def fill(self, pair: Pair, warmed: Warmed) -> str:
        """Send one pair along the path, and count what became of it; why the cache was not used, if so."""
        self._pair = pair
        self._lines.clear()
        with contextlib.suppress(BackendError):  # of a caller whom this pair waited for; the next run will keep it
            self._hook(pair.event, _Context())
        receipt = json.loads(self._lines[0])
        warmed.pairs += 1
        self._count(receipt, pair, warmed)
        return str(receipt["reason"]) if receipt["outcome"] == "bypass" else ""

    def _count(self, receipt: Mapping[str, Any], pair: Pair, warmed: Warmed) -> None:
        units = {
            name: count for name, count in receipt["own_units"].items() if not name.startswith(("lambda_", "log_"))
        }
        kept = warmed.kept
        if receipt["outcome"] in HITS:
            warmed.known += 1
        elif receipt["refusal"]:
            warmed.refused[receipt["refusal"]] += 1
        elif receipt["outcome"] in {"bypass", "failed"}:
            warmed.bypassed[receipt["reason"]] += 1
        elif self._dry_run:
            stored_bytes = len(zlib.compress(spelt(pair.answer), ZLIB_LEVEL))
            if stored_bytes > INLINE_BYTES and not self._assembly.settings.overflow_bucket:
                warmed.refused[Reason.ANSWER_SIZE.value] += 1
            else:
                warmed.kept += 1
                units |= _writes(stored_bytes)
        elif receipt["entry_bytes"]:  # the hook sets it once the table has the entry
            warmed.kept += 1
        else:
            warmed.bypassed[UNWRITTEN] += 1
        warmed.unpriced += warmed.kept > kept and bool(receipt["unpriced_units"] and self._assembly.settings.price_as)
        warmed.write_units += units.get("table_write_units", 0)
        warmed.cost += self._assembly.prices.own(units)

    # -- as the hook's backend and cache

    def invoke(self, _event: Any, _context: Any, _deadline: Deadline) -> Answer:
        """The recorded answer; the shape of a `Backend`."""
        assert self._pair is not None  # noqa: S101 - set by `fill`, which calls the hook
        return Answer(spelt(self._pair.answer), self._pair.answer)

    def _cache(self, deadline: Deadline) -> Cache | None:  # noqa: ARG002 - nobody waits for it
        cache = self._assembly.cache()
        return None if cache is None else Dated(cache, self._pair, self._assembly.items)  # type: ignore[return-value] # the same methods


class _Context:
    """A Lambda context with plenty of time."""

    def __init__(self) -> None:
        self.aws_request_id = uuid.uuid4().hex

    def get_remaining_time_in_millis(self) -> int:
        return PLENTY_MS


def _mode(mode: Mode, *, dry_run: bool) -> Mode:
    if mode is Mode.OFF:
        return mode
    return Mode.READ_ONLY if dry_run else Mode.ON


def _writes(stored_bytes: int) -> dict[str, float]:
    """About what keeping so large a body would cost: DynamoDB's write units of 1 KB, and an object where it is one."""
    overflows = stored_bytes > INLINE_BYTES
    item_bytes = KB // 2 + (0 if overflows else stored_bytes)
    return {"table_write_units": math.ceil(item_bytes / KB) + OTHER_WRITES, "s3_put_requests": int(overflows)}
