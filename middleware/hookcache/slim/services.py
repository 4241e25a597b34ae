"""
The operations of a hit and of keeping an answer, with boto3's names, arguments, replies and exceptions.

An operation or argument that is not listed goes to the boto3 client that `plain` makes, and so does a call whose
signature or region was refused. A failed connection does not: its caller bounds and repeats calls by itself.
"""

from __future__ import annotations

import binascii
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from hookcache.hints import Any
from hookcache.slim.asking import Slim, metadata, refusal
from hookcache.slim.connection import Reply
from hookcache.slim.unusual import Unusual


@cache
def _pascal(operation: str) -> str:
    return "".join(part.capitalize() for part in operation.split("_"))


class _JsonService(Slim):
    """A service that speaks AWS's JSON protocol: every operation is a POST of its arguments."""

    TARGET = VERSION = ""

    def _ask(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        return self._either(operation, lambda: self._post(_pascal(operation), arguments), arguments)

    def _post(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        body = _encode(arguments).encode()
        return self._read(operation, self._send("POST", self._url, "/", self._headers(operation), body))

    def _headers(self, operation: str) -> dict[str, str]:
        version, target = f"application/x-amz-json-{self.VERSION}", f"{self.TARGET}.{operation}"
        return {"content-type": version, "x-amz-target": target}

    def _read(self, operation: str, reply: Reply) -> Any:
        content = reply.whole()
        sum_told = reply.headers.get("x-amz-crc32")
        if sum_told is not None and int(sum_told) != zlib.crc32(content):
            from botocore.exceptions import ChecksumError

            raise ChecksumError(
                checksum_type="crc32", expected_checksum=sum_told, actual_checksum=str(zlib.crc32(content))
            )
        parsed = _parsed(content)
        if reply.status == 200:
            decoded = self._decoded(parsed)
            decoded["ResponseMetadata"] = metadata(reply)
            return decoded
        more = {"Item": self._decoded(parsed)["Item"]} if isinstance(parsed.get("Item"), dict) else {}
        raise refusal(operation, reply, *_told(reply, parsed), **more)

    def _decoded(self, parsed: dict[str, Any]) -> dict[str, Any]:
        return parsed


_AT_ONCE = {name: _pascal(name) for name in ("get_item", "put_item", "update_item", "batch_write_item")}


def _names_a_table(arguments: Mapping[str, Any]) -> bool:
    """By its name and not by an ARN, which may lie in another region or account."""
    return not str(arguments.get("TableName", "arn:")).startswith("arn:")


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

    def at_once(self, operation: str, arguments: Mapping[str, Any], seconds: float) -> Any:
        """
        The reply to one attempt in the caller's own thread, within `seconds` as a whole: name resolution and a body that
        drips, which no timeout of a socket bounds, cannot delay it.

        None where it must be asked for in the ordinary way: no connection is open, new credentials must be fetched, or
        the call is boto3's.
        """
        name = _AT_ONCE.get(operation)
        if self.refused or name is None or (operation != "batch_write_item" and not _names_a_table(arguments)):
            return None
        if self._place.must_fetch():
            return None
        try:
            body = _encode(arguments).encode()
            wire = self._wire(self._url)
            connection = wire.kept(seconds)
            if connection is None:
                return None
            return self._read(name, wire.send(self._filled(wire, name, self._headers, body), connection))
        except Unusual as unusual:
            self.refused = unusual.lasting
            return None

    def _on_table(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        if not _names_a_table(arguments):
            return getattr(self._plain(), operation)(**arguments)
        return self._ask(operation, arguments)

    def _decoded(self, parsed: dict[str, Any]) -> dict[str, Any]:
        for name in ("Item", "Attributes"):
            if name in parsed:
                _binary_to_bytes(parsed[name].values())
        return parsed


class SlimSecrets(_JsonService):
    """Secrets Manager: one secret by name."""

    NAME, HOST, TARGET, VERSION = "SECRETS_MANAGER", "secretsmanager", "secretsmanager", "1.1"

    def get_secret_value(self, **arguments: Any) -> Any:
        return self._ask("get_secret_value", arguments)

    def _decoded(self, parsed: dict[str, Any]) -> dict[str, Any]:
        if "SecretBinary" in parsed:
            parsed["SecretBinary"] = binascii.a2b_base64(parsed["SecretBinary"])
        return parsed


class SlimLambda(Slim):
    """Lambda: a function's configuration. Invocations are boto3's."""

    NAME, HOST = "LAMBDA", "lambda"

    def get_function_configuration(self, **arguments: Any) -> Any:
        return self._either("get_function_configuration", lambda: self._describe(**arguments), arguments)

    def _describe(self, **arguments: Any) -> Any:
        if arguments.keys() != {"FunctionName"}:
            raise Unusual
        from urllib.parse import quote  # 4 ms with what it loads, and a hit from memory or table quotes nothing

        path = f"/2015-03-31/functions/{quote(arguments['FunctionName'], safe='~')}/configuration"
        reply = self._send("GET", self._url, path, {})
        try:
            parsed = _parsed(reply.read())
        finally:
            reply.close()
        if reply.status == 200:
            return parsed | {"ResponseMetadata": metadata(reply)}
        raise refusal("GetFunctionConfiguration", reply, *_told(reply, parsed))


class SlimS3(Slim):
    """S3: reading one object, or asking what it is."""

    NAME, HOST = "S3", "s3"

    _KNOWN = frozenset({"Bucket", "Key", "ExpectedBucketOwner"})
    # Those on other endpoints, under other signatures, end in `--x-s3`, `--xa-s3` or `--op-s3`.
    _BUCKET = re.compile(r"(?!.*--[a-z]+-s3\Z)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
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
        from urllib.parse import quote

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
        if reply.headers.get("content-length", "").isdecimal():  # of a HEAD it may be left out
            result["ContentLength"] = int(reply.headers["content-length"])
        if reply.status == 200:
            result["ResponseMetadata"] = metadata(reply)
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
        raise refusal(operation, reply, told_code, message[1].decode() if message else "")


_BINARY = (bytes, bytearray, memoryview)


def _as_base64(value: object) -> str:
    if isinstance(value, _BINARY):
        return binascii.b2a_base64(value, newline=False).decode()
    raise Unusual  # boto3 says what is wrong with it


def _encoder() -> Callable[[Any], str]:
    """`JSONEncoder.encode`, less what it makes anew for every text and what looks for circles, which no item has."""
    plain = json.JSONEncoder(separators=(",", ":"), default=_as_base64)
    sample = {"N": "1", "B": b"\xff", "L": [True, None, 1.5, "\u00e9\ud83d"]}
    try:
        # Python's own, and not promised: where it is missing or another, `plain` will do.
        make = json.encoder.c_make_encoder  # type: ignore[attr-defined]
        parts = make(None, plain.default, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, True)
        if "".join(parts(sample, 0)) == plain.encode(sample):
            return lambda told: "".join(parts(told, 0))
    except Exception:
        return plain.encode
    return plain.encode


_encode = _encoder()


_scan = json.JSONDecoder().raw_decode


def _parsed(content: bytes) -> dict[str, Any]:
    """The object in a reply, without members that are null, as boto3 gives it; an empty one where there is none."""
    try:
        text = content.decode()
        # As all begin: `json.loads` would look for blanks at both ends.
        parsed, end = _scan(text) if text.startswith("{") else (None, -1)
        if end != len(text):
            parsed = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(parsed, dict):
        return {}
    return {name: value for name, value in parsed.items() if value is not None} if None in parsed.values() else parsed


def _told(reply: Reply, parsed: Mapping[str, Any]) -> tuple[str, str]:
    """Code and message of a refusal. A code may stand between `a.name.of.its.own#` and `:http://an.address/`."""
    code = reply.headers.get("x-amzn-errortype") or parsed.get("__type") or parsed.get("code") or reply.status
    return str(code).split(":", 1)[0].rsplit("#", 1)[-1], str(parsed.get("message") or parsed.get("Message") or "")


def _binary_to_bytes(values: Iterable[dict[str, Any]]) -> None:
    """Binary parts of attribute values, in place: they were parsed just now, and nobody else has them."""
    for value in values:
        if "S" in value or "N" in value:  # as most are
            continue
        if "B" in value:
            value["B"] = binascii.a2b_base64(value["B"])
        elif "BS" in value:
            value["BS"] = [binascii.a2b_base64(each) for each in value["BS"]]
        elif "M" in value:
            _binary_to_bytes(value["M"].values())
        elif "L" in value:
            _binary_to_bytes(value["L"])
