"""The HMAC secret: from Secrets Manager, or from the environment for local use. Without it nothing is ever keyed (F30)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from hookcache.bounded import within
from hookcache.clock import Clock
from hookcache.hints import Any
from hookcache.key import Secrets
from hookcache.refusals import code_in

RETRY_SECONDS = 60.0
READ_SECONDS = 5.0
"""Bound on asking for the secret, name resolution included."""


class SecretSource:
    """
    Gives the derived secrets, or None while the secret cannot be had; asks again once a minute.

    Args:
        read: returns the secret's text, or raises.
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
                    text = within(READ_SECONDS, self._read, "hookcache-secret")
                except Exception:  # whatever it is: there is no secret, and the reason is for the control plane's log
                    return None
                if text.strip():
                    self._secrets = Secrets.derive(text.encode())
            return self._secrets


def from_secrets_manager(client: Callable[[], Any], arn: str) -> Callable[[], str]:
    """A reader of a Secrets Manager secret's text or bytes."""
    return lambda: _text(client().get_secret_value(SecretId=arn))


def every_version(client: Callable[[], Any], arn: str) -> list[str]:
    """
    The secret in force and, after a rotation, the one before it, for whoever must reach what was kept under either.

    A hook reads the first only: a new secret is a cold cache (docs/adr/0005). Erases and orders go to both, for entries of
    the old one still lie in the table, and environments that started with it still run.

    Raises:
        ClientError, BotoCoreError: the secret in force cannot be read.
    """
    texts = [_text(client().get_secret_value(SecretId=arn))]
    try:
        texts.append(_text(client().get_secret_value(SecretId=arn, VersionStage="AWSPREVIOUS")))
    except Exception as error:
        if code_in(error) != "ResourceNotFoundException":
            raise
    return list(dict.fromkeys(text for text in texts if text.strip()))


def _text(reply: Mapping[str, Any]) -> str:
    text: str = reply["SecretString"] if "SecretString" in reply else reply["SecretBinary"].hex()
    return text
