"""The slim client: what boto3 would send, give and raise, and boto3 itself wherever something is unusual."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotoCredentials
from botocore.exceptions import (
    ChecksumError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    IncompleteReadError,
    ReadTimeoutError,
)
from hypothesis import given
from hypothesis import strategies as st

from hookcache.slim import Place, SlimDynamoDB, SlimLambda, SlimS3, SlimSecrets, services, signing
from hookcache.slim.signing import Credentials, Signer
from hookcache.slim.wire import Wire

ENVIRON = {
    "AWS_REGION": "eu-central-1",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "session//token==",
    "HOME": "/nonexistent",
}
LIMITS = {"connect_timeout": 30.0, "read_timeout": 30.0}
NOW = datetime(2026, 11, 21, 9, 30, 15, tzinfo=UTC)


class Last(bytes):
    """A reply behind which the connection ends."""


class Server:
    """A socket that answers each request with the next of `replies`: bytes, `Last`, None to hang, or "" to close."""

    def __init__(self, *replies: bytes | None) -> None:
        self.replies = list(replies)
        self.requests: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._over = threading.Event()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # A client may go away with a reply unread.
        with suppress(ConnectionError), connection, connection.makefile("rb") as file:
            while head := self._read(file):
                self.requests.append(head)
                reply = self.replies.pop(0) if self.replies else b""
                if reply is None:
                    self._over.wait(60)
                    return
                connection.sendall(reply)
                if not reply or isinstance(reply, Last):
                    return

    @staticmethod
    def _read(file: Any) -> bytes:
        lines, length = [], 0
        while (line := file.readline()).strip():
            lines.append(line)
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return b"".join(lines) + b"\r\n" + file.read(length) if lines else b""

    def drop_connections(self) -> None:
        """What a freeze of some minutes does to idle connections."""
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def close(self) -> None:
        self._over.set()
        self._listener.close()


def reply(body: bytes, status: int = 200, length: int | None = None, **headers: str) -> bytes:
    told = {"date": "Sat, 21 Nov 2026 09:30:15 GMT", "content-length": str(len(body) if length is None else length)}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in told.items()), "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(*replies: bytes | None) -> Server:
        made.append(Server(*replies))
        return made[-1]

    yield make
    for server in made:
        server.close()


@cache
def _session() -> boto3.Session:
    return boto3.Session(aws_access_key_id="AKID", aws_secret_access_key="secret", region_name="eu-central-1")


def by_boto3(service: str, url: str | None = None) -> Any:
    """boto3's client, which tries once."""
    return _session().client(service, endpoint_url=url, config=Config(retries={"total_max_attempts": 1}))


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """The sockets that are opened; held here, so that none is closed by being forgotten."""
    made: list[socket.socket] = []
    dial = Wire.dial

    def remembered(wire: Wire) -> socket.socket:
        made.append(dial(wire))
        return made[-1]

    monkeypatch.setattr(Wire, "dial", remembered)
    return made


class Plain:
    """Stands where boto3's client would; remembers what it was asked, and with what."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.arguments: list[dict[str, Any]] = []

    def __getattr__(self, operation: str) -> Any:
        def call(**arguments: Any) -> str:
            self.asked.append(operation)
            self.arguments.append(arguments)
            return "from boto3"

        return call


def client(kind: Any, server: Server, plain: Any = None, attempts: int = 1, **limits: float) -> Any:
    place = Place.of({**ENVIRON, "AWS_ENDPOINT_URL": server.url})
    assert place is not None
    return kind(place, lambda: plain, **{**LIMITS, **limits}, attempts=attempts)


GET = {"TableName": "table", "Key": {"pk": {"B": b"\x00\xff"}, "kind": {"S": "ENTRY"}}}


class TestSignature:
    """What is sent is what botocore's signer would have sent."""

    @staticmethod
    def by_botocore(service: str, method: str, url: str, headers: dict[str, str], body: bytes) -> str:
        request = AWSRequest(method, url, headers=headers, data=body)
        request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
        kind = S3SigV4Auth if service == "s3" else SigV4Auth
        auth = kind(BotoCredentials("AKID", "secret", "token"), service, "eu-central-1")
        request.headers["X-Amz-Security-Token"] = "token"
        request.headers["X-Amz-Date"] = request.context["timestamp"]
        if service == "s3":
            request.headers["X-Amz-Content-SHA256"] = auth.payload(request)
        canonical = auth.canonical_request(request)
        text = auth.string_to_sign(request, canonical)
        listed = auth.signed_headers(auth.headers_to_sign(request))
        return f"Credential={auth.scope(request)}, SignedHeaders={listed}, Signature={auth.signature(text, request)}"

    @given(body=st.binary(max_size=64), target=st.sampled_from(["GetItem", "PutItem", "UpdateItem"]))
    def test_a_json_call_is_signed_as_botocore_signs_it(self, body, target):
        """P18: byte for byte, so that the service sees no difference."""
        headers = {"host": "dynamodb.eu-central-1.amazonaws.com", "content-type": "application/x-amz-json-1.0"}
        headers["x-amz-target"] = f"DynamoDB_20120810.{target}"

        expected = self.by_botocore("dynamodb", "POST", "https://dynamodb.eu-central-1.amazonaws.com/", headers, body)
        signed = Signer("eu-central-1", "dynamodb").sign(
            Credentials("AKID", "secret", "token"), "POST", "/", "", headers, body, NOW.timestamp()
        )

        assert f"{signing.ALGORITHM} {expected}" == signed["authorization"]

    @given(key=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30))
    def test_an_object_of_any_name_is_signed_as_botocore_signs_it(self, key):
        """B13: spaces, percent signs, `#`, `?` and letters of any script in an object's name."""
        from urllib.parse import quote

        path = "/" + quote(key, safe="/~")
        headers = {"host": "bucket.s3.eu-central-1.amazonaws.com", "x-amz-expected-bucket-owner": "123456789012"}

        expected = self.by_botocore("s3", "GET", f"https://{headers['host']}{path}", headers, b"")
        signed = Signer("eu-central-1", "s3").sign(
            Credentials("AKID", "secret", "token"), "GET", path, "", headers, b"", NOW.timestamp()
        )

        assert f"{signing.ALGORITHM} {expected}" == signed["authorization"]

    def test_a_function_named_by_arn_is_signed_as_botocore_signs_it(self):
        """P40: the colons of an ARN are encoded once on the wire and twice in what is signed."""
        path = (
            "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-central-1%3A123456789012%3Afunction%3Ax%3Alive/configuration"
        )
        headers = {"host": "lambda.eu-central-1.amazonaws.com"}

        expected = self.by_botocore("lambda", "GET", f"https://{headers['host']}{path}", headers, b"")
        signed = Signer("eu-central-1", "lambda").sign(
            Credentials("AKID", "secret", "token"), "GET", path, "", headers, b"", NOW.timestamp()
        )

        assert f"{signing.ALGORITHM} {expected}" == signed["authorization"]

    def test_what_is_shown_of_credentials_is_no_secret(self):
        """P36: neither key nor token may reach a log by way of a traceback."""
        assert "Credentials(access_key='AKID')" == repr(Credentials("AKID", "secret", "token"))

    def test_the_next_day_has_a_key_of_its_own(self):
        """A signer that lives past midnight signs with the new day's key."""
        signer, credentials = Signer("eu-central-1", "dynamodb"), Credentials("AKID", "secret", "")
        signer.sign(credentials, "POST", "/", "", {"host": "h"}, b"", NOW.timestamp())

        later = signer.sign(credentials, "POST", "/", "", {"host": "h"}, b"", NOW.timestamp() + 86_400)
        fresh = Signer("eu-central-1", "dynamodb").sign(
            credentials, "POST", "/", "", {"host": "h"}, b"", NOW.timestamp() + 86_400
        )

        assert fresh == later
        assert "x-amz-security-token" not in later


def _nothing(*_: object) -> list[str]:
    return ["{}"]


