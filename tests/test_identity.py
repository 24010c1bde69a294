"""Every kind of identity: which one a connection means, and the token that the real credential of it gets."""

from __future__ import annotations

import base64
import datetime as dt
import json
import logging
import os
import stat
import time

import pytest
from connections import connection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID
from scripted_server import ScriptedServer, http, reset

from airflow_provider_synapse_livy.credentials import TokenSource
from airflow_provider_synapse_livy.emulator.entra import CLIENT_ID, TENANT_ID, WORKLOAD_SUBJECT
from airflow_provider_synapse_livy.exceptions import (
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyUnavailableError,
)


@pytest.fixture(autouse=True)
def _no_identity_of_this_machine(monkeypatch):
    """Hide what the machine that runs the tests may offer."""
    for name in [name for name in os.environ if name.startswith(("AZURE_", "IDENTITY_", "MSI_"))]:
        monkeypatch.delenv(name)


def identity(**fields):
    """Read the identity of a connection to Azure."""
    return connection(**{"login": None, "password": None, "extra": {}} | fields).identity


def at_emulator(emulator, *, login=CLIENT_ID, password=None, **extra):
    """Read the identity of a connection to the local Synapse."""
    known = {"tenantId": TENANT_ID, "authority": emulator.url, "verify": str(emulator.ca_file)}
    return connection(host=emulator.url, login=login, password=password, extra=known | extra).identity


def assertion(claims):
    """Write a token as other identity providers do."""
    parts = ({"alg": "none"}, {"exp": time.time() + 600} | claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


@pytest.fixture(scope="module")
def key_and_certificate():
    """Make a certificate as one would upload to an application."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "airflow")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def as_pem(key, certificate, password=None):
    """Write both in one PEM, the key encrypted or not."""
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return (private + certificate.public_bytes(serialization.Encoding.PEM)).decode()


PLACES = [
    "pem file",
    "pkcs12 file",
    "password",
    "password with more",
    "password in one line",
    "extra",
    "extra, encrypted",
]


@pytest.mark.parametrize("place", PLACES)
def test_client_certificate(tls_synapse, tmp_path, key_and_certificate, place):
    """A certificate gets a token from wherever it stands: a file, the password field, a form's one line, an extra."""
    key, certificate = key_and_certificate
    pem, file = as_pem(key, certificate), tmp_path / "certificate"
    fields = {"certificate_path": str(file)}
    match place:
        case "pem file":
            file.write_text(pem)
        case "pkcs12 file":
            file.write_bytes(
                pkcs12.serialize_key_and_certificates(
                    b"airflow", key, certificate, None, serialization.BestAvailableEncryption(b"open")
                )
            )
            fields["certificate_password"] = "open"
        case "password":
            fields = {"password": pem}
        case "password with more":
            fields = {"password": f"Bag Attributes\n    friendlyName: airflow\n{pem}"}
        case "password in one line":
            fields = {"password": pem.replace("\n", "")}
        case "extra":
            fields = {"certificate_private_key": pem.replace("\n", "\\n")}
        case _:
            fields = {"certificate_private_key": as_pem(key, certificate, b"open"), "certificate_password": "open"}
    token = TokenSource(at_emulator(tls_synapse, **fields)).get()
    assert tls_synapse.server.entra.authorization_error(f"Bearer {token}") is None


@pytest.mark.parametrize("value", [True, "true", False, None])
def test_certificate_chain_is_sent_if_asked_for(tls_synapse, key_and_certificate, value):
    """With send_certificate_chain the certificate goes along, for applications that trust its issuer."""
    pem = as_pem(*key_and_certificate)
    TokenSource(at_emulator(tls_synapse, password=pem, send_certificate_chain=value)).get()
    header = tls_synapse.server.entra.forms[-1]["client_assertion"].split(".")[0]
    assert ("x5c" in json.loads(base64.urlsafe_b64decode(header + "=="))) is (value in (True, "true"))


@pytest.mark.parametrize("text", ["", "no certificate"])
def test_files_without_a_certificate(tls_synapse, tmp_path, text):
    """A file that is missing or holds no certificate is named, or said to be none, before anything is sent."""
    file = tmp_path / "certificate.pem"
    if text:
        file.write_text(text)
    words = "certificate in PEM or PKCS12" if text else f"No such file.*{file}"
    with pytest.raises(SynapseLivyConfigurationError, match=f"gave no token .client_certificate.: .*{words}"):
        TokenSource(at_emulator(tls_synapse, certificate_path=str(file))).get()


@pytest.mark.parametrize("by", ["extra", "AZURE_FEDERATED_TOKEN_FILE"])
def test_workload_identity(tls_synapse, tmp_path, monkeypatch, by):
    """A federated token gets another one; who it is comes from the connection, else from AKS."""
    file = tmp_path / "federated"
    file.write_text(assertion({"sub": WORKLOAD_SUBJECT}))
    if by == "extra":
        who = at_emulator(tls_synapse, auth_type="workload_identity", federated_credential_file=str(file))
    else:
        monkeypatch.setenv(by, str(file))
        monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT_ID)
        monkeypatch.setenv("AZURE_TENANT_ID", TENANT_ID)
        who = at_emulator(tls_synapse, auth_type="workload_identity", login=None, tenantId=None)
    assert tls_synapse.server.entra.authorization_error(f"Bearer {TokenSource(who).get()}") is None


