"""The connection's settings: what is understood, and what is refused with which words."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from yarl import URL

from airflow_provider_synapse_livy.connection.synapse_livy import AuthType
from airflow_provider_synapse_livy.exceptions import SynapseLivyConfigurationError
from tests.support.connections import connection

PUBLIC = "https://ws.dev.azuresynapse.net"


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
    """The endpoint may stand with or without scheme, slash and suffix; plain http is for loopback addresses."""
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
    ],
)
def test_hosts_that_are_refused(host, words):
    """A host that is no development endpoint is refused, and the message says what to write there instead."""
    with pytest.raises(
        SynapseLivyConfigurationError, match=f"{words}.*https://<workspace>.dev.azuresynapse.net"
    ) as caught:
        connection(host=host)
    assert str(caught.value).startswith("Connection synapse_livy_default: the host")


@pytest.mark.parametrize("host", [None, "", " "])
def test_missing_host(host):
    """Without a host there is nothing to ask, and the message says what to write there."""
    with pytest.raises(SynapseLivyConfigurationError, match="the host is missing. Write .*https://<workspace>"):
        connection(host=host)


def test_two_ports_that_differ_are_refused():
    """A port is written once; two that differ are a mistake that nobody should have to guess."""
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
    """Tokens are asked for where, and for what, the host's cloud says."""
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
    """The cloud may be named, and each of its names replaced."""
    found = connection(host=fields.pop("host"), extra={"tenantId": "t"} | fields)
    assert (found.endpoint, found.identity.scope, found.identity.authority) == (endpoint, scope, authority)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"cloud_environment": "AzureUSGovernment"}, f"{CHINA} is in AzureChinaCloud, .* says AzureUSGovernment"),
        ({"endpoint_suffix": "dev.azuresynapse.net"}, f"host is {CHINA}, .* 'dev.azuresynapse.net'"),
        ({"authority": "https://login.microsoftonline.com"}, "is in AzureChinaCloud, .* of AzurePublicCloud"),
        ({"cloud_environment": "China"}, "'China'. Write one of AzurePublicCloud, AzureChinaCloud"),
        ({"endpoint_suffix": "https://x"}, "endpoint_suffix.*'https://x'. Write what follows"),
        ({"allow_custom_host": "yes"}, "allow_custom_host.*'yes'. Write true or false"),
    ],
)
def test_contradictions_are_refused(extra, words):
    """Two fields that contradict each other are an error that names both; nobody has to guess which is meant."""
    with pytest.raises(SynapseLivyConfigurationError, match=words):
        connection(host=CHINA, extra={"tenantId": "t"} | extra)


def test_custom_host_must_be_one():
    """What is allowed as a host of one's own must still be the name of one."""
    with pytest.raises(SynapseLivyConfigurationError, match="not the name of a host"):
        connection(host="https://gate_way.example", extra={"tenantId": "t", "allow_custom_host": True})


LOOPBACK = "https://127.0.0.1:8999"


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
    """A token that is good at Microsoft's goes to Microsoft's hosts, and elsewhere only if the connection allows it."""
    if may:
        assert connection(**fields).endpoint
    else:
        with pytest.raises(SynapseLivyConfigurationError, match="outside Microsoft's clouds.*allow_custom_host"):
            connection(**fields)


@given(host=st.one_of(st.text(), st.from_regex(r"[^ ]{0,9}ws[^ ]{0,9}\.dev\.azuresynapse\.net[^ ]{0,9}")))
def test_mistyped_and_hostile_hosts_never_get_a_token(host):
    """Whatever is written as the host, it is refused, or both HTTP libraries would go to a host of Synapse's."""
    try:
        endpoint = connection(host=host).endpoint
    except SynapseLivyConfigurationError:
        return
    for url in (URL(endpoint), urlsplit(requests.Request("GET", endpoint).prepare().url)):
        assert url.scheme == "https"
        name = url.host if isinstance(url, URL) else url.hostname
        assert re.fullmatch(r"[a-z0-9-]+\.dev\.azuresynapse\.(net|azure\.cn|usgovcloudapi\.net)", name)


