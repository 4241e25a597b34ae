"""What hookcache itself uses while it serves: table units, requests. Collected anywhere, taken once per receipt (P56)."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping

from hookcache.hints import Any


class Spending:
    """
    A pot of own units: every part adds, each receipt takes what has gathered.

    With one invocation at a time, as Lambda runs them, a receipt holds its own use exactly; under threads the split
    between receipts is approximate and their sum is exact.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._units: defaultdict[str, float] = defaultdict(float)

    def add(self, unit: str, amount: float) -> None:
        with self._lock:
            self._units[unit] += amount

    def add_object(self, reply: Mapping[str, Any]) -> None:
        """
        The KMS request that S3 made on our behalf for the object of this reply: one if it lies under a KMS key of its own,
        none where a bucket key serves many objects.
        """
        if str(reply.get("ServerSideEncryption", "")).startswith("aws:kms") and not reply.get("BucketKeyEnabled"):
            self.add("kms_requests", 1)

    def take(self) -> dict[str, float]:
        """What has gathered since the last call; the pot is empty afterwards."""
        if not self._units:
            return {}  # as of every memory hit; what is added at this moment is the next receipt's
        with self._lock:
            taken, self._units = self._units, defaultdict(float)
        return dict(taken)
