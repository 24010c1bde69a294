"""The hook and the operator, with Airflow's own connections."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import re

import pytest
import requests

from airflow_provider_synapse_livy.emulator.entra import CLIENT_ID, CLIENT_SECRET, OBJECT_ID, TENANT_ID
from airflow_provider_synapse_livy.exceptions import (
    InvalidSparkSessionIdError,
    SparkSessionNotFoundError,
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyPermissionError,
)
from airflow_provider_synapse_livy.hooks import synapse_livy
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.operators.spark_session import SynapseGetSparkSessionOperator
from tests.support.connections import airflow_connection
from tests.support.scripted_server import ScriptedServer, http


def test_names():
    """The connection type's names are the promised ones."""
    assert SynapseLivyHook.conn_type == "synapse_livy"
    assert SynapseLivyHook.hook_name == "Azure Synapse Livy"
    assert SynapseLivyHook.conn_name_attr == "synapse_livy_conn_id"
    assert SynapseLivyHook().synapse_livy_conn_id == SynapseLivyHook.default_conn_name == "synapse_livy_default"


def test_get_spark_session(connect, tls_synapse):
    """The hook reads a session with a real credential over https."""
    connect(tls_synapse.airflow_connection("etl"))
    session_id = tls_synapse.create_session("etl", age=70)
    session = SynapseLivyHook().get_spark_session(session_id)
    assert (session.id, session.state, session.result) == (session_id, "idle", "Uncertain")
    assert SynapseLivyHook().get_spark_session(str(session_id), detailed=False).result is None


def test_connection_as_uri(monkeypatch, synapse):
    """A connection may be a URI, as well as JSON."""
    host = synapse.url.replace("://", "%3A%2F%2F").replace(":", "%3A")
    uri = f"synapse-livy://:emulator-token@{host}/?auth_type=token&spark_pool_name=etl"
    monkeypatch.setenv("AIRFLOW_CONN_AS_URI", uri)
    session_id = synapse.create_session("etl")
    assert SynapseLivyHook("as_uri").get_spark_session(session_id).id == session_id


def test_connection_of_the_azure_provider(monkeypatch, tls_synapse):
    """A connection of the type azure_synapse is read as it is, if its id is given."""
    fields = json.loads(tls_synapse.airflow_connection("etl"))
    fields["conn_type"] = "azure_synapse"
    fields["extra"] |= {"extra__azure_synapse__tenantId": fields["extra"].pop("tenantId"), "subscriptionId": "s"}
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_SYNAPSE_DEFAULT", json.dumps(fields))
    session_id = tls_synapse.create_session("etl")
    assert SynapseLivyHook("azure_synapse_default").get_spark_session(session_id).id == session_id


def test_pool_and_version_of_the_hook_go_first(connect):
    """What the hook is given goes before what the connection says."""
    with ScriptedServer(http(404)) as server:
        extra = '{"auth_type": "token", "spark_pool_name": "etl", "livy_api_version": "1"}'
        connect(f'{{"conn_type": "synapse_livy", "host": "{server.url}", "password": "x-token", "extra": {extra}}}')
        for hook in (SynapseLivyHook(), SynapseLivyHook(spark_pool_name="adhoc", livy_api_version="2")):
            with pytest.raises(SparkSessionNotFoundError):
                hook.get_spark_session(0)
    paths = [request.split()[1].split("?")[0] for request in server.requests]
    assert paths == [
        "/livyApi/versions/1/sparkPools/etl/sessions/0",
        "/livyApi/versions/2/sparkPools/adhoc/sessions/0",
    ]


def test_invalid_ids_are_refused_before_any_request(connect):
    """What is no id never reaches the network."""
    with ScriptedServer(http(404)) as server:
        connect(airflow_connection(server.url))
        with pytest.raises(InvalidSparkSessionIdError):
            SynapseLivyHook().get_spark_session("None")
    assert server.requests == []


def test_missing_connection():
    """A connection that Airflow does not have is an error that says how to add it, and none of Airflow's own."""
    with pytest.raises(SynapseLivyConfigurationError, match="no connection 'nowhere'.*Azure Synapse Livy"):
        SynapseLivyHook("nowhere").get_spark_session(0)


def test_missing_connection_in_the_triggerer():
    """The asynchronous path says the same."""

    async def read():
        async with SynapseLivyHook("nowhere").async_reader(0):
            pytest.fail("there is nothing to read with")

    with pytest.raises(SynapseLivyConfigurationError, match="no connection 'nowhere'.*Azure Synapse Livy"):
        asyncio.run(read())


