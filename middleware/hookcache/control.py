"""
The CONTROL item: what all environments of one namespace and backend must agree on, and who the backend is now.

It holds two sealed texts, each under its own tag so that neither writer can undo the other:

    identity   written by the hook: which code and configuration of the backend answers (P40)
    orders     written by the operator: generation, not-before times, modes (P44, P50)

An item with a wrong tag is as good as none, and counted (T5).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from hookcache.clock import Clock, EpochMillis
from hookcache.entry import Item
from hookcache.errors import TierUnavailable
from hookcache.items import Items
from hookcache.key import CacheKey

IDENTITY_SECONDS = 60
LAST_KNOWN_SECONDS = 3_600
KIND = "CONTROL"
ALL_CONTEXTS = "*"


@dataclass(frozen=True, slots=True)
class BackendIdentity:
    """
    Which code and configuration answers.

    `digest` goes into keys; `version` is what an answer's executed version must equal, empty where unknown;
    `timeout_seconds` is the function's own.
    """

    digest: bytes
    version: str = ""
    timeout_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Orders:
    """The operator's standing orders. Times are epoch milliseconds; `*` stands for every context."""

    generation: str | None = None
    not_before_ms: Mapping[str, int] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)

    def not_before(self, context: str) -> EpochMillis:
        """Answers made before this are invalid for `context`."""
        return EpochMillis(max(self.not_before_ms.get(ALL_CONTEXTS, 0), self.not_before_ms.get(context, 0)))

    def mode(self, context: str) -> str | None:
        return self.modes.get(context) or self.modes.get(ALL_CONTEXTS)

    def text(self) -> str:
        members = {"generation": self.generation, "not_before_ms": dict(self.not_before_ms), "modes": dict(self.modes)}
        return json.dumps(members, sort_keys=True)

    @classmethod
    def parse(cls, text: str) -> Orders:
        """Raises ValueError, TypeError or KeyError where the text is no orders of ours."""
        members = json.loads(text)
        times = {str(context): int(time) for context, time in members["not_before_ms"].items()}
        return cls(members["generation"], times, dict(members["modes"]))


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds now: identity None means that the backend could not be resolved (bypass `backend_unknown`)."""

    identity: BackendIdentity | None
    orders: Orders
    corrupt: bool = False


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
        self._checked_ms: int | None = None
        self._resolved_ms = 0

    def now(self) -> Standing:
        """
        What holds now, at most `IDENTITY_SECONDS` old.

        The last known identity serves for an hour while the control plane fails (3.8). A table that cannot be asked
        leaves the last orders standing.
        """
        with self._lock:
            now = self._clock.now_ms()
            due = self._checked_ms is None or not 0 <= now - self._checked_ms < IDENTITY_SECONDS * 1000
            if due:
                self._checked_ms = now
                self._standing = self._renew(now)
            return self._standing

    def last(self) -> Standing:
        """What held when it was last looked at, without looking."""
        return self._standing

    def give(self, orders: Orders) -> None:
        """Write the operator's orders; every environment follows within `IDENTITY_SECONDS`."""
        self._write("orders", orders.text())

    def orders(self) -> Orders:
        """The orders in the table now; none where there is no item or it is not ours."""
        item = self._items.get(self._key, KIND, consistent=True)
        orders, _ = self._orders(item or {})
        return orders or Orders()

    def _renew(self, now: EpochMillis) -> Standing:
        try:
            item = self._items.get(self._key, KIND) or {}
        except TierUnavailable:
            return Standing(self._identity({}, now, share=False), self._standing.orders)
        orders, corrupt = self._orders(item)
        return Standing(self._identity(item, now, share=True), orders or Orders(), corrupt)

    def _orders(self, item: Item) -> tuple[Orders | None, bool]:
        text = self._sealed(item, "orders")
        if text is None:
            return None, "orders" in item
        try:
            return Orders.parse(text), False
        except (ValueError, TypeError, KeyError, AttributeError):
            return None, True

    def _identity(self, item: Item, now: EpochMillis, *, share: bool) -> BackendIdentity | None:
        """Who answers now. `share` is False when the table just failed: one budget was enough (P19)."""
        if self._describe is None:
            return self._pinned
        shared = self._shared_identity(item, now, IDENTITY_SECONDS)
        if shared is not None:
            identity, self._resolved_ms = shared
            return identity
        try:
            identity = identity_of(self._describe())
        except (ClientError, BotoCoreError, OSError, KeyError):
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

    def _write(self, name: str, text: str) -> None:
        self._items.update(
            self._key,
            KIND,
            "SET #text = :text, #tag = :tag",
            "",
            {":text": {"S": text}, ":tag": {"B": self._tag(name, text)}},
            {"#text": name, "#tag": f"{name}_tag"},
        )

    def _tag(self, name: str, text: str) -> bytes:
        return hmac.digest(self._secret, b"control\0" + self._key + name.encode() + b"\0" + text.encode(), "sha256")


def identity_of(configuration: Mapping[str, Any]) -> BackendIdentity:
    """
    The identity in a `GetFunctionConfiguration` reply: ARN with qualifier, version, code and configuration digests (P40).

    Nothing else of the reply is kept: it shows the backend's environment (T13). `RevisionId` stands in where a platform
    gives no `ConfigSha256`; it changes with every update, so a rollback then misses instead of hitting again.

    Source: AWS Lambda API Reference, "GetFunctionConfiguration".
    """
    digest = hashlib.sha256()
    configured = configuration.get("ConfigSha256") or configuration["RevisionId"]
    for part in (configuration["FunctionArn"], configuration["Version"], configuration["CodeSha256"], configured):
        encoded = str(part).encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    timeout = configuration.get("Timeout")
    return BackendIdentity(
        digest.digest(), str(configuration["Version"]), float(timeout) if isinstance(timeout, int | float) else None
    )
