"""A front before a local engine that keeps its clients' connections, as DynamoDB does and the engine does not; plain, or
HTTPS with a CA of its own, so that clients pay for TLS as they do in the cloud.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hookcache.slim import place

DAY = datetime.timedelta(days=1)


def make_authority(folder: Path) -> tuple[Path, Path, Path]:
    """
    Two bundles of roots, with our own beside them, and a server's key and chain.

    The first bundle holds all public roots, which boto3 reads on AWS; the second those of AWS alone, which is what ours reads
    there (slim/place.py).
    """
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _name("bench authority")
    root = _certificate(authority, authority, authority_key.public_key(), authority_key, is_authority=True)
    leaf = _certificate(_name("127.0.0.1"), authority, server_key.public_key(), authority_key, is_authority=False)
    bundle, few, server = folder / "ca.pem", folder / "few.pem", folder / "server.pem"
    own = root.public_bytes(serialization.Encoding.PEM)
    bundle.write_bytes(_public_roots() + own)
    few.write_bytes(place._roots_of_aws().encode() + b"\n" + own)
    private = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    server.write_bytes(private + leaf.public_bytes(serialization.Encoding.PEM))
    return bundle, few, server


def _public_roots() -> bytes:
    import botocore

    return Path(botocore.__file__).with_name("cacert.pem").read_bytes()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    local = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")])
    # From 3.13 on Python insists on what RFC 5280 asks for: whose key it is, whose key signed it, and what it is for.
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(local, critical=False)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


async def serve(target: tuple[str, int], server_pem: Path | None) -> asyncio.Server:
    """A listener on a free port of 127.0.0.1 that asks `target` each of its clients' requests, over TLS with a `server_pem`."""
    context = None
    if server_pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server_pem)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (asked := await _message(reader)) is not None:
                inner_reader, inner_writer = await asyncio.open_connection(*target)
                inner_writer.write(asked)
                reply = await _message(inner_reader)
                inner_writer.close()
                if reply is None:
                    break
                writer.write(reply)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context, backlog=256)


async def _message(reader: asyncio.StreamReader) -> bytes | None:
    """One request or reply of announced length, without its word on what becomes of the connection; None at the end."""
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    length = next((int(line.partition(b":")[2]) for line in lines if line.lower().startswith(b"content-length:")), 0)
    return b"\r\n".join(lines) + await reader.readexactly(length) if head else None