def managed_identity(monkeypatch, answer, **fields):
    """Ask for a token where App Service answers for its managed identities, and give it with what was asked."""
    with ScriptedServer(answer) as endpoint:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{endpoint.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "header")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # which could not reach it
        token = TokenSource(identity(**fields)).get()
    return token, endpoint.requests[0].split()[1]


GIVEN = http(200, {"access_token": "from-azure", "expires_on": str(int(time.time()) + 3600), "token_type": "Bearer"})


@pytest.mark.parametrize(
    ("fields", "client_id"),
    [
        ({}, None),
        ({"login": "mine"}, "mine"),
        ({"extra": {"managed_identity_client_id": "mine"}}, "mine"),
    ],
)
def test_managed_identity(monkeypatch, fields, client_id):
    """A managed identity gets its token on the machine, without a proxy: the system's, or one by its client id."""
    extra = {"auth_type": "managed_identity"} | fields.get("extra", {})
    token, asked = managed_identity(monkeypatch, GIVEN, **fields | {"extra": extra})
    assert token == "from-azure"
    assert "resource=https://dev.azuresynapse.net" in asked
    assert (f"client_id={client_id}" in asked) is (client_id is not None)


@pytest.mark.parametrize(("extra", "client_id"), [({}, "environments"), ({"managed_identity_client_id": "own"}, "own")])
def test_default_chain_heeds_the_environment(monkeypatch, extra, client_id):
    """The chain takes the connection's client id, and AZURE_CLIENT_ID where that is blank."""
    monkeypatch.setenv("AZURE_CLIENT_ID", "environments")
    token, asked = managed_identity(monkeypatch, GIVEN, extra={"managed_identity_client_id": None} | extra)
    assert token == "from-azure"
    assert f"client_id={client_id}" in asked


def test_managed_identity_that_is_refused(monkeypatch):
    """A refusal names who gave no token."""
    refusal = http(400, {"statusCode": 400, "message": "No managed identity found"})
    with pytest.raises(SynapseLivyAuthenticationError, match="^The managed identity's endpoint .* gave no token"):
        managed_identity(monkeypatch, refusal, extra={"auth_type": "managed_identity"})


@pytest.mark.parametrize("status", [404, 410, 429, 500])
def test_managed_identity_of_a_machine_in_trouble(monkeypatch, status):
    """While a machine is updated, its endpoint for managed identities may be away or overloaded, which passes."""
    with pytest.raises(SynapseLivyUnavailableError, match="^The managed identity's endpoint .* gave no token"):
        managed_identity(monkeypatch, http(status, b"away"), extra={"auth_type": "managed_identity"})


def test_managed_identity_endpoint_is_named(monkeypatch):
    """If the machine's endpoint can't be reached, it is the one that is named, and not Microsoft Entra ID."""
    with pytest.raises(SynapseLivyUnavailableError, match="^The token for Synapse: http://127.0.0.1:[0-9]+ broke"):
        managed_identity(monkeypatch, reset, extra={"auth_type": "managed_identity"})


