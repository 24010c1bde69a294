"""How Synapse is reached: proxies, certificates to trust, timeouts."""

from __future__ import annotations

import json
import ssl

import pytest
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from airflow_provider_synapse_livy.connection.network import is_loopback
from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError
from tests.support.connections import connection

WORKSPACE = "https://ws.dev.azuresynapse.net"


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch):
    """Hide the proxies of the machine that runs the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("value", ["false", "False", False])
def test_verification_can_be_turned_off(value):
    """With verify false, also as text, any certificate is trusted."""
    assert connection(extra={"tenantId": "t", "verify": value}).network.ca_bundle is False


@pytest.mark.parametrize("value", ["true", True, None])
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_environment_names_the_trusted_certificates(monkeypatch, variable, value):
    """Without a CA bundle in the connection, the environment's is used, as requests would."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(variable, DEFAULT_CA_BUNDLE_PATH)
    monkeypatch.setattr("requests.utils.DEFAULT_CA_BUNDLE_PATH", "unused")
    assert connection(extra={"tenantId": "t", "verify": value}).network.ca_bundle == DEFAULT_CA_BUNDLE_PATH


def test_connection_bundle_goes_before_the_environment(monkeypatch, tmp_path):
    """A CA bundle of the connection, which may be a folder, takes precedence over the environment's."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/corporate.pem")
    found = connection(extra={"tenantId": "t", "verify": str(tmp_path)})
    assert found.network.ca_bundle == str(tmp_path)


@pytest.mark.parametrize("by", ["verify", "REQUESTS_CA_BUNDLE"])
def test_bundles_without_certificates_are_refused(monkeypatch, tmp_path, by):
    """A CA bundle that is missing or holds no certificates is named, whether connection or environment names it."""
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    for path in (junk, tmp_path / "missing.pem"):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
        extra = {"tenantId": "t"} | ({"verify": str(path)} if by == "verify" else {})
        with pytest.raises(SynapseLivyConfigurationError, match=f"{path} holds no certificates.\nFix: .*verify"):
            connection(extra=extra)


def test_certificates_to_trust(tmp_path):
    """A CA bundle, a file or a folder, is loaded as a context that verifies; with verify false there is none."""
    for bundle in (DEFAULT_CA_BUNDLE_PATH, str(tmp_path)):
        context = connection(extra={"tenantId": "t", "verify": bundle}).network.ssl_context()
        assert context.verify_mode is ssl.CERT_REQUIRED
    assert connection(extra={"tenantId": "t", "verify": False}).network.ssl_context() is False


@pytest.mark.parametrize("path", ["\x00", "/ca\x00.pem", "/\ud800"])
def test_bundles_that_are_no_path_are_refused(path):
    """A CA bundle that can't be a path is refused like one that is missing."""
    with pytest.raises(SynapseLivyConfigurationError, match="holds no certificates"):
        connection(extra={"tenantId": "t", "verify": path})


@pytest.mark.parametrize(("value", "seconds"), [(None, 30.0), (5, 5.0), ("7.5", 7.5), (" 7.5\n", 7.5), (86400, 86400)])
def test_timeout(value, seconds):
    """The timeout is half a minute, or as many seconds as the connection says."""
    assert connection(extra={"tenantId": "t", "timeout": value}).network.timeout == seconds


@pytest.mark.parametrize("value", ["soon", 0, -1, "inf", "nan", [], 86401, 10**400, "9" * 400])
def test_nonsense_timeouts_are_refused(value):
    """A timeout that is no number of seconds, or more than a day, is refused."""
    with pytest.raises(SynapseLivyConfigurationError, match="timeout.*\nFix: write a number of seconds"):
        connection(extra={"tenantId": "t", "timeout": value})


PROXY = "http://user:s3cr3t-value@proxy.example:3128"


@pytest.mark.parametrize(
    "value",
    [
        PROXY,
        f" {PROXY} ",
        {"https": PROXY},
        {" https": f" {PROXY}\n"},
        f'{{"https": "{PROXY}"}}',
        {"https://ws.dev.azuresynapse.net": PROXY},
    ],
)
def test_proxies_of_the_connection(monkeypatch, value):
    """The connection's proxies, one for all or several by use, take precedence over the environment's."""
    monkeypatch.setenv("https_proxy", "http://environment.example:1")
    monkeypatch.setenv("no_proxy", "*")
    network = connection(extra={"tenantId": "t", "proxies": value}).network
    assert network.proxy(WORKSPACE) == PROXY
    assert network.proxy("http://localhost:8998") is None
    assert "s3cr3t-value" not in repr(network)
    assert hash(network)  # since it is a part of the key of shared clients


@pytest.mark.parametrize("value", ["http://ada@proxy.example:3128", {"https": "http://ada@proxy.example:3128"}])
def test_password_of_a_proxy_in_a_field_of_its_own(value):
    """The password of a proxy may stand in a field that every Airflow masks by its name."""
    network = connection(extra={"tenantId": "t", "proxies": value, "proxy_password": "s3cr3t/value"}).network
    assert network.proxy(WORKSPACE) == "http://ada:s3cr3t%2Fvalue@proxy.example:3128"
    assert network.passwords() == {"s3cr3t%2Fvalue", "s3cr3t/value"}
    assert "s3cr3t" not in repr(network)


