"""What a connection says: what is understood, and what is refused with which words."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from airflow_provider_synapse_livy.connection.synapse_livy import AuthType
from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.livy.requests import DEFAULT_LIVY_API_VERSION, Pool
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION
from tests.support.connections import connection

PUBLIC = "https://ws.dev.azuresynapse.net"
LOOPBACK = "https://127.0.0.1:8999"


@pytest.mark.parametrize(
    ("host", "port", "endpoint"),
    [
        ("https://ws.dev.azuresynapse.net", None, PUBLIC),
        ("https://ws.dev.azuresynapse.net/", None, PUBLIC),
        ("ws.dev.azuresynapse.net", None, PUBLIC),
        ("ws.dev.azuresynapse.net/", 443, PUBLIC),
        ("https://WS.dev.azuresynapse.net:443", None, PUBLIC),
        ("  ws  ", None, PUBLIC),
        ("ws-2", 443, "https://ws-2.dev.azuresynapse.net"),
        ("ws.dev.azuresynapse.azure.cn", None, "https://ws.dev.azuresynapse.azure.cn"),
        ("ws.dev.azuresynapse.usgovcloudapi.net", None, "https://ws.dev.azuresynapse.usgovcloudapi.net"),
        ("http://127.0.0.1:8998", None, "http://127.0.0.1:8998"),
        ("http://localhost", 8998, "http://localhost:8998"),
        ("https://127.0.0.1:8998/", 8998, "https://127.0.0.1:8998"),
        ("http://[::1]:8998", None, "http://[::1]:8998"),
        ("localhost", None, "https://localhost"),
    ],
)
def test_hosts(host, port, endpoint):
    """The host may be written with or without scheme, slash and suffix; plain http is for loopback addresses."""
    assert connection(host=host, port=port, login=None, extra={"auth_type": "token"}).endpoint == endpoint


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("https://web.azuresynapse.net?workspace=%2fsubscriptions%2f1", "Synapse Studio"),
        ("web.azuresynapse.net/en/monitoring", "Synapse Studio"),
        ("https://web.azuresynapse.azure.cn", "Synapse Studio"),
        ("https://ms.web.azuresynapse.net/en/authoring", "Synapse Studio"),
        ("http://ws.dev.azuresynapse.net", "unencrypted"),
        ("ftp://ws.dev.azuresynapse.net", "unencrypted"),
        ("ws.sql.azuresynapse.net", "not the development endpoint"),
        ("ws-ondemand.sql.azuresynapse.net", "not the development endpoint"),
        ("dev.azuresynapse.net", "not the development endpoint"),
        ("a.ws.dev.azuresynapse.net", "not the development endpoint"),
        ("ws.dev.azuresynapse.net.evil.example", "not the development endpoint"),
        ("evil.example", "not the development endpoint"),
        ("my_workspace!", "not the development endpoint"),
        ("https://ws.dev.azuresynapse.net/livyApi", "more than the workspace's address"),
        ("https://ws.dev.azuresynapse.net?a=b", "more than the workspace's address"),
        ("https://user@ws.dev.azuresynapse.net", "more than the workspace's address"),
        ("https://ws.dev.azuresynapse.net:port", "not an address"),
        ("https://[::1", "not an address"),
        ("https://", "not an address"),
        (f"{'w' * 64}.dev.azuresynapse.net", "not the development endpoint"),
        ("-ws.dev.azuresynapse.net", "not the development endpoint"),
    ],
)
def test_hosts_that_are_refused(host, words):
    """A host that is no development endpoint is refused, with what to write there instead."""
    fix = "Fix: write https://<workspace>.dev.azuresynapse.net"
    with pytest.raises(SynapseLivyConfigurationError, match=f"{words}.*\n{fix}.*\nThe host is '") as caught:
        connection(host=host)
    assert str(caught.value).startswith("Connection synapse_livy_default: the host")


@pytest.mark.parametrize("host", [None, "", " "])
def test_missing_host(host):
    """A missing host is an error that says what to write there."""
    with pytest.raises(SynapseLivyConfigurationError, match="the host is missing.\nFix: write https://<workspace>"):
        connection(host=host)


@pytest.mark.parametrize("port", [-1, 0, 65536, "https"])
def test_ports_that_are_none(port):
    """A field Port that holds no port is refused."""
    with pytest.raises(SynapseLivyConfigurationError, match=f"the field Port is {port!r}.\nFix: write a number from 1"):
        connection(port=port)


def test_two_ports_that_differ_are_refused():
    """A port in the host and another in the field Port are refused, with both."""
    with pytest.raises(SynapseLivyConfigurationError, match="port 8998.*9000"):
        connection(host="http://localhost:8998", port=9000)


@pytest.mark.parametrize(
    ("host", "scope", "authority"),
    [
        ("ws", "https://dev.azuresynapse.net/.default", "login.microsoftonline.com"),
        (
            "ws.dev.azuresynapse.azure.cn",
            "https://dev.azuresynapse.azure.cn/.default",
            "login.chinacloudapi.cn",
        ),
        (
            "ws.dev.azuresynapse.usgovcloudapi.net",
            "https://dev.azuresynapse.usgovcloudapi.net/.default",
            "login.microsoftonline.us",
        ),
    ],
)
def test_cloud_follows_from_the_host(host, scope, authority):
    """Authority and scope of a token follow from the cloud that the host is in."""
    identity = connection(host=host).identity
    assert (identity.scope, identity.authority) == (scope, authority)


CHINA = "ws.dev.azuresynapse.azure.cn"


@pytest.mark.parametrize(
    ("fields", "endpoint", "scope", "authority"),
    [
        (
            {"host": "ws", "cloud_environment": "AzureChinaCloud"},
            f"https://{CHINA}",
            "https://dev.azuresynapse.azure.cn/.default",
            "login.chinacloudapi.cn",
        ),
        (
            {"host": CHINA, "cloud_environment": "AzureChinaCloud", "endpoint_suffix": ".dev.azuresynapse.azure.cn"},
            f"https://{CHINA}",
            "https://dev.azuresynapse.azure.cn/.default",
            "login.chinacloudapi.cn",
        ),
        (
            {"host": "ws", "endpoint_suffix": "dev.synapse.example", "authority": "https://login.example/"},
            "https://ws.dev.synapse.example",
            "https://dev.synapse.example/.default",
            "https://login.example",
        ),
        (
            {"host": "ws", "scope": "https://dev.azuresynapse.net", "authority": "login.microsoftonline.com"},
            PUBLIC,
            "https://dev.azuresynapse.net/.default",
            "login.microsoftonline.com",
        ),
        (
            {"host": "gateway.example:8443", "allow_custom_host": "true", "cloud_environment": "AzureUSGovernment"},
            "https://gateway.example:8443",
            "https://dev.azuresynapse.usgovcloudapi.net/.default",
            "login.microsoftonline.us",
        ),
        (
            {"host": "ws", "authority": "https://login.microsoftonline.com/"},
            PUBLIC,
            "https://dev.azuresynapse.net/.default",
            "login.microsoftonline.com",  # as Microsoft's own, which azure-identity looks up
        ),
        (
            {"host": "https://livy-gateway:8443", "allow_custom_host": "y"},
            "https://livy-gateway:8443",
            "https://dev.azuresynapse.net/.default",
            "login.microsoftonline.com",
        ),
        (
            {"host": "https://[fd00::1]", "allow_custom_host": True},
            "https://[fd00::1]",
            "https://dev.azuresynapse.net/.default",
            "login.microsoftonline.com",
        ),
    ],
)
def test_clouds_and_their_exceptions(fields, endpoint, scope, authority):
    """The cloud may be named, and each of its own names replaced."""
    found = connection(host=fields.pop("host"), extra={"tenantId": "t"} | fields)
    assert (found.endpoint, found.identity.scope, found.identity.authority) == (endpoint, scope, authority)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (
            {"cloud_environment": "AzureUSGovernment"},
            f"is in AzureChinaCloud, .*is AzureUSGovernment.*correct one of them.*{CHINA}",
        ),
        ({"endpoint_suffix": "dev.azuresynapse.net"}, f"endpoint_suffix.*host is {CHINA}, .*'dev.azuresynapse.net'"),
        (
            {"authority": "https://login.microsoftonline.com"},
            "is in AzureChinaCloud, .*of AzurePublicCloud.*https://login.microsoftonline.com",
        ),
        ({"cloud_environment": "China"}, "'China'.\nFix: write one of AzurePublicCloud, AzureChinaCloud"),
        ({"endpoint_suffix": "https://x"}, "endpoint_suffix.*'https://x'.\nFix: write what follows"),
        ({"allow_custom_host": "yes"}, "allow_custom_host.*'yes'.\nFix: write true or false"),
    ],
)
def test_contradictions_are_refused(extra, words):
    """Two fields that contradict each other are an error that names both."""
    with pytest.raises(SynapseLivyConfigurationError, match=f"(?s){words}"):
        connection(host=CHINA, extra={"tenantId": "t"} | extra)


@pytest.mark.parametrize("name", ["gate_way.example", "a..b", f"{'x' * 64}.example", "gate way.example", "-a.example"])
def test_custom_host_must_be_one(name):
    """A custom host must still be the name of a host."""
    with pytest.raises(SynapseLivyConfigurationError, match="not the name of a host"):
        connection(host=f"https://{name}", extra={"tenantId": "t", "allow_custom_host": True})


@pytest.mark.parametrize(
    "authority",
    [
        "https://[", "https://", "http://login.example", "ftp://login.example", {"a": 1}, [], "a..b", "x" * 64,
        "login.example/tenant", "https://login.example?a=b", "https://user:pw@login.example", "log in", "https://a:0",
        "http://[::1%25lo]:8999",
    ],
)  # fmt: skip
def test_authorities_that_are_none(authority):
    """An authority that is no host, or would be sent secrets over plain http, is an error that names the field."""
    words = 'the extra "authority" is .*\nFix: write https://login.microsoftonline.com, or another host.'
    with pytest.raises(SynapseLivyConfigurationError, match=words):
        connection(extra={"tenantId": "t", "authority": authority})


@pytest.mark.parametrize("authority", ["login.example", "login.example:8443", "https://login.example/", LOOPBACK])
def test_authorities(authority):
    """An authority is a bare host, or an https address of one, with a port or without."""
    found = connection(extra={"tenantId": "t", "authority": authority}).identity.authority
    assert found == authority.rstrip("/")
    plain = {"tenantId": "t", "authority": "http://127.0.0.1:8999"}
    assert connection(extra=plain).identity.authority == "http://127.0.0.1:8999"


@pytest.mark.parametrize(
    ("fields", "may"),
    [
        ({"host": LOOPBACK, "extra": {"tenantId": "t"}}, False),
        ({"host": LOOPBACK, "extra": {"tenantId": "t", "authority": LOOPBACK}}, True),
        ({"host": LOOPBACK, "extra": {"tenantId": "t", "allow_custom_host": True}}, True),
        ({"host": LOOPBACK, "extra": {"tenantId": "t", "endpoint_suffix": "dev.azuresynapse.net"}}, False),
        ({"host": LOOPBACK, "extra": {"auth_type": "token"}}, True),
        ({"host": LOOPBACK, "extra": {"auth_type": "managed_identity", "authority": LOOPBACK}}, False),
        ({"host": LOOPBACK, "extra": {"auth_type": "default", "authority": LOOPBACK}}, False),
        ({"host": LOOPBACK, "extra": {"auth_type": "azure_cli", "allow_custom_host": "True"}}, True),
        ({"host": "ws.synapse.example", "extra": {"tenantId": "t", "endpoint_suffix": "synapse.example"}}, True),
        (
            {
                "host": "ws.synapse.example",
                "extra": {
                    "tenantId": "t",
                    "endpoint_suffix": "synapse.example",
                    "scope": "https://dev.azuresynapse.net",
                },
            },
            False,
        ),
        ({"host": "ws.synapse.example", "extra": {"tenantId": "t"}}, False),
    ],
)
def test_where_tokens_for_azure_may_go(fields, may):
    """A token that is valid at Microsoft's is sent to Microsoft's hosts alone, unless the connection allows others."""
    if may:
        assert connection(**fields).endpoint
    else:
        with pytest.raises(SynapseLivyConfigurationError, match="(?s)outside Microsoft's clouds.*allow_custom_host"):
            connection(**fields)


@given(host=st.one_of(st.text(), st.from_regex(r"[^ ]{0,9}ws[^ ]{0,9}\.dev\.azuresynapse\.net[^ ]{0,9}")))
def test_mistyped_and_hostile_hosts_never_get_a_token(host):
    """Whatever text the host is, it is refused, or both HTTP libraries would go to a host of Synapse's."""
    try:
        endpoint = connection(host=host).endpoint
    except SynapseLivyConfigurationError:
        return
    for url in (URL(endpoint), urlsplit(requests.Request("GET", endpoint).prepare().url)):
        assert url.scheme == "https"
        name = url.host if isinstance(url, URL) else url.hostname
        assert re.fullmatch(r"[a-z0-9-]+\.dev\.azuresynapse\.(net|azure\.cn|usgovcloudapi\.net)", name)