class TestFilledIn:
    """Calls of one operation differ by date and body alone: the rest of the request is spelt once, for as long as it holds."""

    @staticmethod
    def signed_by_botocore(request: bytes, who: Credentials) -> bool:
        """Does a request, as the server received it, bear the signature that botocore makes for it?"""
        head, _, body = request.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        told = dict(line.split(": ", 1) for line in lines)
        assert (first, str(len(body))) == ("POST / HTTP/1.1", told["content-length"])
        names = re.search(r"SignedHeaders=([^,]+), ", told["authorization"])[1].split(";")
        known = AWSRequest("POST", f"http://{told['host']}/", headers={name: told[name] for name in names}, data=body)
        known.context["timestamp"] = told["x-amz-date"]
        auth = SigV4Auth(BotoCredentials(who.access_key, who.secret_key, who.token), "dynamodb", "eu-central-1")
        text = auth.string_to_sign(known, auth.canonical_request(known))
        credential = f"Credential={auth.scope(known)},"
        return credential in told["authorization"] and told["authorization"].endswith(f"={auth.signature(text, known)}")

    def test_each_is_signed_as_botocore_signs_it(self, serve):
        """P18: every operation, and each body anew."""
        server = serve(*[reply(b"{}")] * 4)
        dynamodb = client(SlimDynamoDB, server)
        dynamodb.get_item(**GET)
        for operation, arguments in (
            ("get_item", GET),
            ("put_item", {**GET, "more": "x"}),
            ("get_item", {**GET, "a": 1}),
        ):
            dynamodb.at_once(operation, arguments, 30.0)

        who = Credentials(ENVIRON["AWS_ACCESS_KEY_ID"], ENVIRON["AWS_SECRET_ACCESS_KEY"], ENVIRON["AWS_SESSION_TOKEN"])
        assert [True] * 4 == [self.signed_by_botocore(request, who) for request in server.requests]
        assert all(b"x-amz-security-token: session//token==\r\n" in request for request in server.requests)
        assert [False] * 4 == [
            self.signed_by_botocore(request, Credentials("AKID", "another", "token")) for request in server.requests
        ]

    def test_renewed_credentials_are_used_from_the_next_call_on(self, serve):
        """P18: SnapStart's and containers' keys change while the process lives; an old token must not stay in a head."""
        first, second = Credentials("AKID1", "secret1", "token1"), Credentials("AKID2", "secret2", "")
        now = [first]
        server = serve(*[reply(b"{}")] * 4)
        place = Place({**ENVIRON, "AWS_ENDPOINT_URL": server.url}, "eu-central-1", lambda: now[0])
        dynamodb = SlimDynamoDB(place, lambda: None, **LIMITS, attempts=1)
        dynamodb.get_item(**GET)
        for who in (first, Credentials("AKID1", "secret1", "token1"), second):
            now[0] = who
            dynamodb.at_once("get_item", GET, 30.0)

        assert [True, True, True, False] == [self.signed_by_botocore(each, first) for each in server.requests]
        assert self.signed_by_botocore(server.requests[-1], second)
        token = b"\r\nx-amz-security-token: token1\r\n"
        assert [True, True, True, False] == [token in request for request in server.requests]
        assert b"x-amz-security-token" not in server.requests[-1]

    def test_each_second_has_its_date(self, monkeypatch):
        """P18: a service refuses what was signed five minutes ago."""
        signer, who = Signer("eu-central-1", "dynamodb"), Credentials("AKID", "secret", "")
        form = signer.form("POST", "/", "", {"host": "h"})
        seconds = iter([NOW.timestamp() + 0.2, NOW.timestamp() + 0.9, NOW.timestamp() + 1.1, NOW.timestamp()])
        monkeypatch.setattr("hookcache.slim.signing.time.time", lambda: next(seconds))
        dates = [signer.authorize(who, form, "0" * 64)[0] for _ in range(4)]

        assert ["20261121T093015Z", "20261121T093015Z", "20261121T093016Z", "20261121T093015Z"] == dates

    @pytest.mark.parametrize(
        "made_of",
        [
            None,
            lambda: None,
            lambda *_: lambda _: [],
            # Python's own way, which looks for circles, is as it was.
            lambda circles, *more, made=json.encoder.c_make_encoder: (
                made(circles, *more) if circles == {} else _nothing
            ),
        ],
        ids=["missing", "made otherwise", "called otherwise", "says otherwise"],
    )
    def test_without_the_encoder_s_own_part_it_is_python_s(self, made_of, monkeypatch):
        """P18: a Python that has it no longer, or in another form, encodes the same."""
        told = {**GET, "S": 'ü"\\\u2028', "list": [1, 0.5, True, None, b"\x00\xff"]}
        with monkeypatch.context() as patched:
            patched.setattr("json.encoder.c_make_encoder", made_of)
            plain = services._encoder()

        assert (
            services._encode(told)
            == plain(told)
            == json.dumps(told, separators=(",", ":"), default=lambda value: base64.b64encode(value).decode())
        )


