"""The slim client over TLS: what it trusts under each Python, and that boto3 stands in for what it does not."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError, SSLError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from hookcache.slim import Place, SlimDynamoDB
from unit.test_slim import ENVIRON, GET, LIMITS, Plain, Server, reply

LARGE = b'{"Item": {"text": {"S": "%s"}}}' % (b"x" * 50_000)  # a record of TLS holds 16 KB
Signed = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def certificate(
    name: str, issuer: Signed | None = None, *, server: bool = False, strict: bool = True, of: Signed | None = None
) -> Signed:
    """
    A root, what an issuer signed, or a server at 127.0.0.1; with the key `of` another one, if that is given.

    Not `strict`: without what RFC 5280 asks for beside the names.
    """
    key = of[1] if of else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    authority, signer = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(authority, subject, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.BasicConstraints(ca=not server, path_length=None), critical=strict)
    if server:
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        made = made.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    elif strict:
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
        )
        signs = x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, decipher_only=False, **usage)
        made = made.add_extension(signs, critical=True)
    if strict:
        of_signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        of_subject = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        made = made.add_extension(of_subject, critical=False).add_extension(of_signer, critical=False)
    return made.sign(signer, hashes.SHA256()), key


class SecureServer(Server):
    """The same over TLS: it sends its own certificate, and those of a chain behind it."""

    def __init__(self, folder: Path, own: Signed, chain: list[x509.Certificate], *replies: bytes) -> None:
        file = folder / "server.pem"
        key = own[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(key + b"".join(each.public_bytes(Encoding.PEM) for each in [own[0], *chain]))
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(file)
        super().__init__(*replies)
        self.url = self.url.replace("http:", "https:")

    def _serve(self, connection: socket.socket) -> None:
        try:
            super()._serve(self._context.wrap_socket(connection, server_side=True))
        except OSError:  # the client went away: it trusts somebody else
            connection.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., SecureServer]]:
    """A server that sends `own` and `chain`; `bundle.pem` holds `root`."""
    made: list[SecureServer] = []

    def make(root: Signed, own: Signed, *chain: x509.Certificate, replies: Sequence[bytes] = ()) -> SecureServer:
        (tmp_path / "bundle.pem").write_bytes(root[0].public_bytes(Encoding.PEM))
        made.append(SecureServer(tmp_path, own, list(chain), *(replies or [reply(LARGE)] * 3)))
        return made[-1]

    yield make
    for server in made:
        server.close()


def client(server: SecureServer, plain: Any, bundle: Path | None = None) -> SlimDynamoDB:
    trusted = {"AWS_CA_BUNDLE": str(bundle)} if bundle else {}
    place = Place.of({**ENVIRON, "AWS_ENDPOINT_URL": server.url, **trusted})
    assert place is not None
    return SlimDynamoDB(place, lambda: plain, **LIMITS, attempts=1)


def test_a_chain_like_that_of_aws_is_served_over_one_connection(
    serve: Callable[..., SecureServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P18, G3: a server, who signed for it, the root's key as an older root signed it, and that root, which is not trusted."""
    older, root = certificate("older root"), certificate("root")
    between = certificate("between", root)
    chain = [between, certificate("root", older, of=root), older]
    server = serve(root, certificate("server", between, server=True), *(each[0] for each in chain))
    monkeypatch.setattr("hookcache.slim.place._roots_of_aws", (tmp_path / "bundle.pem").read_text)
    plain = Plain()
    dynamodb = client(server, plain)
    got = [dynamodb.get_item(**GET), dynamodb.get_item(**GET), dynamodb.at_once("get_item", GET, 5.0)]

    assert [{"text": {"S": "x" * 50_000}}] * 3 == [each["Item"] for each in got]
    assert ([], 1, 3) == (plain.asked, server.connections, len(server.requests))


def test_another_root_is_left_to_boto3(serve: Callable[..., SecureServer], tmp_path: Path) -> None:
    """P18: nothing is sent to a server that is not trusted, and it is not asked again."""
    server = serve(certificate("root"), certificate("server", certificate("another"), server=True))
    plain = Plain()
    dynamodb = client(server, plain, tmp_path / "bundle.pem")

    assert ["from boto3"] * 2 == [dynamodb.get_item(**GET), dynamodb.get_item(**GET)]
    assert (1, []) == (server.connections, server.requests)


