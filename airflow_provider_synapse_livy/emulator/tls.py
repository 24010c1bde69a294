"""The self-signed certificate with which the emulator serves https."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["server_context"]


def server_context(ca_file: Path, *hosts: str) -> ssl.SSLContext:
    """
    Build a TLS server context with a new self-signed certificate.

    The certificate is valid for 30 days, for the loopback names and this machine's host name.

    :param ca_file: file to write the certificate to, for clients to trust.
    :param hosts: further host names or IP addresses to put into the certificate.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _self_signed(key, *hosts)
    ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pkcs8 = serialization.PrivateFormat.PKCS8
    private_key = key.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as key_file:
        key_file.write(private_key)
        key_file.flush()
        context.load_cert_chain(ca_file, key_file.name)
    return context


def _self_signed(key: ec.EllipticCurvePrivateKey, *hosts: str) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "synapse-livy-emulator")])
    now = dt.datetime.now(dt.UTC)
    hosts_and_addresses = {"localhost", "127.0.0.1", "::1", socket.gethostname(), *hosts}
    alternative_names = [_general_name(host) for host in sorted(hosts_and_addresses)]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(alternative_names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host.encode("idna").decode())