class TestPlace:
    """Where it may be used at all."""

    def test_a_lambda_environment_is_usual(self):
        """G13: what Lambda sets is enough."""
        place = Place.of(ENVIRON)

        assert place is not None
        assert ("https://dynamodb.eu-central-1.amazonaws.com", False) == place.endpoint("DYNAMODB", "dynamodb")

    @pytest.mark.parametrize(
        "change",
        [
            {"HOOKCACHE_CLIENT": "boto3"},
            {"AWS_REGION": "cn-north-1", "AWS_DEFAULT_REGION": "cn-north-1"},
            {"AWS_REGION": "us-gov-west-1", "AWS_DEFAULT_REGION": "us-gov-west-1"},
            {"AWS_REGION": "us-east-1"},
            {"AWS_REGION": "", "AWS_DEFAULT_REGION": ""},
            {"HTTPS_PROXY": "http://proxy:3128"},
            {"Http_Proxy": "http://proxy:3128"},
            {"AWS_USE_FIPS_ENDPOINT": "true"},
            {"AWS_PROFILE": "work"},
            {"AWS_DEFAULT_PROFILE": "work"},
            {"AWS_CONFIG_FILE": "/etc/aws"},
            {"AWS_SHARED_CREDENTIALS_FILE": "/etc/keys"},
            {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
            {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            {"AWS_S3_USE_ARN_REGION": "true"},
            {"AWS_ACCOUNT_ID": "123456789012"},
            {"https_proxy": "http://proxy:3128"},
            {"AWS_CREDENTIAL_EXPIRATION": "2026-11-21T10:00:00Z"},
            {"AWS_SECRET_ACCESS_KEY": ""},
        ],
        ids=lambda change: "-".join(change),
    )
    def test_what_only_boto3_understands_makes_it_unusual(self, change):
        """P18: proxies, partitions, profiles, FIPS and credentials that end are boto3's."""
        assert Place.of({**ENVIRON, **change}) is None

    @pytest.mark.parametrize("name", ["config", "credentials"])
    def test_a_configuration_file_makes_it_unusual(self, tmp_path, name):
        """P18: what a file may say, boto3 understands."""
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws" / name).touch()

        assert Place.of({**ENVIRON, "HOME": str(tmp_path)}) is None

    def test_a_process_without_a_home_has_that_of_its_user(self, tmp_path, monkeypatch):
        """P18: as Lambda may start it."""
        told = {name: value for name, value in ENVIRON.items() if name != "HOME"}
        monkeypatch.setattr("os.path.expanduser", lambda _: str(tmp_path))
        without = Place.of(told)
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws" / "config").touch()

        assert (True, None) == (without is not None, Place.of(told))

    @pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
    def test_one_name_of_the_region_is_enough(self, name):
        """P18: Lambda sets both."""
        told = {key: value for key, value in ENVIRON.items() if "REGION" not in key}
        place = Place.of({**told, name: "eu-west-1"})

        assert place is not None
        assert "eu-west-1" == place.region

    def test_a_token_may_go_by_its_older_name(self):
        """P18: as botocore reads it."""
        place = Place.of({**ENVIRON, "AWS_SESSION_TOKEN": "", "AWS_SECURITY_TOKEN": "older"})

        assert place is not None
        assert "older" == place.credentials().token

    @staticmethod
    def of_who_gives_keys(url: str, monkeypatch: Any) -> Place | None:
        """A place without keys but with the address of who gives them, as under SnapStart."""
        told = {**ENVIRON, "AWS_CONTAINER_CREDENTIALS_FULL_URI": url, "AWS_EC2_METADATA_DISABLED": "true"}
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            del told[name]
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        return Place.of(told)

    @pytest.mark.parametrize(("minutes", "must_fetch"), [(300, False), (10, True)])
    def test_keys_may_come_from_who_gives_them(self, serve, monkeypatch, minutes, must_fetch):
        """P18, P19: botocore's chain finds and renews them, from a quarter of an hour before they end."""
        ends = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
        keys = {"AccessKeyId": "AKID", "SecretAccessKey": "secret", "Token": "token", "Expiration": ends}
        server = serve(*[reply(json.dumps(keys).encode())] * 2)
        place = self.of_who_gives_keys(f"{server.url}/keys", monkeypatch)

        assert place is not None
        assert (must_fetch, Credentials("AKID", "secret", "token")) == (place.must_fetch(), place.credentials())

    def test_who_gives_no_keys_keeps_no_function_from_starting(self, monkeypatch):
        """P18: boto3 asks again with each call, and a handler in this process needs none of it."""
        assert self.of_who_gives_keys("http://no-such-host.invalid/keys", monkeypatch) is None

    def test_where_nobody_has_keys_boto3_says_so(self, monkeypatch):
        """P18: with each call, and no start fails."""
        monkeypatch.setattr("botocore.session.Session.get_credentials", lambda _: None)

        assert self.of_who_gives_keys("http://127.0.0.1:1/keys", monkeypatch) is None

    def test_an_operator_s_endpoint_is_taken(self):
        """P22: the SDK's own variables, the service's before the general one."""
        place = Place.of({**ENVIRON, "AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_S3": "http://s3/"})

        assert place is not None
        assert [("http://s3", True), ("http://all", True)] == [place.endpoint("S3", "s3"), place.endpoint("X", "x")]

    @pytest.mark.parametrize("more", ["?x=1", "#x", "/path", ":x", ": 1", "\n", "\r\nx: y"])
    def test_an_endpoint_that_is_more_than_host_and_port_is_boto3_s(self, serve, more):
        """P18: as one call finds, and none fails for it."""
        server = serve(reply(b"{}"))
        server.url += more
        plain = Plain()

        assert "from boto3" == client(SlimDynamoDB, server, plain).get_item(**GET)
        assert [] == server.requests

    def test_the_roots_of_aws_are_trusted_and_no_others(self):
        """P18: a place without a bundle of its own loads the few roots that AWS uses, from the file that boto3 ships."""
        place = Place.of(ENVIRON)
        assert place is not None

        assert place.tls() is place.tls()  # G3: the file is read once
        subjects = [dict(part[0] for part in root["subject"]) for root in place.tls().get_ca_certs()]
        names = {each.get("commonName") or each["organizationalUnitName"] for each in subjects}

        amazon = {f"Amazon Root CA {number}" for number in (1, 2, 3, 4)}
        starfield = {"Starfield Services Root Certificate Authority - G2"}
        assert amazon | starfield <= names
        assert {"Amazon", "Starfield"} == {name.split()[0] for name in names}


class TestCalls:
    def test_binary_attributes_are_bytes_on_both_sides(self, serve):
        """P8: as boto3 gives them, nested ones included."""
        encoded = base64.b64encode(b"\x00\x01").decode()
        item = {
            "b": {"B": encoded},
            "l": {"L": [{"B": encoded}]},
            "m": {"M": {"x": {"BS": [encoded]}}},
            "n": {"N": "1"},
            "other": {"L": [{"BOOL": True}, {"NULL": True}, {"SS": ["x"]}, {"NS": ["1"]}]},
        }
        server = serve(reply(json.dumps({"Item": item, "ConsumedCapacity": {"CapacityUnits": 0.5}}).encode()))

        got = client(SlimDynamoDB, server).get_item(**GET)

        plain = {"b": {"B": b"\x00\x01"}, "l": {"L": [{"B": b"\x00\x01"}]}, "m": {"M": {"x": {"BS": [b"\x00\x01"]}}}}
        assert plain | {"n": {"N": "1"}, "other": item["other"]} == got["Item"]
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert "AP8=" == json.loads(body)["Key"]["pk"]["B"]
        assert b"x-amz-target: DynamoDB_20120810.GetItem" in head

    @pytest.mark.parametrize("operation", ["put_item", "update_item", "batch_write_item"])
    def test_what_a_write_replaced_is_told(self, serve, operation):
        """P25: bytes, as boto3 gives them; and each operation by its own name."""
        server = serve(reply(b'{"Attributes": {"pk": {"B": "AP8="}}}'))
        got = getattr(client(SlimDynamoDB, server), operation)(TableName="table", more={"B": b"\0"})

        assert {"pk": {"B": b"\x00\xff"}} == got["Attributes"]
        name = {"put_item": b"PutItem", "update_item": b"UpdateItem", "batch_write_item": b"BatchWriteItem"}[operation]
        assert b"x-amz-target: DynamoDB_20120810.%s\r\n" % name in server.requests[0]

    @pytest.mark.parametrize(
        "body", [b"", b"junk", b"[1]", b"null", b'{"a": 1} x', b'{"a": 1}{}', b"\xff", b"\xef\xbb\xbf{}"]
    )
    def test_a_reply_that_is_no_object_says_nothing(self, serve, body):
        """F28: none of it is taken for an answer; who asked finds the reply cut short."""
        assert {"ResponseMetadata"} == set(client(SlimDynamoDB, serve(reply(body))).get_item(**GET))

    @pytest.mark.parametrize(
        ("kind", "service", "operation", "arguments", "told"),
        [
            (SlimDynamoDB, "dynamodb", "get_item", GET, {"Item": None, "ConsumedCapacity": {"CapacityUnits": 0.5}}),
            (SlimSecrets, "secretsmanager", "get_secret_value", {"SecretId": "x"}, {"SecretString": None, "Name": "x"}),
            (
                SlimLambda,
                "lambda",
                "get_function_configuration",
                {"FunctionName": "f"},
                {"CodeSha256": None, "Version": "7"},
            ),
        ],
    )
    def test_what_is_null_is_not_there(self, serve, kind, service, operation, arguments, told):
        """P40, P37: as boto3 has it; else a code without a digest would have one, that of no code."""
        server = serve(*[reply(json.dumps(told).encode())] * 2)
        both = [getattr(each, operation)(**arguments) for each in (by_boto3(service, server.url), client(kind, server))]

        assert [told.keys() - {"Item", "SecretString", "CodeSha256"}] * 2 == [
            each.keys() - {"ResponseMetadata"} for each in both
        ]

    def test_a_refusal_without_words_goes_by_its_status(self, serve):
        """F4: as boto3 has it."""
        for kind, ask in (
            (SlimDynamoDB, lambda it: it.get_item(**GET)),
            (SlimS3, lambda it: it.get_object(Bucket="pages", Key="a")),
        ):
            with pytest.raises(ClientError) as caught:
                ask(client(kind, serve(reply(b"<html>", 503))))
            assert {"Code": "503", "Message": ""} == caught.value.response["Error"]

    def test_a_failed_condition_raises_as_boto3_does_with_the_item_in_the_way(self, serve):
        """P25, F9: type, code and old item."""
        body = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "message": "no"}
        body["Item"] = {"pk": {"B": "AA=="}}
        server = serve(reply(json.dumps(body).encode(), 400))

        with pytest.raises(ClientError) as caught:
            client(SlimDynamoDB, server).put_item(TableName="table", Item={"pk": {"B": b"\0"}})

        assert "ConditionalCheckFailedException" == caught.value.response["Error"]["Code"]
        assert {"pk": {"B": b"\0"}} == caught.value.response["Item"]

    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            ({"__type": "com.amazon.coral#ThrottlingException"}, {}),
            ({"__type": "ThrottlingException:http://internal.example/coral/com#x/"}, {}),
            ({"code": "ThrottlingException"}, {}),
            ({}, {"x_amzn_errortype": "ThrottlingException:http://internal.example/coral/"}),
            ({"Message": "m"}, {"x_amzn_errortype": "com.amazon.coral#ThrottlingException"}),
        ],
    )
    def test_a_refusal_s_code_is_read_as_boto3_reads_it(self, serve, body, headers):
        """F4, P18: a throttle is no outage, and keys that ended are boto3's, however the code is wrapped."""
        told = reply(json.dumps(body if "Message" in body else body | {"message": "m"}).encode(), 400, **headers)
        server = serve(told, told, told)
        theirs = by_boto3("lambda", server.url)
        asked = [
            lambda: theirs.get_function_configuration(FunctionName="f"),
            lambda: client(SlimLambda, server).get_function_configuration(FunctionName="f"),
            lambda: client(SlimDynamoDB, server).get_item(**GET),
        ]
        for ask in asked:
            with pytest.raises(ClientError) as caught:
                ask()
            assert ("ThrottlingException", "m") == tuple(
                caught.value.response["Error"][name] for name in ("Code", "Message")
            )

    def test_a_damaged_body_is_refused(self, serve):
        """F28: the sum that DynamoDB sends is compared."""
        server = serve(reply(b"{}", x_amz_crc32=str(zlib.crc32(b"{ }"))))

        with pytest.raises(ChecksumError):
            client(SlimDynamoDB, server).get_item(**GET)

    @pytest.mark.parametrize("size", [3, 40_000], ids=["small", "large"])
    def test_a_reply_that_comes_in_parts_is_read_whole(self, size):
        """F28: wherever the network cuts it, in its head, between head and body, or in the body."""
        body = json.dumps({"a": "x" * size}).encode()
        whole = reply(body, x_amz_crc32=str(zlib.crc32(body)))
        head = len(whole) - len(body)
        for cut in (5, head - 3, head - 1, head, head + 1, len(whole) - 1):
            server = PartsServer(whole[:cut], whole[cut:])
            try:
                assert "x" * size == client(SlimDynamoDB, server).get_item(**GET)["a"]
            finally:
                server.close()

    def test_a_cut_body_is_refused(self, serve):
        """Design 7: never an empty item."""
        server = serve(Last(reply(b"{}", length=40)))

        with pytest.raises((IncompleteReadError, ConnectionClosedError)):
            client(SlimDynamoDB, server).get_item(**GET)

    def test_a_table_that_hangs_ends_with_the_read_timeout(self, serve):
        """F2."""
        with pytest.raises(ReadTimeoutError):
            client(SlimDynamoDB, serve(None), read_timeout=0.5).get_item(**GET)

    def test_a_table_that_is_not_there(self, serve):
        """F1."""
        server = serve()
        with socket.socket() as unheard:
            unheard.bind(("127.0.0.1", 0))  # bound and not listening: the port is nobody else's
            server.url = f"http://127.0.0.1:{unheard.getsockname()[1]}"

            with pytest.raises(EndpointConnectionError):
                client(SlimDynamoDB, server).get_item(**GET)

    def test_one_connection_serves_call_after_call(self, serve):
        """G3: a table hit pays no handshake."""
        server = serve(reply(b"{}"), reply(b"{}"), reply(b"{}"))
        dynamodb = client(SlimDynamoDB, server)
        for _ in range(3):
            dynamodb.get_item(**GET)

        assert 1 == server.connections

    @pytest.mark.parametrize(
        ("kind", "operation", "arguments", "told"),
        [
            (SlimLambda, "get_function_configuration", {"FunctionName": "f"}, b"{}"),
            (SlimS3, "head_object", {"Bucket": "pages", "Key": "a"}, b""),
        ],
    )
    def test_so_it_does_for_what_is_asked_once_a_minute(self, serve, kind, operation, arguments, told):
        """G3, P20: and none is left open beside it."""
        server = serve(reply(told), reply(told))
        asks = getattr(client(kind, server), operation)
        asks(**arguments)
        asks(**arguments)

        assert 1 == server.connections

    def test_a_reply_may_take_longer_than_connecting(self):
        """P42: each wait has its own bound."""
        server = HesitantServer(reply(b'{"a": 1}'))
        server.pause_seconds = 1.0
        try:
            assert 1 == client(SlimDynamoDB, server, connect_timeout=0.3).get_item(**GET)["a"]
        finally:
            server.close()

    def test_after_a_freeze_no_dead_connection_is_used(self, serve):
        """F32: the other side hung up meanwhile; the call opens a new connection and does not fail."""
        server = serve(reply(b"{}"), reply(b"{}"))
        dynamodb = client(SlimDynamoDB, server)
        dynamodb.get_item(**GET)
        server.drop_connections()

        dynamodb.get_item(**GET)

        assert 2 == server.connections

    def test_a_second_attempt_is_made_where_two_are_allowed(self, serve):
        """P42: one broken connection costs no image. Control: with one attempt it does."""
        server = serve(b"", reply(b"page", ETag='"e"'))

        got = client(SlimS3, server, attempts=2).get_object(Bucket="pages", Key="a")

        assert (b"page", 4, '"e"') == (got["Body"].read(), got["ContentLength"], got["ETag"])
        with pytest.raises(ConnectionClosedError):
            client(SlimS3, serve(b"", reply(b"page"))).get_object(Bucket="pages", Key="a")

    def test_what_failed_within_the_service_is_asked_again(self, serve, dialled):
        """P42: over another connection, since what else was said of it is not read. Control: with one attempt it fails."""
        server = serve(reply(b"<Error/>", 500), reply(b"page"))
        got = client(SlimS3, server, attempts=2).get_object(Bucket="pages", Key="a")

        assert (b"page", -1) == (got["Body"].read(), dialled[0].fileno())
        with pytest.raises(ClientError, match="503"):
            client(SlimS3, serve(reply(b"", 503), reply(b"page"))).get_object(Bucket="pages", Key="a")
        with pytest.raises(ClientError, match="499"):
            client(SlimS3, serve(reply(b"", 499), reply(b"page")), attempts=2).get_object(Bucket="pages", Key="a")

    def test_a_closed_client_opens_new_connections(self, serve, dialled):
        """P20: as boto3's `close`."""
        dynamodb = client(SlimDynamoDB, serve(reply(b"{}"), reply(b"{}")))
        dynamodb.get_item(**GET)
        dynamodb.close()
        closed = dialled[0].fileno() == -1
        dynamodb.get_item(**GET)

        assert (True, 2) == (closed, len(dialled))

    def test_an_object_is_told_as_boto3_tells_it(self, serve):
        """P15, P26: tag and version by which a change shows, and the encryption that is paid for."""
        told = {"ETag": '"e"', "x-amz-version-id": "v", "content-type": "image/jpeg", "x-amz-request-id": "r"}
        told |= {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-bucket-key-enabled": "true"}
        server = serve(*[reply(b"page", **told), Last(reply(b"", length=4, **told))] * 2)
        theirs = by_boto3("s3", server.url)
        seen = []
        for s3 in (theirs, client(SlimS3, server)):
            got = s3.get_object(Bucket="pages", Key="a")
            with closing(got["Body"]) as body:
                content = body.read()
            seen.append((content, got, s3.head_object(Bucket="pages", Key="a")))
        (content, *both), (own_content, *own) = seen

        names = {"ETag", "VersionId", "ContentType", "ServerSideEncryption", "BucketKeyEnabled", "ContentLength"}
        assert content == own_content
        assert ["r"] * 4 == [each["ResponseMetadata"]["RequestId"] for each in (*both, *own)]
        assert [{name: each.get(name) for name in names} for each in both] == [
            {name: each.get(name) for name in names} for each in own
        ]

    @pytest.mark.parametrize(
        "key", ["a", "a b+c", "ä/日本", "a//b", "/a", "a/../b", ".", "a/", "a?b#c", "a%2Fb", "a~*'()", "x" * 1_024]
    )
    def test_an_object_is_asked_for_where_boto3_asks_for_it(self, key, monkeypatch):
        """B13: at the bucket's own host, and under its very name, of which nothing is resolved."""
        asked: list[str] = []

        def ask(request: Any, **_: Any) -> None:
            asked.append(request.url)
            raise EOFError

        def exchange(wire: Wire, _method: str, target: str, *_: Any) -> None:
            asked.append(wire.url + target)
            raise EOFError

        theirs = by_boto3("s3")
        theirs.meta.events.register("before-send.s3", ask)
        monkeypatch.setattr(Wire, "exchange", exchange)
        for s3 in (theirs, SlimS3(Place.of(ENVIRON), Plain, **LIMITS, attempts=1)):
            with pytest.raises(EOFError):
                s3.get_object(Bucket="pages", Key=key)

        assert 1 == len(set(asked))

    def test_an_object_is_read_in_pieces(self, serve):
        """G2: and its connection is kept only if it was read to its end."""
        server = serve(reply(b"x" * 10), reply(b"y" * 10), reply(b"z"))
        s3 = client(SlimS3, server)
        body = s3.get_object(Bucket="pages", Key="a")["Body"]
        pieces = [body.read(4), body.read(4), body.read(4), body.read(4)]
        body.close()
        s3.get_object(Bucket="pages", Key="b")["Body"].close()
        s3.get_object(Bucket="pages", Key="c")

        assert [b"xxxx", b"xxxx", b"xx", b""] == pieces
        assert 2 == server.connections

    def test_a_cut_object_is_no_object(self, serve):
        """F28, S16: also where it is read into a buffer of the reader's own, which says only how much came."""
        server = serve(Last(reply(b"page", length=40)), reply(b"page"))
        space = memoryview(bytearray(64))
        cut = client(SlimS3, server).get_object(Bucket="pages", Key="a")["Body"]
        with pytest.raises(IncompleteReadError):
            cut.readinto(space)

        whole = client(SlimS3, server).get_object(Bucket="pages", Key="a")["Body"]
        assert (4, b"page", 0) == (whole.readinto(space), bytes(space[:4]), whole.readinto(space))

    def test_a_missing_object_and_a_foreign_owner_are_refusals(self, serve):
        """P42, T8: the owner is sent; the code is read from the XML, or is the status where HEAD has no body."""
        error = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>gone</Message></Error>"
        server = serve(reply(error, 404), reply(b"", 403))
        s3 = client(SlimS3, server)
        for method, code, message in ((s3.get_object, "NoSuchKey", "gone"), (s3.head_object, "403", "")):
            with pytest.raises(ClientError) as caught:
                method(Bucket="pages", Key="a b", ExpectedBucketOwner="123456789012")
            assert {"Code": code, "Message": message} == caught.value.response["Error"]

        assert b"GET /pages/a%20b HTTP/1.1" in server.requests[0]
        assert b"x-amz-expected-bucket-owner: 123456789012" in server.requests[0]

    def test_the_length_of_an_object_may_be_left_out_of_a_head(self, serve):
        """P15: as boto3 takes it; what is compared is the entity tag."""
        head = Last(b'HTTP/1.1 200 OK\r\netag: "e"\r\n\r\n')
        server = serve(head, head)
        theirs = by_boto3("s3", server.url)
        both = [each.head_object(Bucket="pages", Key="a") for each in (theirs, client(SlimS3, server))]

        assert [('"e"', False)] * 2 == [(each["ETag"], "ContentLength" in each) for each in both]
        odd = client(SlimS3, serve(reply(b"", content_length="4, 4"))).head_object(Bucket="pages", Key="a")
        assert "ContentLength" not in odd

    def test_secret_and_configuration(self, serve):
        """P37, P40."""
        server = serve(reply(b'{"SecretString": "hush"}'), reply(b'{"Version": "7"}'))

        assert "hush" == client(SlimSecrets, server).get_secret_value(SecretId="arn:x")["SecretString"]
        assert (
            b"\xff\0"
            == client(SlimSecrets, serve(reply(b'{"SecretBinary": "/wA="}'))).get_secret_value(SecretId="x")[
                "SecretBinary"
            ]
        )
        assert "7" == client(SlimLambda, server).get_function_configuration(FunctionName="a:live")["Version"]
        assert b"GET /2015-03-31/functions/a%3Alive/configuration" in server.requests[1]


class PartsServer(Server):
    """One reply in several parts, each sent only when the one before it has left."""

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, connection.makefile("rb") as file:
            while self._read(file):
                for part in self.replies:
                    connection.sendall(part or b"")
                    self._over.wait(0.02)


def in_chunks(*parts: bytes, status: int = 404, end: bytes = b"0\r\n\r\n") -> bytes:
    """As S3 sends what it has to say of an error."""
    head = b"HTTP/1.1 %d X\r\nContent-Type: application/xml\r\nTransfer-Encoding: chunked\r\n\r\n" % status
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + end


GONE = (
    b"<",
    b"Error><Code>NoSu",
    b"chKey</Code><Message>it has\r\n0\r\n\r\nin its name",
    b"</Message></Error>" + b" " * 300,
)


class TestRefusalsInChunks:
    """S3 announces no length of what it says of an error."""

    @pytest.mark.parametrize("status", [400, 404, 503])
    def test_they_are_read_over_a_connection_that_is_used_again(self, serve, status):
        """P42, G13: one page that is gone does not send all others to boto3."""
        plain, server = Plain(), serve(in_chunks(*GONE, status=status), reply(b"page"))
        s3 = client(SlimS3, server, plain)
        with pytest.raises(ClientError) as caught:
            s3.get_object(Bucket="pages", Key="gone")

        assert "NoSuchKey" == caught.value.response["Error"]["Code"]
        assert b"page" == s3.get_object(Bucket="pages", Key="a")["Body"].read()
        assert ([], 1) == (plain.asked, server.connections)

    def test_wherever_the_network_cuts_them(self):
        """F28: in a size, between the ends of lines, within what is said."""
        whole = in_chunks(*GONE)
        for cut in [*range(85, 125), *range(len(whole) - 10, len(whole))]:
            server, plain = PartsServer(whole[:cut], whole[cut:]), Plain()
            try:
                with pytest.raises(ClientError, match="NoSuchKey"):
                    client(SlimS3, server, plain).get_object(Bucket="pages", Key="a")
            finally:
                server.close()

    def test_of_a_look_at_an_object_no_body_is_awaited(self, serve):
        """P15: HTTP lets a server say how it would have sent one."""
        plain, server = Plain(), serve(in_chunks(end=b""), reply(b"page"))
        s3 = client(SlimS3, server, plain, read_timeout=5.0)
        with pytest.raises(ClientError, match="404"):
            s3.head_object(Bucket="pages", Key="gone")

        assert b"page" == s3.get_object(Bucket="pages", Key="a")["Body"].read()
        assert ([], 1) == (plain.asked, server.connections)

    @pytest.mark.parametrize(
        "strange",
        [
            in_chunks(b"one", end=b"0\r\nx-amz-trailer: 1\r\n\r\n"),
            in_chunks(b"one", end=b"none\r\n"),
            in_chunks(b"one", end=b"-1\r\n\r\n"),
            in_chunks(b"one", end=b"\r\n"),
            in_chunks(b"one", end=b"3\r\nfour\r\n0\r\n\r\n"),
            in_chunks(b"one", end=b"fffffff\r\n"),
            in_chunks(b"x" * 40_000, b"x" * 40_000),
            in_chunks(end=b"1" * 40_000),
            Last(in_chunks(b"one", end=b"3\r\nt")),
            Last(in_chunks(b"one", end=b"0")),
            in_chunks(b"one").replace(b"chunked", b"gzip, chunked"),
        ],
        ids=["trailer", "word", "below 0", "blank", "longer", "huge", "long", "endless", "cut", "cut size", "packed"],
    )
    def test_what_else_is_sent_in_chunks_is_boto3_s(self, serve, strange):
        """P18: at once, and over no connection of ours."""
        plain, server = Plain(), serve(strange, reply(b"page"))

        assert "from boto3" == client(SlimS3, server, plain).get_object(Bucket="pages", Key="a")
        assert 1 == len(server.requests)


class DripServer(Server):
    """
    Answers whole at first, then byte by byte, each one sooner than any timeout of a socket.

    Attributes:
        at_once: how many bytes of the last reply come together.
    """

    at_once = 0

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file:
            while self._read(file):
                body = self.replies.pop(0) or b""
                at_once = len(body) if self.replies else self.at_once
                connection.sendall(body[:at_once])
                for byte in body[at_once:]:
                    if self._over.wait(0.01):
                        return
                    connection.sendall(bytes([byte]))


class HesitantServer(Server):
    """Its last reply comes whole, after a pause."""

    pause_seconds = 5.0

    def _serve(self, connection: socket.socket) -> None:
        with suppress(ConnectionError), connection, connection.makefile("rb") as file:
            while self._read(file) and self.replies:
                if len(self.replies) == 1:
                    self._over.wait(self.pause_seconds)
                connection.sendall(self.replies.pop(0) or b"")


class LateServer(Server):
    """Reads the second request once it may, or after a while that no bound of a test's lasts."""

    def __init__(self, *replies: bytes) -> None:
        self.may_read, self.done = threading.Event(), threading.Event()
        super().__init__(*replies)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)

    def _serve(self, connection: socket.socket) -> None:
        with suppress(ConnectionError), connection, connection.makefile("rb") as file:
            self.requests.append(self._read(file))
            connection.sendall(self.replies.pop(0) or b"")
            self.may_read.wait(5.0)
            request = self._read(file)
            if request.endswith(b"}"):
                self.requests.append(request)
        self.done.set()


