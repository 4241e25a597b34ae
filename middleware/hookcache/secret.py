"""The HMAC secret: from Secrets Manager, or from the environment for local use. Without it nothing is ever keyed (F30)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from hookcache.clock import Clock
from hookcache.key import Secrets

RETRY_SECONDS = 60.0


class SecretSource:
    """
    Gives the derived secrets, or None while the secret cannot be had; asks again once a minute.

    Args:
        read: returns the secret's text; raises boto errors.
    """

    def __init__(self, read: Callable[[], str], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._secrets: Secrets | None = None
        self._retry_at_ms = 0

    def get(self) -> Secrets | None:
        """The secrets in force. There is no fall-back: an unkeyed digest would let a guessed prompt be confirmed (P37)."""
        with self._lock:
            now = self._clock.now_ms()
            waiting = now < self._retry_at_ms <= now + RETRY_SECONDS * 1000
            if self._secrets is None and not waiting:
                self._retry_at_ms = now + int(RETRY_SECONDS * 1000)
                try:
                    text = self._read()
                except (BotoCoreError, ClientError, OSError):
                    return None
                if text.strip():
                    self._secrets = Secrets.derive(text.encode())
            return self._secrets


def from_secrets_manager(client: Callable[[], Any], arn: str) -> Callable[[], str]:
    """A reader of a Secrets Manager secret's text or bytes."""

    def read() -> str:
        reply = client().get_secret_value(SecretId=arn)
        text: str = reply["SecretString"] if "SecretString" in reply else reply["SecretBinary"].hex()
        return text

    return read