def test_defaults():
    """What is not filled in has a default, and null and empty fields count as not filled in."""
    found = connection(extra={"tenantId": "tenant", "spark_pool_name": None, "livy_api_version": "", "verify": None})
    assert (found.spark_pool_name, found.livy_api_version) == (None, "2020-12-01")


def test_extras():
    """The extra fields are taken over."""
    extra = {"tenantId": " tenant ", "spark_pool_name": "etl", "livy_api_version": "2019-11-01-preview"}
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
    """The kind of identity is what auth_type says; where it is blank, what is filled in tells."""
    assert connection(**fields).identity.auth_type is auth_type


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"extra": {}}, "client_secret needs the tenant id.*Tenant ID"),
        ({"login": None}, "client_secret needs the application's client id.*Client ID"),
        ({"password": None}, "client_secret needs a client secret.*Client secret"),
        ({"password": None, "extra": {"auth_type": "token"}}, "token needs a bearer token.*Client secret"),
        ({"extra": {"auth_type": "password"}}, "'password'. Write one of auto, client_secret, client_certificate, "),
    ],
)
def test_what_is_missing_is_named(fields, words):
    """What is missing or wrong is named, with the field to write it into."""
    with pytest.raises(SynapseLivyConfigurationError, match=words):
        connection(**fields)


def test_pool_of_the_task_goes_first():
    """A task may name its pool, else the connection's is taken; without either, the message names both places."""
    with_pool = connection(extra={"tenantId": "t", "spark_pool_name": "etl"})
    assert with_pool.spark_session_request(1, spark_pool_name="adhoc").subject == "Spark session 1 in pool adhoc"
    assert with_pool.spark_session_request(1).subject == "Spark session 1 in pool etl"
    with pytest.raises(SynapseLivyConfigurationError, match="spark_pool_name.*Spark pool"):
        connection().spark_session_request(1)


def test_empty_pool_of_the_task_is_refused():
    """A pool that was rendered to nothing must not become the connection's: its sessions have the same numbers."""
    with_pool = connection(extra={"tenantId": "t", "spark_pool_name": "etl"})
    with pytest.raises(SynapseLivyConfigurationError, match="spark_pool_name=''"):
        with_pool.spark_session_request(1, spark_pool_name="")


def test_version_of_the_task_goes_first():
    """A task may name its version of the API, else the connection's is taken."""
    request = connection().spark_session_request(1, spark_pool_name="etl", livy_api_version="2022-02-22-preview")
    assert "/versions/2022-02-22-preview/" in request.url


@pytest.mark.parametrize("value", ["false", "False", False])
def test_verification_can_be_turned_off(value):
    """A false, also in a string as forms write it, trusts any certificate."""
    assert connection(extra={"tenantId": "t", "verify": value}).network.ca_bundle is False


@pytest.mark.parametrize("value", ["true", True, None])
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_environment_names_the_trusted_certificates(monkeypatch, variable, value):
    """Without a bundle in the connection, the environment's is used on every path, as requests would."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(variable, DEFAULT_CA_BUNDLE_PATH)
    monkeypatch.setattr("requests.utils.DEFAULT_CA_BUNDLE_PATH", "unused")
    assert connection(extra={"tenantId": "t", "verify": value}).network.ca_bundle == DEFAULT_CA_BUNDLE_PATH


def test_connection_bundle_goes_before_the_environment(monkeypatch, tmp_path):
    """A bundle in the connection is used, whatever the environment says."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/corporate.pem")
    found = connection(extra={"tenantId": "t", "verify": str(tmp_path)})  # a folder will do as well
    assert found.network.ca_bundle == str(tmp_path)