class TestAtOnce:
    """A call in its caller's own thread: only where it can be bounded there as a whole (P19)."""

    def test_it_needs_an_open_connection(self, serve):
        """F3: a new one may wait for the resolver, which no timeout of ours bounds; so nothing is sent without one."""
        server = serve(reply(b'{"a": 1}'), reply(b'{"a": 2}'))
        dynamodb = client(SlimDynamoDB, server)
        first = dynamodb.at_once("get_item", GET, 1.0)
        nothing_sent = server.connections == 0
        dynamodb.get_item(**GET)

        assert (None, True) == (first, nothing_sent)
        assert 2 == dynamodb.at_once("get_item", GET, 1.0)["a"]
        assert 1 == server.connections

    @pytest.mark.parametrize(
        ("due", "answer", "fetched"), [(True, None, 1), (False, {"a": 1}, 2)], ids=["due", "control"]
    )
    def test_credentials_that_are_due_are_not_fetched_in_the_caller_s_time(self, serve, due, answer, fetched):
        """P19: who gives them is dialled for that and may hang. Control: those at hand are used at once."""
        asked: list[str] = []
        server = serve(reply(b"{}"), reply(b'{"a": 1}'))
        who = Credentials("AKID", "secret", "token")
        place = Place({"AWS_ENDPOINT_URL": server.url}, "eu-central-1", lambda: asked.append("") or who, lambda: due)
        dynamodb = SlimDynamoDB(place, lambda: None, **LIMITS, attempts=1)
        dynamodb.get_item(**GET)
        got = dynamodb.at_once("get_item", GET, 1.0)

        assert (answer, fetched) == (got and {"a": got["a"]}, len(asked))

    @pytest.mark.parametrize("bounded", [True, False], ids=["promise", "control"])
    def test_a_reply_that_drips_ends_with_the_bound(self, bounded, monkeypatch):
        """P19: each byte comes before a read times out. Control: without the bound on the whole it is waited for."""
        if not bounded:
            monkeypatch.setattr("hookcache.slim.connection.Connection.bound", lambda *_: None)
        server = DripServer(reply(b"{}"), reply(b'{"late": true}'))
        try:
            dynamodb = client(SlimDynamoDB, server)
            dynamodb.get_item(**GET)
            if bounded:
                with pytest.raises(ReadTimeoutError):
                    dynamodb.at_once("get_item", GET, 0.1)
            else:
                assert dynamodb.at_once("get_item", GET, 0.1)["late"]
        finally:
            server.close()

    @pytest.mark.parametrize(
        "late",
        [reply(b'{"late": "%s"}' % (b"x" * 60)), in_chunks(end=b"0" * 60 + b"none\r\n")],
        ids=["body", "size of a chunk"],
    )
    def test_so_does_one_whose_head_came_at_once(self, late):
        """P19: what follows the head is within the same bound."""
        server = DripServer(reply(b"{}"), late)
        server.at_once = late.index(b"\r\n\r\n") + 4
        try:
            dynamodb = client(SlimDynamoDB, server)
            dynamodb.get_item(**GET)
            with pytest.raises(ReadTimeoutError):
                dynamodb.at_once("get_item", GET, 0.1)
        finally:
            server.close()

    @pytest.mark.parametrize(("bound", "read_timeout"), [(0.1, 30.0), (30.0, 0.1)])
    def test_a_reply_is_waited_for_until_the_first_of_two_bounds(self, bound, read_timeout):
        """P19, F2: what is left of the budget, and the timeout of one wait."""
        server = HesitantServer(reply(b"{}"), reply(b'{"late": true}'))
        try:
            dynamodb = client(SlimDynamoDB, server)
            dynamodb.get_item(**GET)
            (kept,) = dynamodb._wires[server.url]._idle
            kept.socket.settimeout(read_timeout)
            with pytest.raises(ReadTimeoutError):
                dynamodb.at_once("get_item", GET, bound)
        finally:
            server.close()

    def test_the_bound_of_one_call_is_not_the_next_one_s(self, serve):
        """F2: a connection that is kept forgets it, and has its own timeout again."""
        server = serve(reply(b"{}"), reply(b"{}"), reply(b"{}"))
        dynamodb = client(SlimDynamoDB, server)
        dynamodb.get_item(**GET)
        dynamodb.at_once("get_item", GET, 0.3)
        (kept,) = dynamodb._wires[server.url]._idle

        assert LIMITS["read_timeout"] == kept.socket.gettimeout()
        dynamodb.get_item(**GET)
        assert 1 == server.connections

    def test_a_request_that_is_not_taken_ends_with_the_bound(self):
        """P19: a large item, and a peer that is gone, or reads it only once the bound is over."""
        server = LateServer(reply(b"{}"), reply(b"{}"))
        try:
            dynamodb = client(SlimDynamoDB, server)
            dynamodb.get_item(**GET)
            (kept,) = dynamodb._wires[server.url]._idle
            kept.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
            with pytest.raises(ReadTimeoutError):
                dynamodb.at_once("put_item", {**GET, "Item": {"large": {"S": "x" * 8_000_000}}}, 0.1)

            server.may_read.set()
            assert server.done.wait(30)
            assert 1 == len(server.requests)  # the other came in part: it was not waited for
        finally:
            server.close()

    def test_a_bound_that_is_over_is_waited_for_no_longer(self, serve):
        """P19: with nothing left of the budget no reply is read, though it be there."""
        dynamodb = client(SlimDynamoDB, serve(reply(b"{}"), reply(b"{}")))
        dynamodb.get_item(**GET)

        with pytest.raises(ReadTimeoutError):
            dynamodb.at_once("get_item", GET, 0.0)

    @pytest.mark.parametrize(("told", "kept"), [("keep-alive", 1), ("Keep-Alive", 1), ("close", 0), ("Close", 0)])
    def test_a_connection_stays_open_as_the_reply_says(self, serve, told, kept):
        """F32: one that the other side is about to close would fail the next call."""
        server = serve(reply(b"{}"), reply(b'{"a": 1}', connection=told))
        dynamodb = client(SlimDynamoDB, server)
        dynamodb.get_item(**GET)

        assert 1 == dynamodb.at_once("get_item", GET, 30.0)["a"]
        assert kept == len(dynamodb._wires[server.url]._idle)

    def test_what_comes_behind_a_reply_is_no_reply_to_the_next_call(self, serve):
        """P6: the connection is ended instead."""
        server = serve(reply(b"{}"), reply(b'{"a": 1}') + reply(b'{"a": 2}'))
        dynamodb = client(SlimDynamoDB, server)
        dynamodb.get_item(**GET)

        assert 1 == dynamodb.at_once("get_item", GET, 30.0)["a"]
        assert [] == dynamodb._wires[server.url]._idle

    @pytest.mark.parametrize(("idle_seconds", "connections"), [(10, 1), (60, 2), (-60, 2)])
    def test_a_connection_is_not_used_after_a_long_rest(self, serve, dialled, idle_seconds, connections):
        """F32: by wall clock, one that was set back included. Control: after a short rest it is."""
        server = serve(reply(b"{}"), reply(b"{}"))
        dynamodb = client(SlimDynamoDB, server)
        dynamodb.get_item(**GET)
        (kept,) = dynamodb._wires[server.url]._idle
        kept.since -= idle_seconds
        dynamodb.get_item(**GET)

        assert (connections, connections == 2) == (server.connections, dialled[0].fileno() == -1)

    def test_a_connection_that_died_is_an_error_and_not_silence(self, serve):
        """F32: the caller's repeat opens another."""
        server = serve(reply(b"{}"), b"", reply(b"{}"))
        dynamodb = client(SlimDynamoDB, server)
        dynamodb.get_item(**GET)

        with pytest.raises(ConnectionClosedError):
            dynamodb.at_once("get_item", GET, 1.0)
        assert dynamodb.at_once("get_item", GET, 1.0) is None

    @pytest.mark.parametrize(
        ("operation", "arguments"),
        [("query", GET), ("get_item", {**GET, "TableName": "arn:aws:dynamodb:eu-west-1:123456789012:table/x"})],
    )
    def test_what_is_boto3_s_is_not_tried(self, serve, operation, arguments):
        """P18: nothing is sent."""
        server = serve(reply(b"{}"))
        dynamodb = client(SlimDynamoDB, server)
        dynamodb.get_item(**GET)

        assert dynamodb.at_once(operation, arguments, 1.0) is None
        assert 1 == len(server.requests)

    def test_a_signature_that_is_refused_ends_the_slim_client(self, serve):
        """P18: the ordinary way then goes to boto3."""
        plain = Plain()
        server = serve(reply(b"{}"), reply(b'{"__type": "x#ExpiredTokenException"}', 400))
        dynamodb = client(SlimDynamoDB, server, plain)
        dynamodb.get_item(**GET)

        assert [None, None] == [dynamodb.at_once("get_item", GET, 1.0) for _ in range(2)]
        assert "from boto3" == dynamodb.get_item(**GET)
        assert 2 == len(server.requests)


