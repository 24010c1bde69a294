"""Certificates for local servers, good and bad ones, and the authority that signs them."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM
_SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """
    A certificate authority of the tests, which signs certificates for this machine.

    :param folder: where to write files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the tests")])
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(self._sign(self._name, self._key, ca=True).public_bytes(_PEM))

    def context(
        self, address: str = "127.0.0.1", *, days: tuple[int, int] = (-1, 1), own: bool = True, bare: bool = False
    ) -> ssl.SSLContext:
        """
        Return the TLS context of a server with a certificate of its own.

        :param address: the address that the certificate is for.
        :param days: from when until when it is valid, in days from now.
        :param own: whether this authority signs it, rather than its own key.
        :param bare: whether it names no keys, which RFC 5280 forbids and Python minds from 3.13 on.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server of the tests")])
        certificate = self._sign(name, key, address=address, days=days, own=own, bare=bare)
        chain = self._folder / "server.pem"
        private = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        chain.write_bytes(certificate.public_bytes(_PEM) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context

    def _sign(self, name, key, *, address=None, days=(-1, 1), own=True, bare=False, ca=False):
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name if own else name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + dt.timedelta(days=days[0]))
            .not_valid_after(now + dt.timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not bare:
            issuer = (self._key if own else key).public_key()
            identifiers = (
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer),
            )
            for identifier in identifiers:
                builder = builder.add_extension(identifier, critical=False)
        if ca:
            builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
        if address:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key if own else key, hashes.SHA256())