def test_connection_is_looked_up_once_for_many(connect, synapse, monkeypatch):
    """Those who come together share one look-up of the connection; a few seconds later an edited one is seen."""
    connect(synapse.airflow_connection("etl"))
    session_id = synapse.create_session("etl")

    async def endpoint():
        async with SynapseLivyHook().async_reader(session_id) as reader:
            return reader.connection.endpoint

    async def scenario():
        first = await asyncio.gather(*(endpoint() for _ in range(3)))
        connect(airflow_connection("http://127.0.0.1:9"))
        known = await endpoint()
        monkeypatch.setattr(synapse_livy, "_SECONDS_KNOWN", 0.0)
        return {*first, known}, await endpoint()

    assert asyncio.run(scenario()) == ({synapse.url}, "http://127.0.0.1:9")


def test_get_conn_is_authenticated(connect, synapse):
    """get_conn gives a requests session that may do with the workspace what the hook does not offer."""
    connect(synapse.airflow_connection("etl"))
    session = SynapseLivyHook().get_conn()
    assert isinstance(session, requests.Session)
    url = f"{synapse.url}/livyApi/versions/2020-12-01/sparkPools/etl/sessions"
    created = session.post(url, json={"name": "by get_conn"})
    assert (created.status_code, created.json()["state"]) == (200, "not_started")


def test_test_connection_asks_for_a_list(connect, tls_synapse):
    """The Test button makes a real request, and says which."""
    connect(tls_synapse.airflow_connection("etl"))
    worked, words = SynapseLivyHook().test_connection()
    who = f"the application {CLIENT_ID} (object id {OBJECT_ID}, tenant {TENANT_ID})"
    assert worked
    assert words == f"{tls_synapse.url} (AzurePublicCloud) listed the sessions of the Spark pool etl for {who}."
    assert tls_synapse.recorded_requests[-1] == ("GET", "/livyApi/versions/2020-12-01/sparkPools/etl/sessions", 200)


def test_test_connection_without_a_pool(connect, tls_synapse):
    """Without a pool there is only the token to try, and the Test button says so."""
    connect(tls_synapse.airflow_connection(None))
    worked, words = SynapseLivyHook().test_connection()
    assert worked
    assert words == (
        f"Microsoft Entra ID gave a token to the application {CLIENT_ID} (object id {OBJECT_ID}, tenant {TENANT_ID}). "
        f"Whether {tls_synapse.url} (AzurePublicCloud) takes it was not tried, as the connection names no Spark pool."
    )


def test_test_connection_with_nothing_to_try(connect, synapse):
    """A ready-made token without a pool leaves nothing to try, and that is not green."""
    connect(synapse.airflow_connection(None))
    worked, words = SynapseLivyHook().test_connection()
    assert not worked
    assert "Settings: no Spark pool is named" in words


def test_test_connection_of_a_token_that_says_nothing(connect, synapse):
    """A token need not tell whose it is."""
    connect(synapse.airflow_connection("etl"))
    worked, words = SynapseLivyHook().test_connection()
    assert worked
    assert words.endswith("for the bearer of a token that does not tell who that is.")


def jwt(**claims):
    """Write a token that tells something of itself."""
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.x"


@pytest.mark.parametrize(
    ("claims", "who"),
    [
        ({"upn": "ada@example.org", "oid": "1", "appid": "cli"}, "the user ada@example.org (object id 1)"),
        ({"azp": "app", "oid": "1", "tid": "t"}, "the application app (object id 1, tenant t)"),
        ({"azp": "app"}, "the application app"),
    ],
)
def test_test_connection_says_who(connect, claims, who):
    """Green says whom Synapse has let in, in the words of the token."""
    with ScriptedServer(http(200, {"from": 0, "total": 0, "sessions": []})) as server:
        connect(airflow_connection(server.url).replace("ready-made-token", jwt(**claims)))
        worked, words = SynapseLivyHook().test_connection()
    assert (worked, words.partition(" for ")[2]) == (True, f"{who}.")


REFUSED = "https://127.0.0.1:9"


@pytest.mark.parametrize(
    ("pool", "extra", "words"),
    [
        ("forbidden", {}, "Synapse: .*answered 403 .*Synapse Compute Operator.*Synapse Studio > Manage"),
        ("firewalled", {}, "Synapse: .*answered 403 .*Client Ip address : 127.0.0.1.*Networking"),
        ("missing", {}, "Synapse: .*answered 404 .*Apache Spark pools"),
        ("etl", {"livy_api_version": "1999-01-01"}, "Synapse: .*answered 400 .*livy_api_version"),
        ("etl", {"scope": "https://vault.example"}, "Synapse: .*answered 401 .*Audience.*is for https://vault.example"),
        ("etl", {"tenantId": "elsewhere"}, "Token: .*gave no token.*AADSTS90002.*Correct the tenant id"),
        ("etl", {"authority": REFUSED}, f"Token: The token for Synapse: {REFUSED} refused the connection"),
        ("etl", {"verify": None}, "Token: .*certificate of https.*not trusted.*verify"),
        ("etl", {"tenantId": None}, "Settings: client_secret needs the tenant id"),
        ("etl", {"timeout": "soon"}, "Settings: the extra \"timeout\" is 'soon'"),
    ],
)
def test_test_connection_names_the_step_that_broke(connect, tls_synapse, pool, extra, words):
    """The Test button is red if the connection would not work, and says which step broke, and what helps."""
    connect(tls_synapse.airflow_connection(pool, **extra))
    worked, told = SynapseLivyHook().test_connection()
    assert not worked
    assert re.match(words, told), told
    assert CLIENT_SECRET not in told