def test_defaults():
    """Missing fields have a default, and null and empty ones count as missing."""
    found = connection(extra={"tenantId": "tenant", "spark_pool_name": None, "livy_api_version": "", "verify": None})
    assert (found.spark_pool_name, found.livy_api_version) == (None, "2020-12-01")


def test_extras():
    """Extra fields are used, without white space around them."""
    extra = {"tenantId": " tenant ", "spark_pool_name": " etl\n", "livy_api_version": "2019-11-01-preview "}
    found = connection(extra=extra | {"authority": "login.example"})
    assert (found.spark_pool_name, found.livy_api_version) == ("etl", "2019-11-01-preview")
    assert (found.identity.tenant_id, found.identity.authority) == ("tenant", "login.example")


@pytest.mark.parametrize(
    ("fields", "auth_type"),
    [
        ({}, AuthType.CLIENT_SECRET),
        ({"extra": {"auth_type": "client_secret", "tenantId": "t"}}, AuthType.CLIENT_SECRET),
        ({"login": None, "password": None, "extra": {}}, AuthType.DEFAULT),
        ({"login": "", "password": "", "extra": {"tenantId": ""}}, AuthType.DEFAULT),
        ({"login": None, "password": None}, AuthType.DEFAULT),
        ({"extra": {"auth_type": "auto", "tenantId": "t"}}, AuthType.CLIENT_SECRET),
        ({"conn_type": "azure_synapse"}, AuthType.CLIENT_SECRET),
        ({"conn_type": "azure_synapse", "password": None}, AuthType.DEFAULT),  # as the azure provider has it
        (
            {"extra": {"auth_type": "client_certificate", "tenantId": "t", "certificate_path": "/c.pem"}},
            AuthType.CLIENT_CERTIFICATE,
        ),
        ({"password": None, "extra": {"tenantId": "t", "certificate_path": "/c.pem"}}, AuthType.CLIENT_CERTIFICATE),
        ({"password": "-----BEGIN PRIVATE KEY-----"}, AuthType.CLIENT_CERTIFICATE),
        (
            {"password": None, "extra": {"tenantId": "t", "certificate_private_key": "-----BEGIN CERTIFICATE-----"}},
            AuthType.CLIENT_CERTIFICATE,
        ),
        ({"password": None, "extra": {"tenantId": "t", "federated_credential_file": "/f"}}, AuthType.WORKLOAD_IDENTITY),
        ({"login": None, "password": None, "extra": {"credential": "a.b"}}, AuthType.CUSTOM),
        ({"login": None, "password": None, "extra": {"managed_identity_client_id": "m"}}, AuthType.DEFAULT),
        ({"login": None, "extra": {"auth_type": "managed_identity"}}, AuthType.MANAGED_IDENTITY),
        ({"login": None, "extra": {"auth_type": "azure_cli"}}, AuthType.AZURE_CLI),
        ({"extra": {"auth_type": "default"}}, AuthType.DEFAULT),
        ({"login": None, "extra": {"auth_type": "token"}}, AuthType.TOKEN),
    ],
)
def test_auth_type(fields, auth_type):
    """The auth type is what auth_type says; where that is blank, it follows from the fields that are filled in."""
    assert connection(**fields).identity.auth_type is auth_type


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"extra": {}}, "client_secret needs the tenant id\\.\nFix: .*Tenant ID"),
        ({"login": None}, "client_secret needs the application's client id\\.\nFix: .*Client ID"),
        ({"password": None}, "client_secret needs a client secret\\.\nFix: .*Client secret"),
        ({"password": None, "extra": {"auth_type": "token"}}, "token needs a bearer token\\.\nFix: .*Client secret"),
        (
            {"extra": {"auth_type": "password"}},
            "'password'.\nFix: use one of the valid values.\nValid values: auto, client_secret, client_certificate, ",
        ),
    ],
)
def test_what_is_missing_is_named(fields, words):
    """The error for what is missing or wrong names it, and the field to write it into."""
    with pytest.raises(SynapseLivyConfigurationError, match=words):
        connection(**fields)


