"""Which settings look like secrets, and where they are masked."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.livy.secrets import secrets_in, without_secrets
from tests.support import sample_sessions as samples


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("spark.synapse.logAnalytics.secret", "x", True),
        ("spark.hadoop.fs.azure.account.key.acme.dfs.core.windows.net", "x", True),
        ("spark.openlineage.transport.auth.apiKey", "x", True),
        ("spark.hadoop.javax.jdo.option.ConnectionPassword", "x", True),
        ("spark.my.sas", "x", True),
        ("spark.openlineage.transport.headers.Authorization", "x", True),
        ("sfPrivateKey", "x", True),
        ("spark.ssl.keyPassphrase", "x", True),
        ("spark.x.pwd", "x", True),
        ("spark.my.connection", "Endpoint=x;SharedAccessKey=y", True),
        ("spark.my.url", "https://acme.blob.core.windows.net/a?sv=1&sig=abc", True),
        ("spark.my.jdbc", "jdbc:sqlserver://h;user=a;password=b", True),
        ("spark.synapse.logAnalytics.keyVault.name", "vault", False),
        ("spark.executor.cores", "4", False),
        ("spark.sql.session.timeZone", "UTC", False),
        ("spark.my.secret", "", False),
    ],
)
def test_what_looks_like_a_secret(name, value, is_secret):
    """A setting is a secret by its name, or by what is in it."""
    assert list(secrets_in({name: value})) == ([value] if is_secret else [])


def test_record_repeats_no_secret():
    """Of a record's dict, the settings that look like secrets are masked, and all else is as it was."""
    conf = {"spark.my.password": "s3cr3t", "spark.copy": "s3cr3t", "spark.x": "y"}
    record = samples.IDLE | {
        "livyInfo": {**samples.IDLE["livyInfo"], "jobCreationRequest": {"name": "n", "conf": conf}}
    }
    shown = without_secrets(record)
    assert shown["livyInfo"].pop("jobCreationRequest") == {
        "name": "n",
        "conf": {"spark.my.password": "***", "spark.copy": "***", "spark.x": "y"},
    }
    assert {**shown, "livyInfo": None} == {**record, "livyInfo": None}
    assert record["livyInfo"]["jobCreationRequest"]["conf"] == conf


@pytest.mark.parametrize("livy_info", [None, [], {}, {"jobCreationRequest": None}, {"jobCreationRequest": {"conf": 1}}])
def test_record_of_another_form(livy_info):
    """A record whose settings are none, or in another form, stays as it is."""
    assert without_secrets({"id": 1, "livyInfo": livy_info}) == {"id": 1, "livyInfo": livy_info}
