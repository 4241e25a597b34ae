"""
Signature Version 4 over one request, as botocore's own signer makes it; tests/unit/test_slim_signing.py compares the two.

A mistake here can only be refused by the service, which sends the call to boto3: it cannot change an answer.

Source: AWS Identity and Access Management User Guide, "Create a signed AWS API request".
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from functools import lru_cache

from hookcache.value import value

ALGORITHM = "AWS4-HMAC-SHA256"
_DATE = "x-amz-date"


@value
class Credentials:
    """Who signs. `token` is empty for long-lived keys."""

    access_key: str
    secret_key: str
    token: str

    def __repr__(self) -> str:
        return f"Credentials(access_key={self.access_key!r})"


class Signer:
    """Signs requests to one service in one region. Keeps the day's key, which four HMACs go into."""

    def __init__(self, region: str, service: str) -> None:
        self._region = region
        self._service = service
        self._known: tuple[tuple[str, str], bytes] | None = None
        self._around_date = lru_cache(maxsize=16)(self._spell)  # calls of one operation differ by date and body alone

    def sign(
        self,
        credentials: Credentials,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        at_seconds: float | None = None,
    ) -> dict[str, str]:
        """
        `headers` and those that make it a signed request.

        Args:
            path: as on the request line, percent-encoded; `query` is likewise, its members sorted.
            headers: every header that is to be signed, lower-case names, `host` among them.
        """
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at_seconds))
        digest = hashlib.sha256(body).hexdigest()
        signed = dict(headers)
        if credentials.token:
            signed["x-amz-security-token"] = credentials.token
        if self._service == "s3":
            signed["x-amz-content-sha256"] = digest
        before, behind, listed = self._around_date(method, path, query, tuple(signed.items()))
        canonical = hashlib.sha256(f"{before}{stamp}{behind}{digest}".encode()).hexdigest()
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        text = f"{ALGORITHM}\n{stamp}\n{scope}\n{canonical}"
        signature = hmac.digest(self._key(credentials.secret_key, stamp[:8]), text.encode(), "sha256").hex()
        signed["x-amz-date"] = stamp
        signed["authorization"] = (
            f"{ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={listed}, Signature={signature}"
        )
        return signed

    def _spell(self, method: str, path: str, query: str, headers: tuple[tuple[str, str], ...]) -> tuple[str, str, str]:
        """The canonical request before its date and from there to the body's digest, and the names of the signed headers."""
        lines = {name: f"{name}:{' '.join(told.split())}\n" for name, told in headers}
        names = sorted((*lines, _DATE))
        date, listed = names.index(_DATE), ";".join(names)
        # Every service but S3 wants the path encoded once more than it is sent.
        canonical_path = path if self._service == "s3" else path.replace("%", "%25")
        before = "".join(
            [f"{method}\n{canonical_path}\n{query}\n", *[lines[name] for name in names[:date]], f"{_DATE}:"]
        )
        behind = "".join(["\n", *[lines[name] for name in names[date + 1 :]], f"\n{listed}\n"])
        return before, behind, listed

    def _key(self, secret_key: str, day: str) -> bytes:
        known = self._known
        if known is None or known[0] != (secret_key, day):
            key = f"AWS4{secret_key}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._known = known = (secret_key, day), key
        return known[1]
