"""Which identity a connection means, and what each auth type needs."""

from __future__ import annotations

import dataclasses
import logging
import os

import pytest

from airflow_provider_synapse_livy.connection.identity import AUTH_METHODS, AuthType
from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError
from tests.support.connections import connection


@pytest.fixture(autouse=True)
def _no_identity_of_this_machine(monkeypatch):
    """Hide what the machine that runs the tests may offer."""
    for name in [name for name in os.environ if name.startswith(("AZURE_", "IDENTITY_", "MSI_"))]:
        monkeypatch.delenv(name)


def identity(**fields):
    """Read the identity of a connection to Azure."""
    return connection(**{"login": None, "password": None, "extra": {}} | fields).identity


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"auth_type": "client_certificate", "tenantId": "t"}, "certificate_path"),
        ({"auth_type": "workload_identity", "tenantId": "t"}, "AZURE_FEDERATED_TOKEN_FILE"),
        ({"auth_type": "custom"}, '"credential"'),
    ],
)
def test_what_is_missing_is_named(extra, field):
    """The error for what an auth type can't do without names it, and the field to write it into."""
    with pytest.raises(SynapseLivyConfigurationError, match=f"{extra['auth_type']} needs .*\nFix: .*{field}"):
        identity(login="client", extra=extra)


def test_certificates_that_are_none():
    """What stands in the place of a certificate and is none is refused, and not quoted: it may be a secret."""
    with pytest.raises(
        SynapseLivyConfigurationError, match="certificate_private_key.*no PEM.\nFix: .*certificate_path"
    ) as caught:
        identity(login="client", extra={"tenantId": "t", "certificate_private_key": "s3cr3t-value"})
    assert "s3cr3t-value" not in str(caught.value)


@pytest.mark.parametrize("certificate", ["certificate_path", "certificate_private_key"])
def test_secret_and_certificate_at_once(certificate):
    """A client secret together with a certificate is refused, unless auth_type names the one to use."""
    with pytest.raises(SynapseLivyConfigurationError, match="(?s)a client secret and a certificate.*auth_type"):
        identity(login="client", password="secret", extra={"tenantId": "t", certificate: "-----BEGIN X-----"})


@pytest.mark.parametrize("token", ["Bearer abc", "abc\ndef", "ä"])
def test_tokens_that_are_none(token):
    """A ready-made token that can't be one is refused, and not quoted, as an HTTP library would."""
    with pytest.raises(SynapseLivyConfigurationError, match="bearer token") as caught:
        identity(password=token, extra={"auth_type": "token"})
    assert token not in str(caught.value)


def test_inferred_auth_type_is_logged(caplog):
    """The auth type that follows from the fields is logged with the reason, if auth_type leaves it open."""
    caplog.set_level(logging.INFO)
    identity(extra={"auth_type": "auto"})
    identity(extra={"auth_type": "default"})
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith("Connection synapse_livy_default: auth_type is default, because neither")


OLD = ["", "extra__azure_synapse__", "extra__synapse_livy__"]


@pytest.mark.parametrize("prefix", OLD)
def test_connections_of_the_azure_provider(prefix):
    """Connections of the type azure_synapse mean what they do to the azure provider, with old names of fields too."""

    def named(**extra):
        return {f"{prefix}{name}": value for name, value in {"subscriptionId": "s", **extra}.items()}

    secret = identity(login="client", password="secret", extra=named(tenantId="tenant"))
    assert (secret.auth_type, secret.tenant_id, secret.client_id) == ("client_secret", "tenant", "client")
    chain = identity(extra=named(managed_identity_client_id="mine", workload_identity_tenant_id="tenant"))
    assert (chain.auth_type, chain.tenant_id, chain.client_id) == ("default", "tenant", "mine")
    assert identity(extra=named(tenantId="tenant")).auth_type == "default"


def test_present_names_go_before_old_ones():
    """A field under its present name takes precedence over one under an old name."""
    extra = {"extra__azure_synapse__tenantId": "old", "tenantId": "new", "extra__synapse_livy__auth_type": None}
    assert identity(login="client", password="secret", extra=extra).tenant_id == "new"


@pytest.mark.parametrize("name", ["secret", "certificate", "certificate_password"])
def test_secrets_are_not_shown(name):
    """No secret is in a repr, and an identity can be the key of a dict."""
    extra = {"tenantId": "t", "certificate_private_key": "-----BEGIN X", "certificate_password": "s3cr3t-value"}
    kinds = [
        identity(login="client", password="s3cr3t-value", extra={"tenantId": "t"}),
        identity(login="client", extra=extra),
    ]
    assert len(set(kinds)) == 2
    assert all(secret not in repr(kinds) for secret in ("s3cr3t-value", "-----BEGIN"))


def test_every_auth_type_has_a_row():
    """The table has a row for each auth type, and one of them is the choice if nothing is filled in."""
    assert set(AUTH_METHODS) == set(AuthType)
    assert [name for name, row in AUTH_METHODS.items() if row.is_inferred_from][-1] is AuthType.DEFAULT


def test_inferred_auth_types_have_a_reason():
    """Each auth type that follows from the fields has a reason, and each value that is needed has its fix."""
    assert all(bool(row.is_inferred_from) is bool(row.inferred_because) for row in AUTH_METHODS.values())
    assert all(bool(value.what) is bool(value.fix) for row in AUTH_METHODS.values() for value in row.values.values())


def test_identity_without_secrets():
    """What is left of an identity without its secrets is all that is not secret."""
    extra = {"tenantId": "t", "proxies": "http://user:s3cr3t-value@proxy.example:3128"}
    whole = identity(login="client", password="s3cr3t-value", extra=extra)
    left = whole.without_secrets()
    assert "s3cr3t-value" not in str(dataclasses.asdict(left))
    assert (left.auth_type, left.tenant_id, left.client_id) == ("client_secret", "t", "client")


@pytest.mark.parametrize("name", ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"])
def test_environment_of_workload_identities(monkeypatch, name):
    """A workload identity takes what the connection lacks from the environment, and names what that lacks too."""
    variables = {"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client", "AZURE_FEDERATED_TOKEN_FILE": "/f"}
    for variable, value in variables.items():
        monkeypatch.setenv(variable, f" {value}\n")
    found = identity(extra={"auth_type": "workload_identity"})
    assert (found.tenant_id, found.client_id, found.federated_credential_file) == ("tenant", "client", "/f")
    monkeypatch.delenv(name)
    with pytest.raises(SynapseLivyConfigurationError, match="workload_identity needs the "):
        identity(extra={"auth_type": "workload_identity"})