def fake_az(monkeypatch, folder, script):
    """Put an Azure CLI on the PATH that does what a script says, and keeps its arguments."""
    az = folder / "az"
    az.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\n{script}\n')
    az.chmod(az.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "asked"


def test_azure_cli(monkeypatch, tmp_path):
    """The Azure CLI gives the token of who has logged in with it, in the connection's tenant."""
    given = json.dumps({"accessToken": "from-cli", "expiresOn": "2035-01-01 00:00:00.000000", "expires_on": 2051222400})
    asked = fake_az(monkeypatch, tmp_path, f"echo '{given}'")
    who = identity(extra={"auth_type": "azure_cli", "tenantId": "00000000-0000-0000-0000-00000000000a"})
    assert TokenSource(who).get() == "from-cli"
    assert "--resource https://dev.azuresynapse.net" in asked.read_text()
    assert "--tenant 00000000-0000-0000-0000-00000000000a" in asked.read_text()


def test_azure_cli_that_is_not_logged_in(monkeypatch, tmp_path):
    """If nobody has logged in, the Azure CLI's remedy is told."""
    fake_az(monkeypatch, tmp_path, "echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1")
    with pytest.raises(SynapseLivyAuthenticationError, match="The Azure CLI gave no token .azure_cli.: .*az login"):
        TokenSource(identity(extra={"auth_type": "azure_cli"})).get()


CREDENTIALS = r"""
import requests
from azure.core.credentials import AccessToken

class Credential:
    def get_token(self, *scopes, **options):
        return AccessToken(f"for-{scopes[0]}", 9999999999)

def credential():
    return Credential()

class Async:
    async def get_token(self, *scopes, **options):
        raise NotImplementedError

def broken():
    raise RuntimeError("the vault is sealed")

class Unreachable:
    def get_token(self, *scopes, **options):
        requests.get("http://127.0.0.1:1")

class Token:
    def __init__(self, *token):
        self.token = token

    def get_token(self, *scopes, **options):
        return AccessToken(*self.token)

with_line_break = lambda: Token("s3cr3t-value\n", 9999999999)
without_end = lambda: Token("s3cr3t-value", "tomorrow")
nothing = lambda: None
number = 5
"""


@pytest.mark.parametrize("name", ["Credential", "credential"])
@pytest.mark.parametrize("joint", [".", ":"])
def test_credential_of_ones_own(monkeypatch, tmp_path, name, joint):
    """A dotted path to a class, or to a function that gives a credential, is called for it."""
    (tmp_path / "own_credentials.py").write_text(CREDENTIALS)
    monkeypatch.syspath_prepend(tmp_path)
    who = identity(extra={"credential": f"own_credentials{joint}{name}"})
    assert TokenSource(who).get() == "for-https://dev.azuresynapse.net/.default"


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("no_such_module.Credential", SynapseLivyConfigurationError, "No module named.*every worker and triggerer"),
        ("own_credentials.Missing", SynapseLivyConfigurationError, "no attribute 'Missing'.*package.module.name"),
        ("Credential", SynapseLivyConfigurationError, "Empty module name.*package.module.name"),
        ("own_credentials.number", SynapseLivyConfigurationError, "can't be called"),
        ("own_credentials.nothing", SynapseLivyConfigurationError, "gave NoneType, which has no get_token"),
        ("own_credentials.Async", SynapseLivyConfigurationError, "gave Async, .*without await"),
        ("own_credentials.broken", SynapseLivyAuthenticationError, "the vault is sealed"),
        ("own_credentials.Unreachable", SynapseLivyUnavailableError, "Connection refused"),
        ("own_credentials.with_line_break", SynapseLivyConfigurationError, "it is no AccessToken, or has"),
        ("own_credentials.without_end", SynapseLivyConfigurationError, "it is no AccessToken, or has"),
    ],
)
def test_credential_of_ones_own_that_is_none(monkeypatch, tmp_path, path, kind, words):
    """What is wrong with a dotted path, or with what it gives, is said with the path."""
    (tmp_path / "own_credentials.py").write_text(CREDENTIALS)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(kind, match=f"^{path} gave no token .custom.: .*{words}") as caught:
        TokenSource(identity(extra={"auth_type": "custom", "credential": path})).get()
    assert "s3cr3t-value" not in str(caught.value)


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"auth_type": "client_certificate", "tenantId": "t"}, "certificate_path"),
        ({"auth_type": "workload_identity", "tenantId": "t"}, "AZURE_FEDERATED_TOKEN_FILE"),
        ({"auth_type": "custom"}, '"credential"'),
    ],
)
def test_what_is_missing_is_named(extra, field):
    """What a kind of identity can't do without is named, with the field to write it into."""
    with pytest.raises(SynapseLivyConfigurationError, match=f"{extra['auth_type']} needs .*{field}"):
        identity(login="client", extra=extra)


