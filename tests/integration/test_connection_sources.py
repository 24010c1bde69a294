"""A connection means the same wherever it is stored: added as JSON or URI, in a variable, or in a secrets backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from urllib.parse import quote, urlencode

import pytest

PEM = "-----BEGIN PRIVATE KEY-----\nTUlJ+Rw/==\n-----END PRIVATE KEY-----\n"
EXTRA = {
    "auth_type": "client_certificate",
    "tenantId": "tenant",
    "spark_pool_name": "etl",
    "cloud_environment": "AzureChinaCloud",
    "certificate_private_key": PEM,
    "certificate_password": "p@ss/w:rd",
    "send_certificate_chain": True,
    "proxies": "http://user:p%40ss@proxy.example:3128",
    "timeout": 12.5,
    "verify": False,
    "livy_api_version": None,
}
FIELDS = {
    "conn_type": "synapse_livy",
    "host": "https://ws.dev.azuresynapse.azure.cn",
    "login": "client",
    "password": "not/us@d",  # without one, airflow connections add of Airflow 2.11 fails on a URI
    "port": 443,
}
AS_JSON = json.dumps(FIELDS | {"extra": EXTRA})
TEXTS = {
    name: value if isinstance(value, str) else json.dumps(value) for name, value in EXTRA.items() if value is not None
}
PASSWORD, HOST = (quote(FIELDS[name], safe="") for name in ("password", "host"))
AS_URI = f"synapse-livy://client:{PASSWORD}@{HOST}:443/?{urlencode(TEXTS)}"

#: Where a connection is stored, by its id. All others are compared with the first.
SOURCES = {
    "variable_json": {"AIRFLOW_CONN_VARIABLE_JSON": AS_JSON},
    "variable_uri": {"AIRFLOW_CONN_VARIABLE_URI": AS_URI},
    "cli_json": ["--conn-json", AS_JSON],
    "cli_uri": ["--conn-uri", AS_URI],
    "backend": FIELDS | {"extra": EXTRA},
}

#: Runs commands of Airflow and reads connections, in one process, since Airflow takes seconds to import.
READ = """
import dataclasses, json, sys
from airflow.__main__ import main
from airflow.models import Connection
from airflow_provider_synapse_livy.connection.synapse_livy import SynapseLivyConnection
commands, names = map(json.loads, sys.argv[1:])
for command in commands:
    sys.argv = ["airflow", *command]
    main()
for name in names:
    stored = Connection.get_connection_from_secrets(name)
    read = SynapseLivyConnection.from_airflow(stored, stored.extra_dejson)
    print(json.dumps({name: dataclasses.asdict(read) | {"conn_id": ""}}))
"""


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """Return what is read of the connection, by where it is stored."""
    home = tmp_path_factory.mktemp("airflow")
    (home / "connections.json").write_text(json.dumps({"backend": SOURCES["backend"]}))
    env = (
        os.environ
        | SOURCES["variable_json"]
        | SOURCES["variable_uri"]
        | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
            "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(home / "connections.json")}),
        }
    )

    commands = [["db", "migrate"]] + [["connections", "add", name, *SOURCES[name]] for name in ("cli_json", "cli_uri")]
    arguments = [sys.executable, "-c", READ, json.dumps(commands), json.dumps(list(SOURCES))]
    run = subprocess.run(arguments, env=env, capture_output=True, text=True, check=False, timeout=180)
    assert run.returncode == 0, run.stdout + run.stderr
    printed = [line for line in run.stdout.splitlines() if line.startswith('{"')]
    return {name: read for line in printed for name, read in json.loads(line).items()}


@pytest.mark.parametrize("source", SOURCES)
def test_fields_are_the_same_from_every_source(fields, source):
    """Types, line breaks and special characters are the same wherever a connection is stored."""
    assert fields[source] == fields["variable_json"]


def test_fields_are_what_was_written(fields):
    """What is read of a connection is what was written."""
    read = fields["variable_json"]
    identity = read["identity"]
    assert (read["spark_pool_name"], read["livy_api_version"]) == ("etl", "2020-12-01")
    assert (identity["certificate"], identity["certificate_password"]) == (PEM, "p@ss/w:rd")
    assert identity["send_certificate_chain"] is True
    assert read["network"] == {"ca_bundle": False, "timeout": 12.5, "proxies": [["all", EXTRA["proxies"]]]}
