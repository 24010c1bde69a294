"""Which texts are the name of a host to both HTTP libraries."""

from __future__ import annotations

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from airflow_provider_synapse_livy.connection.host_names import has_server, is_host_name


@pytest.mark.parametrize(
    "name", ["ws", "localhost", "my_proxy", "a.b.example", "proxy.example.", "x" * 63, "10.0.0.1", "::1", "fd00::1"]
)
def test_names_of_hosts(name):
    """Names as DNS and containers have them, and addresses, are names of hosts."""
    assert is_host_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "a..b", ".a", "a..", "x" * 64, f"a.{'x' * 64}.b", ".".join(["x" * 60] * 5), "a b", " a", "a\x00b",
        "a/b", "-a", "a-", "a:b", "fe80::1%lo", "wörk", "ａ", "ſ", "a!",
    ],
)  # fmt: skip
def test_texts_that_are_no_names_of_hosts(name):
    """A text that a resolver or one of the HTTP libraries would refuse, or read otherwise, is no name of a host."""
    assert not is_host_name(name)


@pytest.mark.parametrize(
    "rest", ["a..b:3128", "a b", "a\nb", "a\x00b", "ex\tample", "proxy:port", "proxy:0", "[::1", ""]
)
def test_addresses_without_a_server(rest):
    """An address without a host that can be, or with a port that can't, has no server."""
    assert has_server("http://proxy.example:3128")
    assert not has_server(f"http://{rest}")


@given(st.from_regex(r"[a-zA-Z0-9_.:-]{1,70}", fullmatch=True))
def test_both_libraries_agree_on_names(name):
    """Whatever is taken for a name of a host is the same host to both HTTP libraries."""
    if is_host_name(name) and ":" not in name:
        url = f"https://{name}/"
        assert URL(url).host == name.lower()
        assert requests.Request("GET", url).prepare().url.lower() == url.lower()
