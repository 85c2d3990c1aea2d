"""TLS connections for tests of the asyncio face, with both ends on one loop."""

import asyncio
import datetime
import functools
import ipaddress
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scenarios.asyncio_pairs import ADDRESS, Side, until


def _certificate():
    """A new key with a self-signed certificate, in PEM format."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ADDRESS))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + certificate.public_bytes(pem)


@functools.cache
def contexts(version=None):
    """The contexts of a server and of a client that trusts it. With a version, they speak no other one."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "certificate.pem")
        file.write_bytes(_certificate())
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(file)
        client = ssl.create_default_context(cafile=file)
    if version is not None:
        for context in (server, client):
            context.minimum_version = context.maximum_version = version
    return server, client


async def listening(make_protocol, **options):
    """A server with TLS."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(make_protocol, ADDRESS, 0, ssl=contexts()[0], **options)


async def connected(server_side=Side, client_side=Side, version=None):
    """A connection with TLS: the protocols of both ends, and the server. The functions make the protocols."""
    loop = asyncio.get_running_loop()
    server_context, client_context = contexts(version)
    accepted = []

    def accept():
        accepted.append(server_side())
        return accepted[0]

    server = await loop.create_server(accept, ADDRESS, 0, ssl=server_context)
    _, client = await loop.create_connection(client_side, *server.sockets[0].getsockname(), ssl=client_context)
    await until(lambda: accepted and accepted[0].transport is not None)
    return accepted[0], client, server


def is_native(transport):
    """Whether the transport of a program's protocol writes without asyncio's code."""
    return "write" in vars(transport)
