"""The fields of a connection, as they were written."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.connection.fields import ConnectionFields
from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError
from tests.support.connections import Fields


def fields(extra=None, **changes):
    """Return the fields of a connection."""
    return ConnectionFields.of(Fields(**changes), extra)


@pytest.mark.parametrize("extra", [[], ["a"], "text", 5, True, 1.5])
def test_extra_that_is_no_object(extra):
    """Extra that is JSON but no object is a configuration error that names it."""
    words = "^Connection synapse_livy_default: extra is JSON, but not an object.\nFix: write extra as an object"
    with pytest.raises(SynapseLivyConfigurationError, match=words):
        fields(extra)


@pytest.mark.parametrize("text", ["s3cr3t-value", '{"password": "s3cr3t-value"', "{'password': 's3cr3t-value'}"])
@pytest.mark.parametrize("parsed", [{}, None])
def test_extra_that_is_no_json(text, parsed):
    """Extra that Airflow could not parse, and so passed over, is an error that names the field and quotes nothing."""
    words = "^Connection synapse_livy_default: the field extra is not JSON.\nFix: write extra as an object"
    with pytest.raises(SynapseLivyConfigurationError, match=words) as caught:
        ConnectionFields.of(Fields(extra=text), parsed)
    assert "s3cr3t-value" not in str(caught.value)


@pytest.mark.parametrize("text", [None, "", " ", "{}", "null", " {} "])
def test_extra_that_is_empty(text):
    """Extra that is empty, as text or as JSON, is no error."""
    assert ConnectionFields.of(Fields(extra=text), {}).extra == {}


@pytest.mark.parametrize("value", [None, "", " ", "\n"])
def test_blank_fields_are_missing(value):
    """Null, empty and blank fields count as missing."""
    blank = fields({"tenantId": value}, host=value, login=value, password=value)
    assert blank.text("tenantId") is None
    assert (blank.host, blank.login, blank.password) == ("", "", "")
    assert fields(None).text("tenantId") is None


def test_white_space_is_removed():
    """White space around a value is removed, wherever it is written."""
    written = fields({"tenantId": " t\n"}, host=" ws ", login="\tclient", password="secret\n")
    assert (written.text("tenantId"), written.host, written.login, written.password) == ("t", "ws", "client", "secret")


@pytest.mark.parametrize(
    ("value", "flag"), [(True, True), (" True ", True), ("y", True), (False, False), ("FALSE", False), (None, False)]
)
def test_flags(value, flag):
    """A field that is true or false may be text, in any letter case."""
    assert fields({"allow_custom_host": value}).flag("allow_custom_host") is flag


@pytest.mark.parametrize("sources", [("ONE", "tenantId"), ("two", "tenantId", "login"), ("tenantId", "login")])
def test_first_source_that_is_filled_in(monkeypatch, sources):
    """Of several sources, extra fields, login, password and the environment, the first that is filled in counts."""
    monkeypatch.setenv("ONE", " ")
    assert fields({"tenantId": "tenant"}).find(*sources) == "tenant"


def test_environment_is_a_source(monkeypatch):
    """A source in capitals is a variable of the environment; with no source filled in the value is empty."""
    monkeypatch.setenv("AZURE_TENANT_ID", " tenant ")
    assert fields().find("tenantId", "AZURE_TENANT_ID") == "tenant"
    assert fields().find("tenantId", "AZURE_CLIENT_ID_OF_NOBODY") == ""
