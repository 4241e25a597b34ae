"""
The CONTROL item: what all environments of one namespace and backend must agree on, and who the backend is now.

It holds two sealed texts, each under its own tag so that neither writer can undo the other:

    identity   written by the hook: which code and configuration of the backend answers (P40)
    orders     written by the operator (`orders.py`): generation, invalidations, modes (P44, P50)

A text under a wrong tag is as good as none, and counted (T5).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Hashable, Mapping

from hookcache.bounded import within
from hookcache.clock import Clock, EpochMillis
from hookcache.entry import Item
from hookcache.errors import TierUnavailable
from hookcache.frames import framed
from hookcache.hints import Any
from hookcache.items import Conflict, Items
from hookcache.key import CacheKey
from hookcache.orders import ALL_CONTEXTS, Orders
from hookcache.value import value

IDENTITY_SECONDS = 60
LAST_KNOWN_SECONDS = 3_600
UNKNOWN_SECONDS = 1
"""How soon the item is looked at again while no orders were ever read, or nobody could say who answers."""
DESCRIBE_SECONDS = 3.0
"""Bound on asking Lambda for the backend's configuration, name resolution included."""
KIND = "CONTROL"
AMEND_TRIES = 5
_UNWRITTEN = frozenset({"read_only", "off"})
"""Orders under which nothing is written, the backend's identity included (P50)."""


@value
class BackendIdentity:
    """
    Which code and configuration answers.

    `digest` goes into keys; `version` is what an answer's executed version must equal, empty where unknown;
    `timeout_seconds` is the function's own.
    """

    digest: bytes
    version: str = ""
    timeout_seconds: float | None = None


@value
class Standing:
    """
    What holds now: identity None means that the backend could not be resolved (bypass `backend_unknown`).

    Where the orders are not known, `orders` stands for the strictest there might be, but for their mode: nothing that was
    kept before is served, and nothing is kept. `corrupt` says that somebody put others in their place, or took them away (T5).
    """

    identity: BackendIdentity | None
    orders: Orders
    corrupt: bool = False
    orders_known: bool = True

    def era(self, context: str) -> Hashable:
        """Changes with the backend, the generation or an invalidation for `context`: what was kept before is then left behind."""
        identity, orders = self.identity.digest if self.identity is not None else b"", self.orders
        return identity, orders.generation, orders.not_before(context), orders.stale_before(context)