def test_pool_of_the_task_goes_first():
    """A task may name its pool, else the connection's is used; without either, the message names both places."""
    with_pool = connection(extra={"tenantId": "t", "spark_pool_name": "etl"})
    assert with_pool.pool("adhoc") == Pool(PUBLIC, "adhoc", DEFAULT_LIVY_API_VERSION)
    assert with_pool.pool() == Pool(PUBLIC, "etl", DEFAULT_LIVY_API_VERSION)
    words = "(?s)^Connection synapse_livy_default: no Spark pool is named.\nFix: .*spark_pool_name.*Spark pool"
    with pytest.raises(SynapseLivyConfigurationError, match=words):
        connection().pool()


@pytest.mark.parametrize("value", ["  etl", "etl \n", "\tetl"])
def test_white_space_around_the_values_of_the_task(value):
    """White space that a template left around the task's pool or version is removed."""
    assert connection().pool(value, " 2022-02-22-preview\n") == Pool(PUBLIC, "etl", "2022-02-22-preview")


@pytest.mark.parametrize("rendered", ["", " ", "None"])
def test_empty_pool_of_the_task_is_refused(rendered):
    """A pool that was rendered to nothing does not become the connection's: its sessions have the same numbers."""
    with_pool = connection(extra={"tenantId": "t", "spark_pool_name": "etl"})
    with pytest.raises(SynapseLivyConfigurationError, match=f"spark_pool_name={rendered.strip()!r}"):
        SPARK_SESSION.get(with_pool.pool(rendered), 1)


