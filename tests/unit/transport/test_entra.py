"""The error that a credential's failure becomes, without a request."""

from __future__ import annotations

import asyncio
import gc

import pytest

from airflow_provider_synapse_livy.connection.identity import AUTH_METHODS, AuthType
from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.transport.async_client import AsyncLivyClient
from airflow_provider_synapse_livy.transport.entra import _CREDENTIALS, AADSTS_REMEDIES, request_token
from airflow_provider_synapse_livy.transport.sync_client import LivyClient
from tests.support.connections import connection

SOCKS = "socks5h://user:s3cr3t-value@proxy.example:1080"
FIELDS = {
    AuthType.CLIENT_SECRET: {"tenantId": "t"},
    AuthType.CLIENT_CERTIFICATE: {"tenantId": "t", "certificate_path": "/no/such/file.pem"},
    AuthType.WORKLOAD_IDENTITY: {"tenantId": "t", "federated_credential_file": "/no/such/file"},
}


def open_async(livy_connection):
    """Open a triggerer's client, and close it."""

    async def run():
        await (await AsyncLivyClient.open(livy_connection)).close()

    asyncio.run(run())


@pytest.fixture
def _socks(monkeypatch):
    """Set a SOCKS proxy for all addresses in the environment."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", SOCKS)


@pytest.mark.usefixtures("_socks")
@pytest.mark.parametrize("connect", [LivyClient, open_async], ids=["worker", "triggerer"])
def test_socks_proxy_on_both_transports(connect):
    """Both transports refuse a SOCKS proxy of the environment at once, in the same words."""
    words = "^The environment names a SOCKS proxy, which is not supported.\nFix: name an HTTP proxy"
    with pytest.raises(SynapseLivyConfigurationError, match=words) as caught:
        connect(connection(extra={"auth_type": "token"}))
    assert "s3cr3t-value" not in str(caught.value)
    gc.collect()  # which would warn of what was left open


@pytest.mark.usefixtures("_socks")
@pytest.mark.parametrize("auth_type", FIELDS)
def test_socks_proxy_on_the_way_to_the_token(auth_type):
    """A SOCKS proxy for the authority is a configuration error of the token's request as well."""
    identity = connection(extra={"auth_type": auth_type} | FIELDS[auth_type]).identity
    with pytest.raises(SynapseLivyConfigurationError, match="(?s)SOCKS proxy.*https://login.microsoftonline.com"):
        request_token(identity)


@pytest.mark.usefixtures("_socks")
def test_ready_made_token_needs_no_proxy():
    """A ready-made token is returned whatever the proxies are."""
    assert request_token(connection(extra={"auth_type": "token"}).identity).token == "s3cr3t-value"


@pytest.mark.parametrize(
    ("auth_type", "words"),
    [
        (AuthType.CLIENT_CERTIFICATE, "compare tenant id, client id and certificate .*No such file.*/no/such/file.pem"),
        (AuthType.WORKLOAD_IDENTITY, "compare tenant id, client id and the federated .*No such file.*/no/such/file"),
    ],
)
def test_files_that_are_missing(auth_type, words):
    """A file that a credential can't read is a configuration error with the issuer, the fix and the file."""
    identity = connection(extra={"auth_type": auth_type} | FIELDS[auth_type]).identity
    start = f"^Microsoft Entra ID gave no token .{auth_type}.\\.\nFix: "
    with pytest.raises(SynapseLivyConfigurationError, match=f"(?s){start}{words}"):
        request_token(identity)


def test_every_auth_type_has_a_credential():
    """Each auth type of the table has a function that makes its credential."""
    assert set(_CREDENTIALS) == set(AUTH_METHODS)


@pytest.mark.parametrize("fix", [*AADSTS_REMEDIES.values(), *(row.refused_fix for row in AUTH_METHODS.values())])
def test_fixes_are_short(fix):
    """A fix is one short line that ends with a full stop."""
    assert len(f"Fix: if it lasts, {fix}") < 120
    assert fix[0].islower()
    assert fix.endswith(".")
