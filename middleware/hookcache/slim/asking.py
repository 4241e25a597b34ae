"""
One way of asking a service: signed, over kept connections, repeated where its client may, and boto3 where something is unusual.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from hookcache.chance import between
from hookcache.hints import Any
from hookcache.mac import sha256_hex
from hookcache.slim.connection import Reply
from hookcache.slim.place import Place
from hookcache.slim.signing import Credentials, Form, Signer
from hookcache.slim.unusual import Unusual
from hookcache.slim.wire import Wire
from hookcache.value import value

_SIGNATURE_TROUBLE = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "ExpiredTokenException",
        "IllegalLocationConstraintException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "PermanentRedirect",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TemporaryRedirect",
        "UnrecognizedClientException",
    }
)
_PAUSE_SECONDS = 0.1


@value
class Blank:
    """A POST of one operation but for its date, signature and body: its head up to the body's length, under `credentials`."""

    credentials: Credentials
    head: str
    form: Form


class Slim:
    """
    One service.

    Args:
        plain: makes the boto3 client, at most once, when something unusual is asked for.
        attempts: how often a call is made when the service says 5xx or the connection fails.
    """

    NAME = HOST = ""

    def __init__(
        self, place: Place, plain: Callable[[], Any], *, connect_timeout: float, read_timeout: float, attempts: int
    ) -> None:
        url, self._own_endpoint = place.endpoint(self.NAME, self.HOST)
        self._place, self._make_plain, self._attempts = place, plain, attempts
        self._signer = Signer(place.region, self.HOST)
        self._connect_seconds, self._read_seconds = connect_timeout, read_timeout
        self._lock = threading.Lock()
        self._plain_client: Any = None
        self._wires: dict[str, Wire] = {}
        self._blanks: dict[str, Blank] = {}
        self._url = url
        self.refused = ""

    def __getattr__(self, operation: str) -> Any:
        if operation.startswith("_"):
            raise AttributeError(operation)
        return getattr(self._plain(), operation)

    def close(self) -> None:
        """End idle connections, as boto3's `close` does; the next call opens new ones."""
        for wire in tuple(self._wires.values()):
            wire.close()

    def _plain(self) -> Any:
        with self._lock:
            if self._plain_client is None:
                self._plain_client = self._make_plain()
            return self._plain_client

    def _wire(self, url: str) -> Wire:
        wire = self._wires.get(url)
        if wire is None:
            wire = self._wires.setdefault(url, Wire(url, self._place.tls, self._connect_seconds, self._read_seconds))
        return wire

    def _send(self, method: str, url: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Reply:
        """One signed exchange, repeated where the service or its connection failed and attempts are left."""
        wire = self._wire(url)
        for left in reversed(range(self._attempts)):
            try:
                reply = wire.exchange(method, path, self._signed(wire, method, path, headers, body), body)
            except Unusual:
                raise
            except Exception:
                if not left:
                    raise
            else:
                if reply.status < 500 or not left:
                    return reply
                reply.close()
            time.sleep(between(0, _PAUSE_SECONDS))
        raise AssertionError("a call is attempted at least once")  # pragma: no cover

    def _signed(self, wire: Wire, method: str, path: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        named = {"host": wire.host, **headers}
        signed = self._signer.sign(self._place.credentials(), method, path, "", named, body)
        signed["user-agent"] = "hookcache"
        return signed

    def _filled(self, wire: Wire, operation: str, headers: Callable[[str], Mapping[str, str]], body: bytes) -> bytes:
        """The whole signed request of an operation whose calls differ by date and body alone, for `Wire.send`."""
        credentials, blank = self._place.credentials(), self._blanks.get(operation)
        if blank is None or (blank.credentials is not credentials and blank.credentials != credentials):
            blank = self._blanks[operation] = self._blank(credentials, {"host": wire.host, **headers(operation)})
        stamp, told = self._signer.authorize(credentials, blank.form, sha256_hex(body))
        head = f"{blank.head}{len(body)}\r\nx-amz-date: {stamp}\r\nauthorization: {told}\r\n\r\n"
        return head.encode("latin-1") + body

    def _blank(self, credentials: Credentials, headers: dict[str, str]) -> Blank:
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        lines = [f"{name}: {told}\r\n" for name, told in headers.items()]
        head = "".join(["POST / HTTP/1.1\r\n", *lines, "user-agent: hookcache\r\ncontent-length: "])
        return Blank(credentials, head, self._signer.form("POST", "/", "", headers))

    def _either(self, operation: str, slim: Callable[[], Any], arguments: Mapping[str, Any]) -> Any:
        """What `slim` gives, or boto3 where it finds something unusual; from then on boto3 alone if it was the signature."""
        if not self.refused:
            try:
                return slim()
            except Unusual as unusual:
                self.refused = unusual.lasting
        return getattr(self._plain(), operation)(**arguments)


def refusal(operation: str, reply: Reply, code: str, message: str, **more: Any) -> Exception:
    """What boto3 raises for a refusal; `Unusual` if it is about the signature."""
    if code in _SIGNATURE_TROUBLE:
        return Unusual(code)
    from botocore.exceptions import ClientError

    parsed = {"Error": {"Message": message, "Code": code}, "ResponseMetadata": metadata(reply), **more}
    return ClientError(parsed, operation)  # type: ignore[arg-type]


def metadata(reply: Reply) -> dict[str, Any]:
    request_id = reply.headers.get("x-amzn-requestid") or reply.headers.get("x-amz-request-id", "")
    return {"HTTPStatusCode": reply.status, "HTTPHeaders": reply.headers, "RequestId": request_id, "RetryAttempts": 0}
