"""The token that each identity's real credential gets: from the local Synapse, from a fake IMDS, from a fake az."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import stat
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from airflow_provider_synapse_livy.emulator.entra import CLIENT_ID, TENANT_ID, WORKLOAD_SUBJECT
from airflow_provider_synapse_livy.exceptions import (
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.transport.tokens import TokenCache
from tests.support.connections import connection
from tests.support.scripted_server import ScriptedServer, http, reset


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
    """Return a token as other identity providers write it."""
    parts = ({"alg": "none"}, {"exp": time.time() + 600} | claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


@pytest.fixture(scope="module")
def key_and_certificate():
    """Return a key and a certificate such as one uploads to an application."""
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
    """Return both in one PEM, the key encrypted or not."""
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
    """A certificate gets a token wherever it is written: in a file, the password field, one line, an extra."""
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
    token = TokenCache(at_emulator(tls_synapse, **fields)).get()
    assert tls_synapse.server.entra.authorization_error(f"Bearer {token}") is None


@pytest.mark.parametrize("value", [True, "true", False, None])
def test_certificate_chain_is_sent_if_asked_for(tls_synapse, key_and_certificate, value):
    """With send_certificate_chain the certificate is sent along, for applications that trust its issuer."""
    pem = as_pem(*key_and_certificate)
    TokenCache(at_emulator(tls_synapse, password=pem, send_certificate_chain=value)).get()
    header = tls_synapse.server.entra.forms[-1]["client_assertion"].split(".")[0]
    assert ("x5c" in json.loads(base64.urlsafe_b64decode(header + "=="))) is (value in (True, "true"))


@pytest.mark.parametrize("text", ["", "no certificate"])
def test_files_without_a_certificate(tls_synapse, tmp_path, text):
    """A certificate file that is missing or holds no certificate is a configuration error, before anything is sent."""
    file = tmp_path / "certificate.pem"
    if text:
        file.write_text(text)
    words = "certificate in PEM or PKCS12" if text else f"No such file.*{file}"
    with pytest.raises(
        SynapseLivyConfigurationError, match=f"(?s)gave no token .client_certificate.\\.\nFix: .*{words}"
    ):
        TokenCache(at_emulator(tls_synapse, certificate_path=str(file))).get()


@pytest.mark.parametrize("by", ["extra", "AZURE_FEDERATED_TOKEN_FILE"])
def test_workload_identity(tls_synapse, tmp_path, monkeypatch, by):
    """A federated token is exchanged for one of Entra ID, with ids of the connection, else of the environment."""
    file = tmp_path / "federated"
    file.write_text(assertion({"sub": WORKLOAD_SUBJECT}))
    if by == "extra":
        who = at_emulator(tls_synapse, auth_type="workload_identity", federated_credential_file=str(file))
    else:
        monkeypatch.setenv(by, str(file))
        monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT_ID)
        monkeypatch.setenv("AZURE_TENANT_ID", TENANT_ID)
        who = at_emulator(tls_synapse, auth_type="workload_identity", login=None, tenantId=None)
    assert tls_synapse.server.entra.authorization_error(f"Bearer {TokenCache(who).get()}") is None


def managed_identity(monkeypatch, answer, **fields):
    """Request a token from an endpoint like App Service's; return it with the request's target."""
    with ScriptedServer(answer) as endpoint:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{endpoint.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "header")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # which could not reach it
        token = TokenCache(identity(**fields)).get()
    return token, endpoint.requests[0].split()[1]


ISSUED = http(200, {"access_token": "from-azure", "expires_on": str(int(time.time()) + 3600), "token_type": "Bearer"})


@pytest.mark.parametrize(
    ("fields", "client_id"),
    [
        ({}, None),
        ({"login": "mine"}, "mine"),
        ({"extra": {"managed_identity_client_id": "mine"}}, "mine"),
    ],
)
def test_managed_identity(monkeypatch, fields, client_id):
    """A managed identity's token is requested on the machine, without a proxy, for the client id if there is one."""
    extra = {"auth_type": "managed_identity"} | fields.get("extra", {})
    token, asked = managed_identity(monkeypatch, ISSUED, **fields | {"extra": extra})
    assert token == "from-azure"
    assert "resource=https://dev.azuresynapse.net" in asked
    assert (f"client_id={client_id}" in asked) is (client_id is not None)


@pytest.mark.parametrize(("extra", "client_id"), [({}, "environments"), ({"managed_identity_client_id": "own"}, "own")])
def test_default_chain_heeds_the_environment(monkeypatch, extra, client_id):
    """The default chain uses the connection's client id, and AZURE_CLIENT_ID where that is blank."""
    monkeypatch.setenv("AZURE_CLIENT_ID", "environments")
    token, asked = managed_identity(monkeypatch, ISSUED, extra={"managed_identity_client_id": None} | extra)
    assert token == "from-azure"
    assert f"client_id={client_id}" in asked


def test_managed_identity_that_is_refused(monkeypatch):
    """A refusal is an authentication error that names the issuer, the status and what to do, and what it was told."""
    refusal = http(400, {"statusCode": 400, "message": "No managed identity found"})
    words = (
        "(?s)^The managed identity's endpoint .* gave no token .*it answered 400.*Fix: give this machine.*"
        "(No managed|App Service managed identity)"  # azure-identity before 1.19 has words of its own
    )
    with pytest.raises(SynapseLivyAuthenticationError, match=words):
        managed_identity(monkeypatch, refusal, extra={"auth_type": "managed_identity"})