@pytest.mark.parametrize("by", ["verify", "REQUESTS_CA_BUNDLE"])
def test_bundles_without_certificates_are_refused(monkeypatch, tmp_path, by):
    """A bundle that is not there, or holds no certificates, is named, whoever has named it."""
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    for path in (junk, tmp_path / "missing.pem"):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
        extra = {"tenantId": "t"} | ({"verify": str(path)} if by == "verify" else {})
        with pytest.raises(SynapseLivyConfigurationError, match=f"{path} holds no certificates"):
            connection(extra=extra)


@pytest.mark.parametrize(("value", "seconds"), [(None, 30.0), (5, 5.0), ("7.5", 7.5)])
def test_timeout(value, seconds):
    """Half a minute is waited for an answer, or as long as the connection says."""
    assert connection(extra={"tenantId": "t", "timeout": value}).network.timeout == seconds


@pytest.mark.parametrize("value", ["soon", 0, -1, "inf", "nan", []])
def test_nonsense_timeouts_are_refused(value):
    """What is no number of seconds is refused."""
    with pytest.raises(SynapseLivyConfigurationError, match="timeout"):
        connection(extra={"tenantId": "t", "timeout": value})


PROXY = "http://user:s3cr3t-value@proxy.example:3128"


@pytest.mark.parametrize(
    "value",
    [PROXY, f" {PROXY} ", {"https": PROXY}, f'{{"https": "{PROXY}"}}', {"https://ws.dev.azuresynapse.net": PROXY}],
)
def test_proxies_of_the_connection(monkeypatch, value):
    """One proxy for all, or several in the terms of requests; they go before the environment's, and are not shown."""
    monkeypatch.setenv("https_proxy", "http://environment.example:1")
    monkeypatch.setenv("no_proxy", "*")
    network = connection(extra={"tenantId": "t", "proxies": value}).network
    assert network.proxy("https://ws.dev.azuresynapse.net") == PROXY
    assert network.proxy("http://localhost:8998") is None
    assert "s3cr3t-value" not in repr(network)
    assert hash(network)  # since it is a part of the key of shared clients


@pytest.mark.parametrize(
    "value",
    ["proxy:3128", "socks5://s3cr3t-value", "http://s3cr3t-value:port", {"https": "s3cr3t-value"}, '{"https": 5}', 5],
)
def test_proxies_that_are_none(value):
    """What is no proxy's address is refused, and not quoted, since it could be a password."""
    with pytest.raises(SynapseLivyConfigurationError, match='"proxies".*http://proxy.example:3128') as caught:
        connection(extra={"tenantId": "t", "proxies": value})
    assert "s3cr3t-value" not in str(caught.value)


def test_proxy_without_a_scheme(monkeypatch):
    """The environment may name a proxy without its scheme, as curl and requests take it, for both transports."""
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    assert connection().network.proxy("https://ws.dev.azuresynapse.net") == "http://proxy.example:3128"


def test_loopback_has_no_proxy(monkeypatch):
    """No proxy could reach a loopback address, and one would see the token that plain http carries there."""
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    network = connection().network
    assert network.proxy("https://ws.dev.azuresynapse.net") == "http://proxy.example:3128"
    assert [network.proxy(f"http://{host}:8998") for host in ("localhost", "127.0.0.1", "[::1]")] == [None] * 3


def test_secrets_are_not_shown():
    """The secret is in no repr, which logs and debuggers print."""
    assert "s3cr3t-value" not in repr(connection())
    with pytest.raises(SynapseLivyConfigurationError) as caught:
        connection(host="https://user:s3cr3t-value@ws.dev.azuresynapse.net")
    assert "s3cr3t-value" not in str(caught.value)
    with pytest.raises(SynapseLivyConfigurationError) as caught:
        connection(host="user:s3cr3t-value@ws.dev.azuresynapse.net")
    assert "s3cr3t-value" not in str(caught.value)
