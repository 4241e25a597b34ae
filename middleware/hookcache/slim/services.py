"""
The operations of a hit and of keeping an answer, with boto3's names, arguments, replies and exceptions.

An operation or argument that is not listed goes to the boto3 client that `plain` makes, and so does a call whose
signature or region was refused. A failed connection does not: its caller bounds and repeats calls by itself.
"""

from __future__ import annotations

import base64
import json
import random
import re
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from urllib.parse import quote

from hookcache.slim.place import Place
from hookcache.slim.signing import Signer
from hookcache.slim.unusual import Unusual
from hookcache.slim.wire import Reply, Wire

_SIGNATURE_TROUBLE = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "ExpiredTokenException",
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

    def _send(
        self, method: str, url: str, path: str, headers: Mapping[str, str], body: bytes = b"", query: str = ""
    ) -> Reply:
        """One signed exchange, repeated where the service or its connection failed and attempts are left."""
        wire, target = self._wire(url), f"{path}?{query}" if query else path
        for left in reversed(range(self._attempts)):
            signed = self._signer.sign(
                self._place.credentials(), method, path, query, {"host": wire.host, **headers}, body
            )
            try:
                reply = wire.exchange(method, target, signed | {"user-agent": "hookcache"}, body)
            except Unusual:
                raise
            except Exception:
                if not left:
                    raise
            else:
                if reply.status < 500 or not left:
                    return reply
                reply.close()
            time.sleep(random.uniform(0, _PAUSE_SECONDS))
        raise AssertionError("a call is attempted at least once")  # pragma: no cover

    def _either(self, operation: str, slim: Callable[[], Any], arguments: Mapping[str, Any]) -> Any:
        """What `slim` gives, or boto3 where it finds something unusual; from then on boto3 alone if it was the signature."""
        if not self.refused:
            try:
                return slim()
            except Unusual as unusual:
                self.refused = unusual.lasting
        return getattr(self._plain(), operation)(**arguments)


def _refuse(operation: str, reply: Reply, code: str, message: str, **more: Any) -> NoReturn:
    if code in _SIGNATURE_TROUBLE:
        raise Unusual(code)
    from botocore.exceptions import ClientError

    parsed = {"Error": {"Message": message, "Code": code}, "ResponseMetadata": _metadata(reply), **more}
    raise ClientError(parsed, operation)  # type: ignore[arg-type]


def _metadata(reply: Reply) -> dict[str, Any]:
    request_id = reply.headers.get("x-amzn-requestid") or reply.headers.get("x-amz-request-id", "")
    return {"HTTPStatusCode": reply.status, "HTTPHeaders": reply.headers, "RequestId": request_id, "RetryAttempts": 0}


def _pascal(operation: str) -> str:
    return "".join(part.capitalize() for part in operation.split("_"))