def test_version_of_the_task_goes_first():
    """A task may name its version of the API, else the connection's is used."""
    assert "/versions/2022-02-22-preview/" in connection().pool("etl", "2022-02-22-preview").url
    assert "/versions/2020-12-01/" in connection().pool("etl").url


def test_secrets_are_not_shown():
    """No secret is in a repr, which logs and debuggers print, or in an error about the host."""
    assert "s3cr3t-value" not in repr(connection())
    with pytest.raises(SynapseLivyConfigurationError) as caught:
        connection(host="https://user:s3cr3t-value@ws.dev.azuresynapse.net")
    assert "s3cr3t-value" not in str(caught.value)
    with pytest.raises(SynapseLivyConfigurationError) as caught:
        connection(host="user:s3cr3t-value@ws.dev.azuresynapse.net")
    assert "s3cr3t-value" not in str(caught.value)


RESOURCE_ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Synapse/workspaces/ws"


@pytest.mark.parametrize("value", [RESOURCE_ID, f" {RESOURCE_ID} ", RESOURCE_ID.lower(), None])
def test_workspace_resource_id(value):
    """The workspace's resource id is kept as it is written, in any letter case."""
    found = connection(extra={"tenantId": "t", "workspace_resource_id": value}).workspace_resource_id
    assert found == (value and value.strip())