class Control:
    """
    Reads the CONTROL item and resolves the backend, once a minute per environment.

    Args:
        secret: derived secret for its tags.
        describe: the backend's `GetFunctionConfiguration` reply; None pins the identity to `pinned`.
    """

    def __init__(
        self,
        items: Items,
        key: CacheKey,
        secret: bytes,
        describe: Callable[[], Mapping[str, Any]] | None,
        pinned: BackendIdentity,
        clock: Clock,
    ) -> None:
        self._items = items
        self._key = key
        self._secret = secret
        self._describe = describe
        self._pinned = pinned
        self._clock = clock
        self._lock = threading.Lock()
        self._standing = Standing(None, Orders())
        self._checked_ms = 0
        self._due_ms = 0
        self._seen: Orders | None = None
        """The last orders that could be read."""
        self._resolved_ms = 0
        self._asked_ms: int | None = None

    def now(self, context: str = ALL_CONTEXTS, *, share: bool = True) -> Standing:
        """
        What holds now, at most `IDENTITY_SECONDS` old. An identity resolved here is written for the others where `share`
        and the mode that is ordered for `context` allow it.

        The last known identity serves for an hour while the control plane fails (3.8). A table that cannot be asked
        leaves the last orders standing; where none were ever read, nothing stored before is served until they are, and
        nothing is kept.
        """
        with self._lock:
            now = self._clock.now_ms()
            if not self._checked_ms <= now < self._due_ms:
                self._checked_ms, self._due_ms = now, now + IDENTITY_SECONDS * 1000
                self._standing = self._renew(now, context, share=share)
                self._due_ms = self._due(now)
            return self._standing

    def _due(self, now: EpochMillis) -> int:
        """When to look again: what others resolved half a minute ago is good for the other half only (P40)."""
        if self._seen is None or self._standing.identity is None:
            return now + UNKNOWN_SECONDS * 1000
        left = self._resolved_ms + IDENTITY_SECONDS * 1000 - now
        return now + (left if left > 0 else IDENTITY_SECONDS * 1000)

    def last(self) -> Standing:
        """What held when it was last looked at, without looking."""
        return self._standing

    def amend(self, change: Callable[[Orders], Orders]) -> Orders:
        """
        Change the operator's orders as they stand in the table; of two operators at once, neither's change is lost. Every
        environment follows within `IDENTITY_SECONDS`.

        Orders under a wrong tag are replaced: nobody obeys them.

        Raises:
            TierUnavailable: the table gave no usable reply, or the orders changed at every try.
        """
        for _ in range(AMEND_TRIES):
            item = self._items.get(self._key, KIND, consistent=True) or {}
            orders = change(self._orders(item)[0] or Orders())
            text = orders.text()
            seen = item.get("orders")
            if self._write("orders", text, "#text = :seen" if seen else "attribute_not_exists(#text)", seen) is None:
                return orders
        raise TierUnavailable("the orders changed at every try; run the command again")

    def orders(self) -> Orders:
        """The orders in the table now; none where there is no item or it is not ours. Raises `TierUnavailable`."""
        return self.sealed_orders()[0]

    def sealed_orders(self) -> tuple[Orders, bool]:
        """The orders in the table now, and whether somebody put others there that are not ours (T5). Raises as `orders`."""
        orders, corrupt = self._orders(self._items.get(self._key, KIND, consistent=True) or {})
        return orders or Orders(), corrupt

    def _renew(self, now: EpochMillis, context: str, *, share: bool) -> Standing:
        item: Item = {}
        corrupt = False
        try:
            item = self._items.get(self._key, KIND) or {}
        except TierUnavailable:
            share = False
        else:
            given, corrupt = self._orders(item)
            # Taken away, which no operator's command does.
            corrupt |= given is None and self._seen not in (None, Orders())
            if not corrupt:
                # Older orders that somebody puts back undo no invalidation that was seen here (T5).
                self._seen = (given or Orders()).no_earlier_than(self._seen or Orders())
        # An operator may just have invalidated all that is stored: so it is to be taken where no orders were ever seen (P44).
        orders = self._seen if self._seen is not None else Orders(not_before_ms={ALL_CONTEXTS: now})
        share = share and self._seen is not None and orders.mode(context) not in _UNWRITTEN
        return Standing(self._identity(item, now, share=share), orders, corrupt, self._seen is not None)

    def _orders(self, item: Item) -> tuple[Orders | None, bool]:
        text = self._sealed(item, "orders")
        if text is None:
            return None, "orders" in item
        try:
            return Orders.parse(text), False
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            return None, True

    def _identity(self, item: Item, now: EpochMillis, *, share: bool) -> BackendIdentity | None:
        """Who answers now. `share` is False when the table just failed: one budget was enough (P19)."""
        if self._describe is None:
            return self._pinned
        shared = self._shared_identity(item, now, IDENTITY_SECONDS)
        if shared is not None:
            identity, self._resolved_ms = shared
            return identity
        if self._asked_ms is not None and 0 <= now - self._asked_ms < IDENTITY_SECONDS * 1000:
            return self._last_known(item, now)  # the control plane's quota is low: once a minute, whatever it answered
        self._asked_ms = now
        try:
            identity = identity_of(within(DESCRIBE_SECONDS, self._describe, "hookcache-identity"))
        except Exception:  # whatever it is: who answers was not to be learnt now
            return self._last_known(item, now)
        self._resolved_ms = now
        if share:
            members = [identity.digest.hex(), identity.version, identity.timeout_seconds, now]
            with contextlib.suppress(TierUnavailable):  # the others resolve it for themselves
                self._write("identity", json.dumps(members))
        return identity

    def _last_known(self, item: Item, now: EpochMillis) -> BackendIdentity | None:
        if self._standing.identity is not None and 0 <= now - self._resolved_ms < LAST_KNOWN_SECONDS * 1000:
            return self._standing.identity
        shared = self._shared_identity(item, now, LAST_KNOWN_SECONDS)
        if shared is None:
            return None
        identity, self._resolved_ms = shared
        return identity

    def _shared_identity(self, item: Item, now: EpochMillis, seconds: int) -> tuple[BackendIdentity, int] | None:
        text = self._sealed(item, "identity")
        if text is None:
            return None
        try:
            digest, version, timeout, resolved_ms = json.loads(text)
            if not 0 <= now - resolved_ms < seconds * 1000:
                return None
            return BackendIdentity(bytes.fromhex(digest), str(version), timeout), int(resolved_ms)
        except (ValueError, TypeError):
            return None

    def _sealed(self, item: Item, name: str) -> str | None:
        try:
            text = str(item[name]["S"])
            sealed = bytes(item[f"{name}_tag"]["B"])
        except (KeyError, TypeError):
            return None
        return text if hmac.compare_digest(sealed, self._tag(name, text)) else None

    def _write(
        self, name: str, text: str, condition: str = "", seen: Mapping[str, Any] | None = None
    ) -> Conflict | None:
        values: dict[str, Any] = {":text": {"S": text}, ":tag": {"B": self._tag(name, text)}}
        return self._items.update(
            self._key,
            KIND,
            "SET #text = :text, #tag = :tag",
            condition,
            values | ({":seen": seen} if seen else {}),
            {"#text": name, "#tag": f"{name}_tag"},
        )

    def _tag(self, name: str, text: str) -> bytes:
        return hmac.digest(self._secret, b"control\0" + self._key + name.encode() + b"\0" + text.encode(), "sha256")


def identity_of(configuration: Mapping[str, Any]) -> BackendIdentity:
    """
    The identity in a `GetFunctionConfiguration` reply: ARN with qualifier, version, code and configuration digests (P40).

    Nothing else of the reply is kept: it shows the backend's environment (T13). `RevisionId`, else `LastModified`, stands in where a platform
    gives no `ConfigSha256`; they change with every update, so a rollback then misses instead of hitting again.

    Raises:
        ValueError: an update is under way or failed; the reply names the new code, and what answers is the code before.

    Source: AWS Lambda API Reference, "GetFunctionConfiguration" and `LastUpdateStatus`; that the new digests are told while
    the old code answers: *unverified*.
    """
    if configuration.get("LastUpdateStatus") not in {None, "Successful"}:
        raise ValueError("the backend is being updated")
    digest = hashlib.sha256()
    configured = configuration.get("ConfigSha256") or configuration.get("RevisionId") or configuration["LastModified"]
    for part in (configuration["FunctionArn"], configuration["Version"], configuration["CodeSha256"], configured):
        digest.update(framed(str(part).encode()))
    timeout = configuration.get("Timeout")
    return BackendIdentity(
        digest.digest(), str(configuration["Version"]), float(timeout) if isinstance(timeout, int | float) else None
    )