AZURE = {"auth_type": "token", "spark_pool_name": "etl"}


@pytest.mark.parametrize(
    ("host", "extra", "words"),
    [
        ("https://ws.dev.azuresynapse.net/livyApi", {}, "Settings: the host .* has more than the workspace's address"),
        ("ws.dev.azuresynapse.ne", {}, "Settings: the host .* is not the development endpoint"),
        ("https://no-such-workspace.invalid", {"allow_custom_host": True}, "Synapse: .*name can't be resolved"),
        ("ws", {"proxies": "http://127.0.0.1:9"}, "Synapse: .*not be reached through the proxy http://127.0.0.1:9 "),
        (REFUSED, {}, f"Synapse: .*{REFUSED} refused the connection"),
    ],
)
def test_test_connection_names_the_broken_way(connect, host, extra, words):
    """Where there is no way to the workspace, the words are of the host, its name, the proxy, or the connection."""
    connect(json.dumps({"conn_type": "synapse_livy", "host": host, "password": "x", "extra": AZURE | extra}))
    worked, told = SynapseLivyHook().test_connection()
    assert not worked
    assert re.match(words, told), told


def test_test_connection_says_what_a_task_would_say(connect, tls_synapse):
    """The words are those of the error that a task would raise, after the step."""
    connect(tls_synapse.airflow_connection("etl", tenantId="elsewhere"))
    with pytest.raises(SynapseLivyAuthenticationError) as caught:
        SynapseLivyHook().get_spark_session(0)
    assert SynapseLivyHook().test_connection() == (False, f"Token: {caught.value}")


def test_test_connection_does_not_wait_for_better_times(connect):
    """The Test button is answered at once, also if the workspace is down."""
    with ScriptedServer(http(503)) as server:
        connect(airflow_connection(server.url))
        worked, words = SynapseLivyHook().test_connection()
    assert not worked
    assert "answered 503" in words
    assert len(server.requests) == 1


def operator(**changes):
    """Make an operator."""
    return SynapseGetSparkSessionOperator(**{"task_id": "read", "session_id": 0} | changes)


def test_operator_returns_the_session(connect, synapse):
    """The operator returns the same dict as the sensor."""
    connect(synapse.airflow_connection())
    session_id = synapse.create_session("etl", age=70)
    returned = operator(session_id=session_id, spark_pool_name="etl").execute({})
    assert returned == SynapseLivyHook(spark_pool_name="etl").get_spark_session(session_id).to_dict()
    assert (returned["id"], returned["state"]) == (session_id, "idle")


def test_operator_reads_the_plain_form(connect, synapse):
    """With detailed=False the operator asks for the plain form."""
    connect(synapse.airflow_connection("etl"))
    session_id = synapse.create_session("etl", age=70)
    assert operator(session_id=session_id, detailed=False).execute({})["schedulerInfo"] is None


def test_operator_passes_its_parameters_on(connect, synapse):
    """Pool, version and connection of the operator are used."""
    connect(synapse.airflow_connection("etl"))
    with pytest.raises(SynapseLivyPermissionError):
        operator(spark_pool_name="forbidden").execute({})
    with pytest.raises(Exception, match="not supported"):
        operator(livy_api_version="1999-01-01").execute({})
    with pytest.raises(SynapseLivyConfigurationError, match="nowhere"):
        operator(synapse_livy_conn_id="nowhere").execute({})


def test_operator_signature():
    """The parameters and their defaults are the promised ones, and all that a DAG author would template can be."""
    parameters = inspect.signature(SynapseGetSparkSessionOperator).parameters
    assert {name: parameter.default for name, parameter in parameters.items() if name != "kwargs"} == {
        "session_id": inspect.Parameter.empty,
        "spark_pool_name": None,
        "detailed": True,
        "livy_api_version": None,
        "synapse_livy_conn_id": "synapse_livy_default",
    }
    assert SynapseGetSparkSessionOperator.template_fields == (
        "session_id", "spark_pool_name", "livy_api_version", "synapse_livy_conn_id"
    )  # fmt: skip