@pytest.mark.parametrize("value", ["ws", RESOURCE_ID + "/sparkPools/etl", RESOURCE_ID.replace("Synapse", "Storage")])
def test_workspace_resource_ids_that_are_none(value):
    """What is not a workspace's resource id is refused, with the place that shows it."""
    with pytest.raises(SynapseLivyConfigurationError, match="workspace_resource_id.*\nFix: .*Properties"):
        connection(extra={"tenantId": "t", "workspace_resource_id": value})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = (
    "auth_type", "authority", "certificate_path", "certificate_private_key", "cloud_environment", "endpoint_suffix",
    "livy_api_version", "proxies", "scope", "spark_pool_name", "tenantId", "timeout", "verify", "workspace_resource_id",
)  # fmt: skip
TEXT = st.none() | st.text()


@given(
    extra=JSON | st.dictionaries(st.sampled_from(NAMES), JSON),
    host=TEXT | st.just("ws") | st.just("http://localhost"),
    port=st.none() | st.integers(),
    login=TEXT,
    password=TEXT,
)
def test_whatever_a_connection_holds(extra, host, port, login, password):
    """Whatever a connection holds, it is read, or refused with an error that names it and says what to do."""
    try:
        read = connection(host=host, port=port, login=login, password=password, extra=extra)
    except SynapseLivyConfigurationError as error:
        message = str(error)
    else:
        assert read.endpoint.startswith("http")
        return
    event, fix, *_ = message.splitlines()
    assert event.startswith("Connection synapse_livy_default: ")
    assert len(event) < 120 or "holds no certificates" in event  # which names a file
    assert fix.startswith("Fix: ")
    assert len(fix) < 135  # with the names of all auth types