@pytest.mark.parametrize("status", [404, 410, 429, 500])
def test_managed_identity_endpoint_that_is_away(monkeypatch, status):
    """A managed identity's endpoint that is away or overloaded is unavailable: while a machine is updated it may be."""
    words = f"^The managed identity's endpoint .* gave no token .*it answered {status}\\.\nFix: if it lasts, "
    with pytest.raises(SynapseLivyUnavailableError, match=words) as caught:
        managed_identity(monkeypatch, http(status, b"away"), extra={"auth_type": "managed_identity"})
    assert (caught.value.status, caught.value.retry_after) == (status, None)


@pytest.mark.parametrize("status", [429, 503])
def test_managed_identity_endpoint_that_asks_for_a_pause(monkeypatch, status):
    """The pause that a managed identity's endpoint asks for is in the error and in its message."""
    busy = http(status, b"busy", Retry_After="8")
    with pytest.raises(
        SynapseLivyUnavailableError, match=f"(?s)it answered {status}\\..*asks to wait 8 s\\."
    ) as caught:
        managed_identity(monkeypatch, busy, extra={"auth_type": "managed_identity"})
    assert (caught.value.status, caught.value.retry_after) == (status, 8)
    assert not caught.value.may_have_been_processed


def test_managed_identity_endpoint_is_named(monkeypatch):
    """If the machine's endpoint breaks the connection off, it is the one that is named, not Microsoft Entra ID."""
    with pytest.raises(
        SynapseLivyUnavailableError,
        match="(?s)^The token for Synapse: the server broke .*The server is http://127.0.0.1:",
    ) as caught:
        managed_identity(monkeypatch, reset, extra={"auth_type": "managed_identity"})
    assert not caught.value.may_have_been_processed  # Synapse itself was sent nothing


def fake_az(monkeypatch, folder, script):
    """Put an Azure CLI on the PATH that runs a script, and return the file that keeps its arguments."""
    az = folder / "az"
    az.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\n{script}\n')
    az.chmod(az.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "asked"


def test_azure_cli(monkeypatch, tmp_path):
    """The Azure CLI returns the token of the user who has logged in with it, in the connection's tenant."""
    given = json.dumps({"accessToken": "from-cli", "expiresOn": "2035-01-01 00:00:00.000000", "expires_on": 2051222400})
    asked = fake_az(monkeypatch, tmp_path, f"echo '{given}'")
    who = identity(extra={"auth_type": "azure_cli", "tenantId": "00000000-0000-0000-0000-00000000000a"})
    assert TokenCache(who).get() == "from-cli"
    assert "--resource https://dev.azuresynapse.net" in asked.read_text()
    assert "--tenant 00000000-0000-0000-0000-00000000000a" in asked.read_text()


def test_azure_cli_that_is_not_logged_in(monkeypatch, tmp_path):
    """If nobody has logged in, the message has the Azure CLI's own remedy."""
    fake_az(monkeypatch, tmp_path, "echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1")
    with pytest.raises(
        SynapseLivyAuthenticationError, match="(?s)The Azure CLI gave no token .azure_cli.\\..*Please run .az login"
    ):
        TokenCache(identity(extra={"auth_type": "azure_cli"})).get()


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
    """A dotted path may name a credential class, or a function that returns a credential."""
    (tmp_path / "own_credentials.py").write_text(CREDENTIALS)
    monkeypatch.syspath_prepend(tmp_path)
    who = identity(extra={"credential": f"own_credentials{joint}{name}"})
    assert TokenCache(who).get() == "for-https://dev.azuresynapse.net/.default"


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("no_such_module.Credential", SynapseLivyConfigurationError, "every worker and triggerer.*No module named"),
        ("own_credentials.Missing", SynapseLivyConfigurationError, "package.module.name.*no attribute 'Missing'"),
        ("Credential", SynapseLivyConfigurationError, "package.module.name.*Empty module name"),
        ("own_credentials.number", SynapseLivyConfigurationError, "name a class.*can't be called"),
        ("own_credentials.nothing", SynapseLivyConfigurationError, "returned NoneType, which has no get_token"),
        ("own_credentials.Async", SynapseLivyConfigurationError, "returned Async, .*without await"),
        ("own_credentials.broken", SynapseLivyAuthenticationError, "the vault is sealed"),
        ("own_credentials.Unreachable", SynapseLivyUnavailableError, "Connection refused"),
        ("own_credentials.with_line_break", SynapseLivyConfigurationError, "It is no AccessToken, or has"),
        ("own_credentials.without_end", SynapseLivyConfigurationError, "It is no AccessToken, or has"),
    ],
)
def test_credential_of_ones_own_that_does_not_work(monkeypatch, tmp_path, path, kind, words):
    """The error about a dotted path, or about what it returns, names the path and quotes no token."""
    (tmp_path / "own_credentials.py").write_text(CREDENTIALS)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(kind, match=f"(?s)gave no token .custom.\\.\nFix: .*{words}.*It is {path}") as caught:
        TokenCache(identity(extra={"auth_type": "custom", "credential": path})).get()
    assert "s3cr3t-value" not in str(caught.value)