def test_password_of_a_proxy_without_a_user():
    """A password is of use only where the proxy's address names the user."""
    extra = {"tenantId": "t", "proxies": "http://proxy.example:3128", "proxy_password": "s3cr3t-value"}
    with pytest.raises(SynapseLivyConfigurationError, match='"proxy_password".*\nFix: .*http://user@') as caught:
        connection(extra=extra)
    assert "s3cr3t-value" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "proxy:3128", "socks5://s3cr3t-value", "http://s3cr3t-value:port", {"https": "s3cr3t-value"}, '{"https": 5}', 5,
        "http://u:s3cr3t-value@a..b:1", "http://u:s3cr3t-value@pro xy", f"http://u:s3cr3t-value@{'x' * 64}",
        "http://u:s3cr3t-value@pro\x00xy", "http://u:s3cr3t-value@pro\nxy",
    ],
)  # fmt: skip
def test_proxies_that_are_none(value):
    """What is no HTTP proxy's address is refused, and not quoted, since it could be a password."""
    with pytest.raises(SynapseLivyConfigurationError, match='"proxies".*\nFix: .*http://proxy.example:3128') as caught:
        connection(extra={"tenantId": "t", "proxies": value})
    assert "s3cr3t-value" not in str(caught.value)


@pytest.mark.parametrize("user", ["u:s3cr3t€", "€:s3cr3t", "u:s3cr3t%E2%82%AC"])
@pytest.mark.parametrize("named_in", ["connection", "environment"])
def test_proxy_whose_password_can_not_be_sent(monkeypatch, user, named_in):
    """A user or password that HTTP has no form for is refused in words, and not quoted."""
    extra = {"tenantId": "t"}
    if named_in == "connection":
        extra["proxies"] = f"http://{user}@proxy.example:3128"
    monkeypatch.setenv("https_proxy", f"http://{user}@proxy.example:3128")
    with pytest.raises(SynapseLivyConfigurationError, match="user or password is not Latin-1.\nFix: ") as caught:
        connection(extra=extra).network.proxy(WORKSPACE)
    assert "s3cr3t" not in str(caught.value)


def test_password_of_a_proxy_that_can_not_be_sent():
    """A proxy_password that HTTP has no form for is refused in words; one in Latin-1 is not."""
    extra = {"tenantId": "t", "proxies": "http://ada@proxy.example:3128"}
    assert connection(extra=extra | {"proxy_password": "pä55"}).network.passwords() == {"p%C3%A455", "pä55"}
    with pytest.raises(SynapseLivyConfigurationError, match='"proxy_password" .* Latin-1') as caught:
        connection(extra=extra | {"proxy_password": "s3cr3t€"})
    assert "s3cr3t" not in str(caught.value)


def test_proxy_without_a_scheme(monkeypatch):
    """The environment may name a proxy without its scheme, as curl and requests take it."""
    monkeypatch.setenv("https_proxy", " proxy.example:3128 ")
    assert connection().network.proxy(WORKSPACE) == "http://proxy.example:3128"


def test_loopback_has_no_proxy(monkeypatch):
    """Loopback addresses have no proxy: none could reach them, and plain http would show it the token."""
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    network = connection().network
    assert network.proxy(WORKSPACE) == "http://proxy.example:3128"
    assert [network.proxy(f"http://{host}:8998") for host in ("localhost", "127.0.0.1", "[::1]")] == [None] * 3


SOCKS = "socks5h://user:s3cr3t-value@proxy.example:1080"


@pytest.mark.parametrize("value", [SOCKS, f" {SOCKS.upper()}", {"https": SOCKS}, json.dumps({"all": SOCKS})])
def test_socks_proxy_of_the_connection(value):
    """A SOCKS proxy in the connection is refused when it is read, as such and without its password."""
    with pytest.raises(SynapseLivyConfigurationError, match='"proxies" names a SOCKS proxy.*not supported') as caught:
        connection(extra={"tenantId": "t", "proxies": value})
    assert "s3cr3t-value" not in str(caught.value).lower()


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "https_proxy"])
@pytest.mark.parametrize("value", [SOCKS, "socks4://s3cr3t-value:1080"])
def test_socks_proxy_of_the_environment(monkeypatch, variable, value):
    """A SOCKS proxy of the environment is a configuration error as soon as it would be used, and no_proxy spares it."""
    monkeypatch.setenv(variable, value)
    network = connection().network
    words = f"(?s)^The environment names a SOCKS proxy, which is not supported.\nFix: .*{WORKSPACE}.*all_proxy"
    with pytest.raises(SynapseLivyConfigurationError, match=words) as caught:
        network.proxy(WORKSPACE)
    assert "s3cr3t-value" not in str(caught.value)
    assert network.proxy("http://localhost:8998") is None
    monkeypatch.setenv("no_proxy", "ws.dev.azuresynapse.net")
    assert network.proxy(WORKSPACE) is None


@pytest.mark.parametrize("value", ["http://s3cr3t-value:port", "ftp://s3cr3t-value", "http://", "http://[s3cr3t-value"])
def test_proxies_of_the_environment_that_are_none(monkeypatch, value):
    """What is no proxy's address is a configuration error as soon as it would be used, and not quoted."""
    monkeypatch.setenv("https_proxy", value)
    with pytest.raises(SynapseLivyConfigurationError, match="not the address of a proxy") as caught:
        connection().network.proxy(WORKSPACE)
    assert "s3cr3t-value" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("http://localhost", True),
        ("https://127.1.2.3:8999/", True),
        ("http://[::1]:8998", True),
        ("https://ws.dev.azuresynapse.net", False),
        ("https://localhost.example", False),
        ("https://[", False),
        ("", False),
    ],
)
def test_loopback_addresses(url, is_one):
    """A loopback address is localhost, or an address that leads to this machine."""
    assert is_loopback(url) is is_one
