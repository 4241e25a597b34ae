"""
Signature Version 4 over one request, as botocore's own signer makes it; tests/unit/test_slim.py compares the two.

A mistake here can only be refused by the service, which sends the call to boto3: it cannot change an answer.

Source: AWS Identity and Access Management User Guide, "Create a signed AWS API request".
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from hookcache.mac import Mac, sha256_hex
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


@value
class Form:
    """The canonical request before its date, and from there to its body's digest; the names of the signed headers."""

    before: str
    behind: str
    listed: str


class Signer:
    """Signs requests to one service in one region. Keeps the day's key, which four HMACs go into."""

    def __init__(self, region: str, service: str) -> None:
        self._region = region
        self._service = service
        self._known: tuple[tuple[str, str], Mac] | None = None
        self._now: tuple[int, str, str] = (-1, "", "")

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
        digest = sha256_hex(body)
        signed = dict(headers)
        if credentials.token:
            signed["x-amz-security-token"] = credentials.token
        if self._service == "s3":
            signed["x-amz-content-sha256"] = digest
        stamp, told = self.authorize(credentials, self.form(method, path, query, signed), digest, at_seconds)
        return {**signed, _DATE: stamp, "authorization": told}

    def form(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Form:
        """What requests have in common that differ by date and body alone."""
        lines = {name: f"{name}:{' '.join(told.split())}\n" for name, told in headers.items()}
        names = sorted((*lines, _DATE))
        date, listed = names.index(_DATE), ";".join(names)
        # Every service but S3 wants the path encoded once more than it is sent.
        canonical_path = path if self._service == "s3" else path.replace("%", "%25")
        before = "".join(
            [f"{method}\n{canonical_path}\n{query}\n", *[lines[name] for name in names[:date]], f"{_DATE}:"]
        )
        behind = "".join(["\n", *[lines[name] for name in names[date + 1 :]], f"\n{listed}\n"])
        return Form(before, behind, listed)

    def authorize(
        self, credentials: Credentials, form: Form, digest: str, at_seconds: float | None = None
    ) -> tuple[str, str]:
        """The headers `x-amz-date` and `authorization` of a request whose body has the SHA-256 `digest`."""
        second = int(time.time() if at_seconds is None else at_seconds)
        known, stamp, scope = self._now
        if known != second:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
            scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
            self._now = second, stamp, scope
        canonical = sha256_hex(f"{form.before}{stamp}{form.behind}{digest}".encode())
        text = f"{ALGORITHM}\n{stamp}\n{scope}\n{canonical}".encode()
        signature = self._key(credentials.secret_key, stamp[:8]).digest(text).hex()
        who = f"{ALGORITHM} Credential={credentials.access_key}/{scope}"
        return stamp, f"{who}, SignedHeaders={form.listed}, Signature={signature}"

    def _key(self, secret_key: str, day: str) -> Mac:
        known = self._known
        if known is None or known[0] != (secret_key, day):
            key = f"AWS4{secret_key}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = Mac(key).digest(part.encode())
            self._known = known = (secret_key, day), Mac(key)
        return known[1]
