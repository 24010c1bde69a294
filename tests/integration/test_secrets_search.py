"""The search for secrets finds secrets, and nothing else."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from airflow_provider_synapse_livy.emulator.entra import CLIENT_ID, CLIENT_SECRET, TENANT_ID, Entra
from tests.support.secrets_search import EMULATOR_TOKEN, find_secrets

SECRET = 'a "secret"/value'
FORMS = {
    "plain": SECRET,
    "url": f"https://x?y={quote(SECRET, safe='')}",
    "json": json.dumps({"x": SECRET}),
    "base64": base64.b64encode(f"{SECRET} and more".encode()).decode(),
}


@pytest.fixture
def database(tmp_path):
    """Return a database with a table for triggers, and one for connections."""
    url = f"sqlite:///{tmp_path}/airflow.db"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("create table trigger (kwargs json, fired blob, at timestamp)"))
        connection.execute(sa.text("create table connection (password text)"))
        connection.execute(sa.text("insert into connection values (:secret)"), {"secret": SECRET})
        connection.execute(sa.text("insert into trigger values ('no json', x'00', 'no time')"))
    engine.dispose()
    return url


def insert(database, **row):
    """Insert a row into the table of triggers."""
    engine = sa.create_engine(database)
    with engine.begin() as connection:
        names = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        connection.execute(sa.text(f"insert into trigger ({names}) values ({values})"), row)
    engine.dispose()


def test_connections_are_not_searched(database, tmp_path):
    """Where Airflow keeps connections is not searched, and neither is the database's own file."""
    assert find_secrets([SECRET], database=database, folders=[tmp_path]) == []


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_secrets_are_found_in_every_form(database, tmp_path, form):
    """A secret is found in logs and in any column, plain or in one of the forms that programs write it in."""
    insert(database, kwargs=form)
    insert(database, fired=form.encode())
    log = tmp_path / "logs" / "task.log"
    log.parent.mkdir()
    log.write_text(f"something {form} something")
    assert find_secrets([SECRET], database=database, folders=[tmp_path]) == [
        f"file {log}",
        "table trigger, column fired",
        "table trigger, column kwargs",
    ]


def test_tokens_of_the_emulator_are_found(database):
    """A token of the local Synapse is found though it is not known."""
    form = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "scope": "https://dev.azuresynapse.net/.default"}
    _, answer = Entra(60).token(TENANT_ID, form)
    insert(database, kwargs=json.dumps({"token": answer["access_token"]}))
    assert find_secrets([EMULATOR_TOKEN], database=database) == ["table trigger, column kwargs"]