class TestConnections:
    """Each is given back once, or closed at once."""

    @pytest.mark.parametrize(
        "odd",
        [
            Last(reply(b"page", length=40)),
            reply(b"page", length=40),
            reply(b"page") + reply(b"another"),
            reply(b"page", connection="close"),
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"",
            None,
        ],
        ids=["cut", "body hangs", "more", "to be closed", "nonsense", "no length", "closed", "hangs"],
    )
    def test_one_that_is_not_used_again_is_closed_at_once(self, serve, dialled, odd):
        """F32, P20: whatever came of it, and whoever still holds the reply. Control: after a usual one it is open."""
        server = serve(reply(b"page"), odd)
        s3 = client(SlimS3, server, Plain())
        with closing(s3.get_object(Bucket="pages", Key="a")["Body"]) as body:
            body.read()
        assert -1 != dialled[0].fileno()
        dialled[0].settimeout(0.3)
        held = []
        with suppress(Exception):
            held.append(s3.get_object(Bucket="pages", Key="a")["Body"])
            held[0].read()
        for each in held:
            each.close()

        assert [-1] == [each.fileno() for each in dialled]

    @pytest.mark.parametrize("sent", [b"", b"pa", b"page"])
    def test_one_whose_body_is_not_wanted_is_closed_at_once(self, serve, dialled, sent):
        """P4: whether that came already or not, it would be taken for the reply to the next request."""
        s3 = client(SlimS3, serve(reply(sent, length=4)))
        body = s3.get_object(Bucket="pages", Key="a")["Body"]
        body.close()

        assert [-1] == [each.fileno() for each in dialled]

    @pytest.mark.parametrize("take", ["read", "whole"])
    def test_one_is_given_back_once(self, serve, take):
        """P6: of two calls that share it either might read the other's reply."""
        server = serve(reply(b"page"))
        s3 = client(SlimS3, server)
        body = s3.get_object(Bucket="pages", Key="a")["Body"]

        assert (b"page", b"") == (getattr(body, take)(), body.read())
        body.close()
        body.close()
        assert 1 == len(s3._wires[server.url]._idle)

    def test_one_that_fails_takes_the_idle_ones_with_it(self, serve, dialled):
        """F32: what ended it ended them too, and the caller's repeat must meet a new one."""
        server = serve(reply(b"one"), reply(b"two"), b"")
        s3 = client(SlimS3, server)
        for body in [s3.get_object(Bucket="pages", Key="a")["Body"] for _ in range(2)]:
            body.read()
            body.close()
        with pytest.raises(ConnectionClosedError):
            s3.get_object(Bucket="pages", Key="a")

        assert ([], [-1, -1]) == (s3._wires[server.url]._idle, [each.fileno() for each in dialled])

    def test_no_more_are_kept_than_told(self, serve, dialled):
        """G2, P20: the others are closed."""
        server = serve(reply(b"one"), reply(b"two"))
        s3 = client(SlimS3, server)
        s3._wires[server.url] = Wire(server.url, s3._place.tls, 30.0, 30.0, most_idle=1)
        for body in [s3.get_object(Bucket="pages", Key="a")["Body"] for _ in range(2)]:
            body.read()
            body.close()

        assert [False, True] == [each.fileno() == -1 for each in dialled]

    @pytest.mark.parametrize(
        ("own", "address"),
        [
            ({}, (b"dynamodb.eu-central-1.amazonaws.com", 443)),
            ({"AWS_ENDPOINT_URL": "http://table.test"}, (b"table.test", 80)),
        ],
    )
    def test_without_a_port_it_is_the_scheme_s(self, monkeypatch, own, address):
        """P18."""
        asked: list[Any] = []

        def create(place: Any, seconds: float) -> socket.socket:
            asked.append((place, seconds))
            raise ConnectionRefusedError

        monkeypatch.setattr("socket.create_connection", create)
        with pytest.raises(EndpointConnectionError):
            SlimDynamoDB(
                Place.of({**ENVIRON, **own}), Plain, connect_timeout=7.0, read_timeout=30.0, attempts=1
            ).get_item(**GET)

        assert [(address, 7.0)] == asked

    def test_small_requests_are_sent_at_once(self, serve, dialled):
        """G3: none waits until the one before it was acknowledged, 40 ms."""
        client(SlimDynamoDB, serve(reply(b"{}"))).get_item(**GET)

        assert 0 != dialled[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    @pytest.mark.parametrize("take", ["read", "readinto"])
    def test_a_body_that_hangs_ends_with_the_read_timeout(self, serve, dialled, take):
        """F28, P42."""
        body = client(SlimS3, serve(reply(b"pa", length=4))).get_object(Bucket="pages", Key="a")["Body"]
        dialled[0].settimeout(0.3)

        with pytest.raises(ReadTimeoutError):
            body.readinto(memoryview(bytearray(9))) if take == "readinto" else body.read()


class TestLeftToBoto3:
    @pytest.mark.parametrize(
        ("kind", "operation", "arguments"),
        [
            (SlimDynamoDB, "query", {}),
            (SlimDynamoDB, "put_item", {"TableName": "table", "Item": {"a": {"S": {1}}}}),
            (SlimDynamoDB, "get_item", {**GET, "TableName": "arn:aws:dynamodb:eu-west-1:123456789012:table/x"}),
            (SlimS3, "put_object", {"Bucket": "pages", "Key": "a"}),
            (SlimS3, "get_object", {"Bucket": "pages", "Key": "a", "Range": "bytes=0-1"}),
            (SlimS3, "get_object", {"Bucket": "dotted.name", "Key": "a"}),
            (SlimS3, "get_object", {"Bucket": "pages--use1-az4--x-s3", "Key": "a"}),
            (SlimS3, "head_object", {"Bucket": "pages--use1-az4--xa-s3", "Key": "a"}),
            (SlimS3, "get_object", {"Bucket": "pages-o01234567890123456a--op-s3", "Key": "a"}),
            (SlimLambda, "get_function_configuration", {"FunctionName": "a", "Qualifier": "1"}),
            (SlimLambda, "invoke", {"FunctionName": "a"}),
        ],
    )
    def test_an_operation_or_argument_that_is_not_known(self, serve, kind, operation, arguments):
        """P18: and the slim client sends nothing."""
        plain, server = Plain(), serve()

        assert "from boto3" == getattr(client(kind, server, plain), operation)(**arguments)
        assert ([operation], [arguments], []) == (plain.asked, plain.arguments, server.requests)

    @pytest.mark.parametrize(
        "code",
        [
            "ExpiredTokenException",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "InvalidSignatureException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "UnrecognizedClientException",
        ],
    )
    def test_a_signature_that_is_refused_ends_the_slim_client(self, serve, code):
        """P18: this call and all later ones are boto3's, which may find other credentials. It is made once for all."""
        made: list[Plain] = []
        server = serve(reply(json.dumps({"__type": f"x#{code}"}).encode(), 400))
        place = Place.of({**ENVIRON, "AWS_ENDPOINT_URL": server.url})
        dynamodb = SlimDynamoDB(place, lambda: made.append(Plain()) or made[-1], **LIMITS, attempts=1)

        assert ["from boto3"] * 2 == [dynamodb.get_item(**GET), dynamodb.get_item(**GET)]
        assert 1 == len(server.requests)
        assert [[GET, GET]] == [plain.arguments for plain in made]

    @pytest.mark.parametrize(
        "code",
        [
            "AuthorizationHeaderMalformed",
            "ExpiredToken",
            "InvalidAccessKeyId",
            "InvalidToken",
            "PermanentRedirect",
            "RequestTimeTooSkewed",
            "SignatureDoesNotMatch",
            "TemporaryRedirect",
        ],
    )
    def test_what_s_3_refuses_of_a_signature_ends_the_slim_client(self, serve, code):
        """P18: keys, clock or region, as boto3 may have them otherwise."""
        plain, server = Plain(), serve(reply(f"<Error><Code>{code}</Code></Error>".encode(), 403))
        s3 = client(SlimS3, server, plain)

        assert ["from boto3"] * 2 == [s3.get_object(Bucket="pages", Key="a"), s3.head_object(Bucket="pages", Key="a")]
        assert (["get_object", "head_object"], 1) == (plain.asked, len(server.requests))

    def test_access_denied_is_no_trouble_with_the_signature(self, serve):
        """F7: asking again by boto3 would double the calls of a wrapper without rights."""
        server = serve(reply(b'{"__type": "x#AccessDeniedException"}', 400))

        with pytest.raises(ClientError):
            client(SlimDynamoDB, server, Plain()).get_item(**GET)

    @pytest.mark.parametrize(
        "strange",
        [
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n{}",
            b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 \r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nno colon\r\ncontent-length: 2\r\n\r\n{}",
            Last(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"),
            b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}",
            b"HTTP/1.1 200 OK\r\nx: y\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 12_000,
            reply(b"{}", Content_Length="2"),
            b"HTTP/1.1 400 X\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: " + b"0" * 5_000 + b"\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" + reply(b"{}"),
            reply(b"{}", etag='"e\r\n :f"'),
            reply(b"{}", etag='"e\r\n\t:f"'),
        ],
        ids=[
            "chunked",
            "no length",
            "version",
            "nonsense",
            "no status",
            "no colon",
            "cut",
            "bare line feeds",
            "one of them",
            "endless",
            "two lengths",
            "two encodings",
            "digits",
            "continue",
            "folded",
            "folded by a tab",
        ],
    )
    def test_a_reply_in_other_framing(self, serve, strange):
        """P18: this call goes to boto3 at once, and the connection is not used again."""
        plain, server = Plain(), serve(strange, reply(b"{}"))

        assert "from boto3" == client(SlimDynamoDB, server, plain, attempts=2).get_item(**GET)
        assert 1 == len(server.requests)

    @pytest.mark.parametrize("status", [301, 307])
    def test_a_bucket_of_another_region(self, serve, status):
        """P42: boto3 finds it out."""
        plain = Plain()

        assert "from boto3" == client(SlimS3, serve(reply(b"", status)), plain).get_object(Bucket="pages", Key="a")

    def test_a_bucket_of_a_region_that_is_opted_into(self, serve):
        """P42: S3 names no other place then, and boto3 finds it out all the same."""
        plain, body = Plain(), b"<Error><Code>IllegalLocationConstraintException</Code></Error>"

        assert "from boto3" == client(SlimS3, serve(reply(body, 400)), plain).get_object(Bucket="pages", Key="a")

    def test_a_bucket_with_two_hyphens_in_its_name_is_one_as_any(self, serve):
        """Control: of the buckets on other endpoints, whose names end in a mark."""
        plain, server = Plain(), serve(reply(b"page"))

        assert b"page" == client(SlimS3, server, plain).get_object(Bucket="my--pages", Key="a")["Body"].read()
        assert [] == plain.asked


@pytest.mark.parametrize("unasked", [reply(b"another", etag='"9"'), b"<Error/>"], ids=["a reply", "half of one"])
def test_what_came_unasked_behind_a_reply_is_nobodys_answer(serve: Callable[..., Server], unasked: bytes) -> None:
    """P4, F28: an image's digest would be that of other bytes, whose answer would be served."""
    server = serve(reply(b"one", etag='"1"') + unasked, reply(b"two", etag='"2"'))
    s3 = client(SlimS3, server, Plain())
    read = []
    for _ in range(2):
        found = s3.get_object(Bucket="bucket", Key="key")
        with closing(found["Body"]) as body:
            read.append(body.read())

    assert ([b"one", b"two"], 2) == (read, server.connections)


@pytest.mark.parametrize("lengths", [(2, 4), (4, 2)], ids=["shorter first", "longer first"])
def test_of_two_lengths_none_is_believed(serve: Callable[..., Server], lengths: tuple[int, int]) -> None:
    """P4, F28: a page cut by the shorter would be digested as another page."""
    told = b"".join(b"content-length: %d\r\n" % length for length in lengths)
    plain, server = Plain(), serve(Last(b"HTTP/1.1 200 OK\r\n" + told + b"\r\npage"))

    assert "from boto3" == client(SlimS3, server, plain).get_object(Bucket="pages", Key="a")


def test_other_headers_may_come_twice(serve: Callable[..., Server]) -> None:
    """Control: S3 sends several `vary`."""
    server = serve(reply(b"page", vary="origin", Vary="accept"))

    assert b"page" == client(SlimS3, server).get_object(Bucket="pages", Key="a")["Body"].read()


def test_without_it_the_connection_is_used_again(serve: Callable[..., Server]) -> None:
    """Negative control of the test above."""
    server = serve(reply(b"one", etag='"1"'), reply(b"two", etag='"2"'))
    s3 = client(SlimS3, server, Plain())
    for _ in range(2):
        with closing(s3.get_object(Bucket="bucket", Key="key")["Body"]) as body:
            body.read()

    assert 1 == server.connections


def test_a_head_with_a_body_spoils_no_later_call(serve: Callable[..., Server]) -> None:
    """F28: HTTP forbids it, and servers that speak S3 send one with an error."""
    plain = Plain()
    s3 = client(SlimS3, serve(reply(b"<Error/>", 404), reply(b"two", etag='"2"')), plain)
    with pytest.raises(ClientError):
        s3.head_object(Bucket="bucket", Key="key")

    assert (b"two", []) == (s3.get_object(Bucket="bucket", Key="key")["Body"].read(), plain.asked)
