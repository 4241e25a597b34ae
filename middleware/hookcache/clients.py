"""
AWS clients with the time limits of each use, made when first needed: a hit pays for none that it does not use.

The calls of a hit are made by slim clients where the place is usual (`slim`, docs/adr/0010), the others by boto3. A
function that needs boto3 for its hits loads it while it starts; one that does not loads it with its first miss.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping

from hookcache.backend import ClientPool
from hookcache.hints import Any
from hookcache.items import ATTEMPT_SECONDS, WORKERS
from hookcache.slim import Place, SlimDynamoDB, SlimLambda, SlimS3, SlimSecrets

CONNECT_SECONDS = 2.0
S3_READ_SECONDS = 5.0

_SLIM = {"dynamodb": SlimDynamoDB, "s3": SlimS3, "secretsmanager": SlimSecrets, "lambda": SlimLambda}


class Clients:
    """
    One client per use, shared by all threads (boto3 clients are thread-safe, sessions are not).

    Args:
        environ: where the process runs, and `HOOKCACHE_CLIENT`; boto3 reads the process's own.
        slim: False makes every client boto3's.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, *, slim: bool = True) -> None:
        self._place = Place.of(environ) if slim else None
        if self._place is None:
            import boto3  # noqa: F401 - 130 ms, and no request's time to lose (P19)
        self._lock = threading.RLock()
        self._session: Any = None
        self._made: dict[str, Any] = {}
        self.lambda_by_timeout = ClientPool(self._lambda)

    def dynamodb(self) -> Any:
        made = self._made.get("dynamodb")  # as nearly always, six times in a miss: no lock for it
        if made is not None:
            return made
        return self._client("dynamodb", connect_timeout=ATTEMPT_SECONDS, read_timeout=ATTEMPT_SECONDS, attempts=1)

    def s3(self) -> Any:
        return self._client("s3", connect_timeout=CONNECT_SECONDS, read_timeout=S3_READ_SECONDS, attempts=2)

    def secrets_manager(self) -> Any:
        return self._client("secretsmanager", connect_timeout=CONNECT_SECONDS, read_timeout=CONNECT_SECONDS, attempts=2)

    def ssm(self) -> Any:
        return self._client("ssm", connect_timeout=CONNECT_SECONDS, read_timeout=CONNECT_SECONDS, attempts=2)

    def lambda_control(self) -> Any:
        """For reading the backend's configuration; quick to give up, since identity has a fall-back."""
        return self._client("lambda", connect_timeout=CONNECT_SECONDS, read_timeout=CONNECT_SECONDS, attempts=2)

    def _lambda(self, read_seconds: float) -> Any:
        return self._make("lambda", connect_timeout=CONNECT_SECONDS, read_timeout=read_seconds, attempts=1)

    def _client(self, service: str, *, connect_timeout: float, read_timeout: float, attempts: int) -> Any:
        limits = {"connect_timeout": connect_timeout, "read_timeout": read_timeout}

        def plain() -> Any:
            return self._make(service, **limits, attempts=attempts)

        with self._lock:
            if service not in self._made:
                self._made[service] = self._slim_client(service, plain, attempts, **limits) or plain()
            return self._made[service]

    def _slim_client(self, service: str, plain: Callable[[], Any], attempts: int, **limits: float) -> Any:
        """The slim client of a service, made with boto3's as what it falls back to; None where there is none."""
        made: Callable[..., Any] | None = _SLIM.get(service) if self._place is not None else None
        return None if made is None else made(self._place, plain, attempts=attempts, **limits)

    def _make(self, service: str, *, connect_timeout: float, read_timeout: float, attempts: int) -> Any:
        import boto3
        from botocore.config import Config

        with self._lock:
            if self._session is None:
                _keep_quiet()
                self._session = boto3.session.Session()
            return self._session.client(
                service,
                config=Config(
                    connect_timeout=connect_timeout,
                    read_timeout=read_timeout,
                    retries={"total_max_attempts": int(attempts), "mode": "standard"},
                    max_pool_connections=WORKERS,
                    tcp_keepalive=True,
                ),
            )


def _keep_quiet() -> None:
    """At DEBUG the SDK logs whole requests: prompts and answers (P36)."""
    import logging

    for name in ("boto3", "botocore", "urllib3"):
        logging.getLogger(name).setLevel(logging.INFO)