class _JsonService(Slim):
    """A service that speaks AWS's JSON protocol: every operation is a POST of its arguments."""

    TARGET = VERSION = ""

    def _ask(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        return self._either(operation, lambda: self._post(_pascal(operation), arguments), arguments)

    def _post(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        headers = {
            "content-type": f"application/x-amz-json-{self.VERSION}",
            "x-amz-target": f"{self.TARGET}.{operation}",
        }
        body = json.dumps(arguments, separators=(",", ":"), default=_as_base64).encode()
        reply = self._send("POST", self._url, "/", headers, body)
        try:
            content = reply.read()
        finally:
            reply.close()
        sum_told = reply.headers.get("x-amz-crc32")
        if sum_told is not None and int(sum_told) != zlib.crc32(content):
            from botocore.exceptions import ChecksumError

            raise ChecksumError(
                checksum_type="crc32", expected_checksum=sum_told, actual_checksum=str(zlib.crc32(content))
            )
        parsed = _parsed(content)
        if reply.status == 200:
            return self._decoded(parsed) | {"ResponseMetadata": _metadata(reply)}
        code = str(parsed.get("__type") or parsed.get("code") or reply.status).rsplit("#", 1)[-1]
        message = str(parsed.get("message") or parsed.get("Message") or "")
        more = {"Item": _typed_map(parsed["Item"])} if isinstance(parsed.get("Item"), dict) else {}
        _refuse(operation, reply, code, message, **more)

    def _decoded(self, parsed: dict[str, Any]) -> dict[str, Any]:
        return parsed


class SlimDynamoDB(_JsonService):
    """DynamoDB: single items and batches of writes. Binary attributes are bytes on both sides."""

    NAME, HOST, TARGET, VERSION = "DYNAMODB", "dynamodb", "DynamoDB_20120810", "1.0"

    def get_item(self, **arguments: Any) -> Any:
        return self._on_table("get_item", arguments)

    def put_item(self, **arguments: Any) -> Any:
        return self._on_table("put_item", arguments)

    def update_item(self, **arguments: Any) -> Any:
        return self._on_table("update_item", arguments)

    def batch_write_item(self, **arguments: Any) -> Any:
        return self._ask("batch_write_item", arguments)

    def _on_table(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        if str(arguments.get("TableName", "arn:")).startswith("arn:"):  # an ARN may name another region or account
            return getattr(self._plain(), operation)(**arguments)
        return self._ask(operation, arguments)

    def _decoded(self, parsed: dict[str, Any]) -> dict[str, Any]:
        return {name: _typed_map(part) if name in {"Item", "Attributes"} else part for name, part in parsed.items()}


class SlimSecrets(_JsonService):
    """Secrets Manager: one secret by name."""

    NAME, HOST, TARGET, VERSION = "SECRETS_MANAGER", "secretsmanager", "secretsmanager", "1.1"

    def get_secret_value(self, **arguments: Any) -> Any:
        return self._ask("get_secret_value", arguments)

    def _decoded(self, parsed: dict[str, Any]) -> dict[str, Any]:
        if "SecretBinary" in parsed:
            parsed["SecretBinary"] = base64.b64decode(parsed["SecretBinary"])
        return parsed


class SlimLambda(Slim):
    """Lambda: a function's configuration. Invocations are boto3's."""

    NAME, HOST = "LAMBDA", "lambda"

    def get_function_configuration(self, **arguments: Any) -> Any:
        return self._either("get_function_configuration", lambda: self._describe(**arguments), arguments)

    def _describe(self, **arguments: Any) -> Any:
        if arguments.keys() != {"FunctionName"}:
            raise Unusual
        path = f"/2015-03-31/functions/{quote(arguments['FunctionName'], safe='~')}/configuration"
        reply = self._send("GET", self._url, path, {})
        try:
            parsed = _parsed(reply.read())
        finally:
            reply.close()
        if reply.status == 200:
            return parsed | {"ResponseMetadata": _metadata(reply)}
        code = reply.headers.get("x-amzn-errortype", str(reply.status)).split(":")[0]
        _refuse("GetFunctionConfiguration", reply, code, str(parsed.get("Message") or parsed.get("message") or ""))


class SlimS3(Slim):
    """S3: reading one object, or asking what it is."""

    NAME, HOST = "S3", "s3"

    _KNOWN = frozenset({"Bucket", "Key", "ExpectedBucketOwner"})
    _BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
    _TOLD: Mapping[str, str] = {
        "ETag": "etag",
        "VersionId": "x-amz-version-id",
        "ContentType": "content-type",
        "ServerSideEncryption": "x-amz-server-side-encryption",
    }
    _BUCKET_KEY = "x-amz-server-side-encryption-bucket-key-enabled"
    _CODE = re.compile(rb"<Code>([^<]*)</Code>")
    _MESSAGE = re.compile(rb"<Message>([^<]*)</Message>")

    def get_object(self, **arguments: Any) -> Any:
        return self._either("get_object", lambda: self._read("GET", "GetObject", **arguments), arguments)

    def head_object(self, **arguments: Any) -> Any:
        return self._either("head_object", lambda: self._read("HEAD", "HeadObject", **arguments), arguments)

    def _read(self, method: str, operation: str, **arguments: Any) -> Any:
        bucket, key, owner = arguments.get("Bucket", ""), arguments.get("Key", ""), arguments.get("ExpectedBucketOwner")
        if not arguments.keys() <= self._KNOWN or not key or not self._BUCKET.fullmatch(bucket):
            raise Unusual  # a dot in a bucket's name does not fit the certificate; the rest boto3 explains better
        path = "/" + quote(key, safe="/~")
        if self._own_endpoint:
            url, path = self._url, f"/{bucket}{path}"
        else:
            url = self._url.replace("https://", f"https://{bucket}.", 1)
        reply = self._send(method, url, path, {"x-amz-expected-bucket-owner": owner} if owner else {})
        result: dict[str, Any] = {
            name: reply.headers[header] for name, header in self._TOLD.items() if header in reply.headers
        }
        if self._BUCKET_KEY in reply.headers:
            result["BucketKeyEnabled"] = reply.headers[self._BUCKET_KEY] == "true"
        if reply.status == 200:
            result |= {"ContentLength": int(reply.headers["content-length"]), "ResponseMetadata": _metadata(reply)}
            if method == "HEAD":
                reply.close()
                return result
            return result | {"Body": reply}
        try:
            content = reply.read(65_536)
        finally:
            reply.close()
        if 300 <= reply.status < 400:
            raise Unusual("PermanentRedirect")  # the bucket lies in another region, which boto3 finds out
        code, message = self._CODE.search(content), self._MESSAGE.search(content)
        told_code = code[1].decode() if code else str(reply.status)
        _refuse(operation, reply, told_code, message[1].decode() if message else "")


def _as_base64(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    raise Unusual  # boto3 says what is wrong with it


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(content) if content else {}
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _typed_map(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _typed(value) for name, value in members.items()}


def _typed(value: Mapping[str, Any]) -> dict[str, Any]:
    """One attribute value with its binary parts as bytes."""
    ((kind, content),) = value.items()
    match kind:
        case "B":
            return {kind: base64.b64decode(content)}
        case "BS":
            return {kind: [base64.b64decode(each) for each in content]}
        case "M":
            return {kind: _typed_map(content)}
        case "L":
            return {kind: [_typed(each) for each in content]}
        case _:
            return dict(value)