def test_certificates_that_are_none():
    """What stands in the place of a certificate and is none is an error, and not quoted: it may be a secret."""
    with pytest.raises(SynapseLivyConfigurationError, match="certificate_private_key.*no PEM") as caught:
        identity(login="client", extra={"tenantId": "t", "certificate_private_key": "s3cr3t-value"})
    assert "s3cr3t-value" not in str(caught.value)


@pytest.mark.parametrize("certificate", ["certificate_path", "certificate_private_key"])
def test_secret_and_certificate_at_once(certificate):
    """Which of two to use is not guessed."""
    with pytest.raises(SynapseLivyConfigurationError, match="a client secret and a certificate.*auth_type"):
        identity(login="client", password="secret", extra={"tenantId": "t", certificate: "-----BEGIN X-----"})


@pytest.mark.parametrize("token", ["Bearer abc", "abc\ndef", "ä"])
def test_tokens_that_are_none(token):
    """What can't be a token is refused, since an HTTP library would quote it in its own error."""
    with pytest.raises(SynapseLivyConfigurationError, match="bearer token") as caught:
        identity(password=token, extra={"auth_type": "token"})
    assert token not in str(caught.value)


def test_choice_is_logged(caplog):
    """Which kind of identity is taken, and why, is a line in the log, if auth_type leaves it open."""
    caplog.set_level(logging.INFO)
    identity(extra={"auth_type": "auto"})
    identity(extra={"auth_type": "default"})
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith("Connection synapse_livy_default: auth_type is default, because neither")


OLD = ["", "extra__azure_synapse__", "extra__synapse_livy__"]


@pytest.mark.parametrize("prefix", OLD)
def test_connections_of_the_azure_provider(prefix):
    """Connections of the type azure_synapse mean what they meant, their oldest names of extra fields included."""

    def named(**extra):
        return {f"{prefix}{name}": value for name, value in {"subscriptionId": "s", **extra}.items()}

    secret = identity(login="client", password="secret", extra=named(tenantId="tenant"))
    assert (secret.auth_type, secret.tenant_id, secret.client_id) == ("client_secret", "tenant", "client")
    chain = identity(extra=named(managed_identity_client_id="mine", workload_identity_tenant_id="tenant"))
    assert (chain.auth_type, chain.tenant_id, chain.client_id) == ("default", "tenant", "mine")
    assert identity(extra=named(tenantId="tenant")).auth_type == "default"


def test_present_names_go_before_old_ones():
    """A field that was filled in again goes before what is left of its old name."""
    extra = {"extra__azure_synapse__tenantId": "old", "tenantId": "new", "extra__synapse_livy__auth_type": None}
    assert identity(login="client", password="secret", extra=extra).tenant_id == "new"


@pytest.mark.parametrize("name", ["secret", "certificate", "certificate_password"])
def test_secrets_are_not_shown(name):
    """No secret is in a repr, and an identity is a value that can be a key."""
    extra = {"tenantId": "t", "certificate_private_key": "-----BEGIN X", "certificate_password": "s3cr3t-value"}
    kinds = [
        identity(login="client", password="s3cr3t-value", extra={"tenantId": "t"}),
        identity(login="client", extra=extra),
    ]
    assert len(set(kinds)) == 2
    assert all(secret not in repr(kinds) for secret in ("s3cr3t-value", "-----BEGIN"))
