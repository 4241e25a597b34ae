"""An HTTPS front with a CA of its own before a plain local engine, so that clients pay for TLS as they do in the cloud."""

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

DAY = datetime.timedelta(days=1)


def make_authority(folder: Path) -> tuple[Path, Path]:
    """
    A bundle of the public roots with our own beside them, and a server's key and chain.

    Both sides read all of it, as boto3 does on AWS. Ours would there read the few roots of AWS alone (slim/place.py).
    """
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _name("bench authority")
    root = _certificate(authority, authority, authority_key.public_key(), authority_key, is_authority=True)
    leaf = _certificate(_name("127.0.0.1"), authority, server_key.public_key(), authority_key, is_authority=False)
    bundle, server = folder / "ca.pem", folder / "server.pem"
    bundle.write_bytes(_public_roots() + root.public_bytes(serialization.Encoding.PEM))
    private = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    server.write_bytes(private + leaf.public_bytes(serialization.Encoding.PEM))
    return bundle, server


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
        .sign(signer, hashes.SHA256())
    )


async def serve_tls(target: tuple[str, int], server_pem: Path) -> asyncio.Server:
    """A listener on a free port of 127.0.0.1 that forwards every TLS connection to `target`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_pem)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(*target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    return await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context, backlog=256)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except (OSError, ssl.SSLError):
        pass
    finally:
        writer.close()