def test_a_certificate_of_another_name_is_left_to_boto3(serve: Callable[..., SecureServer], tmp_path: Path) -> None:
    """P18: nothing is sent to whoever has one, though its root is trusted. Control: under its own name it is asked."""
    root = certificate("root")
    server = serve(root, certificate("server", root, server=True))
    client(server, None, tmp_path / "bundle.pem").get_item(**GET)
    server.url = server.url.replace("127.0.0.1", "localhost")

    assert "from boto3" == client(server, Plain(), tmp_path / "bundle.pem").get_item(**GET)
    assert 1 == len(server.requests)


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize("bundle", ["missing.pem", "empty.pem", "."])
def test_a_bundle_that_cannot_be_read_is_boto3_s(
    serve: Callable[..., SecureServer], tmp_path: Path, bundle: str, variable: str
) -> None:
    """P18: a folder of roots it understands; of the others it says what is wrong. No other roots are trusted in their place."""
    root = certificate("root")
    server = serve(root, certificate("server", root, server=True))
    (tmp_path / "empty.pem").touch()
    place, plain = Place.of({**ENVIRON, "AWS_ENDPOINT_URL": server.url, variable: str(tmp_path / bundle)}), Plain()
    assert place is not None

    assert "from boto3" == SlimDynamoDB(place, lambda: plain, **LIMITS, attempts=1).get_item(**GET)
    assert 0 == server.connections


@pytest.mark.parametrize(
    ("said", "seconds", "kind"),
    [(b"HTTP/1.1 400 X\r\n\r\n", 30.0, SSLError), (b"", 0.5, ConnectTimeoutError)],
    ids=["no TLS", "nothing"],
)
def test_a_server_without_tls_is_a_failed_connection(said: bytes, seconds: float, kind: type[Exception]) -> None:
    """F1, F2: an error at once or within the bound, as boto3 has it, and not boto3's call."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        place = Place.of({**ENVIRON, "AWS_ENDPOINT_URL": url})
        assert place is not None

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.sendall(said)
                connection.recv(1)
                over.wait(30)

        over = threading.Event()
        threading.Thread(target=serve, daemon=True).start()
        try:
            with pytest.raises(kind):
                SlimDynamoDB(place, lambda: Plain(), **{**LIMITS, "connect_timeout": seconds}, attempts=1).get_item(
                    **GET
                )
        finally:
            over.set()


def test_a_company_s_root_is_trusted_as_boto3_trusts_it(
    serve: Callable[..., SecureServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    P18: from Python 3.13 on the standard library refuses roots without the extensions of RFC 5280, and boto3 does not. An
    older Python is made to do so here.
    """
    make = ssl.create_default_context

    def strict(*given: Any, **named: Any) -> ssl.SSLContext:
        context = make(*given, **named)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    root = certificate("company", strict=False)
    server = serve(root, certificate("server", root, server=True, strict=False))
    bundle, plain = tmp_path / "bundle.pem", Plain()
    keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret", "region_name": "eu-central-1"}
    theirs = boto3.Session(**keys).client("dynamodb", endpoint_url=server.url, verify=str(bundle))
    ours = client(server, plain, bundle)

    assert (200, 200) == tuple(each.get_item(**GET)["ResponseMetadata"]["HTTPStatusCode"] for each in (theirs, ours))
    assert ([], 2) == (plain.asked, len(server.requests))


@pytest.mark.parametrize("guarded", [True, False], ids=["promise", "control"])
def test_what_came_unasked_in_the_last_record_is_nobodys_answer(
    guarded: bool, serve: Callable[..., SecureServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P4, F28: it is decrypted already, where no look at the socket finds it. Control: not asked for, it is the next answer."""
    if not guarded:
        monkeypatch.setattr(ssl.SSLSocket, "pending", lambda _: 0)
    root = certificate("root")
    unasked = reply(b'{"Item": {"text": {"S": "another"}}}')
    server = serve(
        root, certificate("server", root, server=True), replies=[reply(LARGE) + unasked, reply(b'{"Item": {}}')]
    )
    dynamodb = client(server, Plain(), tmp_path / "bundle.pem")
    dynamodb.get_item(**GET)
    second = dynamodb.get_item(**GET)["Item"]

    assert (({}, 2) if guarded else ({"text": {"S": "another"}}, 1)) == (second, server.connections)


def test_without_its_file_of_roots_it_is_boto3_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """P18: a botocore without its file of roots finds others; nobody is dialled before."""
    monkeypatch.setattr("hookcache.slim.place._roots_of_aws", Path("/nonexistent/cacert.pem").read_text)
    place, plain = Place.of(ENVIRON), Plain()
    assert place is not None
    monkeypatch.setattr("socket.create_connection", None)

    assert "from boto3" == SlimDynamoDB(place, lambda: plain, **LIMITS, attempts=1).get_item(**GET)
