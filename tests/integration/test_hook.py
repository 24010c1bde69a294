"""The hook and the operator, with Airflow's own connections."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import re

import pytest
import requests

from airflow_provider_synapse_livy.airflow_compat import connections
from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.emulator.entra import CLIENT_ID, CLIENT_SECRET, OBJECT_ID, TENANT_ID
from airflow_provider_synapse_livy.exceptions import (
    InvalidIdError,
    SparkSessionNotFoundError,
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyPermissionError,
)
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION
from airflow_provider_synapse_livy.models import SparkSessionOptions
from airflow_provider_synapse_livy.operators.spark_batch import SynapseRunSparkBatchOperator
from airflow_provider_synapse_livy.operators.spark_session import (
    SynapseCancelSparkSessionOperator,
    SynapseGetSparkSessionOperator,
)
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor
from tests.support.connections import airflow_connection
from tests.support.sample_options import SIZES
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
    run = SynapseRunSparkBatchOperator(
        task_id="run", synapse_livy_conn_id="azure_synapse_default", file="f", wait_for_completion=False, **SIZES
    )
    assert run.execute({})["jobType"] == "SparkBatch"


def test_pool_and_version_of_the_hook_go_first(connect):
    """Pool and version of the hook take precedence over the connection's."""
    with ScriptedServer(http(404)) as server:
        extra = '{"auth_type": "token", "spark_pool_name": "etl", "livy_api_version": "1"}'
        connect(f'{{"conn_type": "synapse_livy", "host": "{server.url}", "password": "x-token", "extra": {extra}}}')
        for hook in (SynapseLivyHook(), SynapseLivyHook(spark_pool_name="adhoc", livy_api_version="2")):
            with pytest.raises(SparkSessionNotFoundError):
                hook.get_spark_session(0)
    paths = [request.split()[1].split("?")[0] for request in server.requests]
    assert [path for path in paths if "/batches/" not in path] == [
        "/livyApi/versions/1/sparkPools/etl/sessions/0",
        "/livyApi/versions/2/sparkPools/adhoc/sessions/0",
    ]


def test_invalid_ids_are_refused_before_any_request(connect):
    """For a value that is no id, no request is sent."""
    with ScriptedServer(http(404)) as server:
        connect(airflow_connection(server.url))
        with pytest.raises(InvalidIdError):
            SynapseLivyHook().get_spark_session("None")
    assert server.requests == []


@pytest.mark.parametrize("pool", ["", " ", "\n", "None", 5])
@pytest.mark.parametrize("session_id", [0, {"id": 0, "sparkPoolName": "etl"}])
def test_empty_pool_does_not_become_another_one(connect, pool, session_id):
    """A pool that is empty or no text is refused: sessions of different pools have the same numbers."""
    with ScriptedServer(http(200)) as server:
        connect(airflow_connection(server.url))
        hook = SynapseLivyHook(spark_pool_name=pool)

        async def poll():
            async with hook.watch(SPARK_SESSION, session_id) as watch:
                await watch.poll()

        reading = (hook.get_spark_session, hook.cancel_spark_session, hook.reset_spark_session_timeout)
        for send in (*(lambda call=call: call(session_id) for call in reading), lambda: asyncio.run(poll())):
            with pytest.raises(SynapseLivyConfigurationError, match="spark_pool_name"):
                send()
    assert server.requests == []


@pytest.mark.parametrize(
    "make", [SynapseGetSparkSessionOperator, SynapseCancelSparkSessionOperator, SynapseSparkSessionSensor]
)
def test_empty_pool_of_a_task_is_refused(connect, make):
    """A task whose pool was rendered to nothing neither reads nor cancels a session of the connection's pool."""
    with ScriptedServer(http(200)) as server:
        connect(airflow_connection(server.url))
        with pytest.raises(SynapseLivyConfigurationError, match="spark_pool_name='' is not a name"):
            make(task_id="task", session_id=3, spark_pool_name="").execute({})
    assert server.requests == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_extra_that_is_no_json(connect):
    """Extra that is no JSON is an error of the hook and of the Test button, on the event loop as well."""
    connect(json.dumps({"conn_type": "synapse_livy", "host": "ws", "extra": "s3cr3t-value"}))

    async def poll():
        async with SynapseLivyHook().watch(SPARK_SESSION, 0) as watch:
            await watch.poll()

    words = "extra is not JSON"
    with pytest.raises(SynapseLivyConfigurationError, match=words):
        asyncio.run(poll())
    worked, shown = SynapseLivyHook().test_connection()
    assert (worked, words in shown, "s3cr3t-value" in shown) == (False, True, False)


@pytest.mark.parametrize("states", ["idle", {"Idle"}, ["IDLE", "dead"]])
def test_states_ignore_letter_case(connect, synapse, states):
    """The states of a list are taken like a sensor's: in any letter case, and one may stand alone."""
    connect(synapse.airflow_connection("etl"))
    session_id = synapse.create_session("etl", age=70)
    assert session_id in [session.id for session in SynapseLivyHook().get_spark_sessions(states=states)]


@pytest.mark.parametrize("states", ["error, idle", {"idel"}, ["idle", None], 5, []])
@pytest.mark.parametrize("list_name", ["get_spark_sessions", "get_spark_batch_jobs"])
def test_states_that_are_none_are_refused(states, list_name):
    """A state that there is none of is refused at once, before any request."""
    with pytest.raises(SynapseLivyConfigurationError, match="states.*\nFix: "):
        getattr(SynapseLivyHook("nowhere"), list_name)(states=states)


def test_missing_connection():
    """A connection that Airflow does not have is an error that says how to add it, and none of Airflow's own."""
    with pytest.raises(SynapseLivyConfigurationError, match="(?s)no connection 'nowhere'.*Azure Synapse Livy"):
        SynapseLivyHook("nowhere").get_spark_session(0)


def test_missing_connection_in_the_triggerer():
    """On an event loop, the error for a missing connection is the same."""

    async def read():
        async with SynapseLivyHook("nowhere").watch(SPARK_SESSION, 0) as watch:
            await watch.poll()

    with pytest.raises(SynapseLivyConfigurationError, match="(?s)no connection 'nowhere'.*Azure Synapse Livy"):
        asyncio.run(asyncio.wait_for(read(), timeout=30))


def test_connection_is_read_once_for_many(connect, synapse, monkeypatch):
    """Those who come together share one reading of the connection; a few seconds later an edited one is used."""
    connect(synapse.airflow_connection("etl"))
    session_id = synapse.create_session("etl")
    readings = []

    async def counted(conn_id):
        readings.append(conn_id)
        return await get_connection(conn_id)

    async def endpoint():
        async with SynapseLivyHook().watch(SPARK_SESSION, session_id) as watch:
            await watch.poll()
            return watch.connection.endpoint

    async def scenario():
        first = await asyncio.gather(*(endpoint() for _ in range(3)))
        shared = len(readings)
        connect(synapse.airflow_connection("etl").replace("127.0.0.1", "localhost"))
        loop = asyncio.get_running_loop()
        now = loop.time
        monkeypatch.setattr(loop, "time", lambda: now() + 6)
        return set(first), shared, await endpoint()

    get_connection = connections._get_connection
    monkeypatch.setattr(connections, "_get_connection", counted)
    edited = synapse.url.replace("127.0.0.1", "localhost")
    assert asyncio.run(scenario()) == ({synapse.url}, 1, edited)


def test_get_conn_is_authenticated(connect, synapse):
    """get_conn returns a session of requests with which more can be done in the workspace than the hook offers."""
    connect(synapse.airflow_connection("etl"))
    session = SynapseLivyHook().get_conn()
    assert isinstance(session, requests.Session)
    url = f"{synapse.url}/livyApi/versions/2020-12-01/sparkPools/etl/sessions"
    created = session.post(url, json={"name": "by get_conn"})
    assert (created.status_code, created.json()["state"]) == (200, "not_started")


def test_test_connection_lists_sessions(connect, tls_synapse):
    """The Test button makes a real request, and shows which."""
    connect(tls_synapse.airflow_connection("etl"))
    worked, words = SynapseLivyHook().test_connection()
    who = f"the application {CLIENT_ID} (object id {OBJECT_ID}, tenant {TENANT_ID})"
    assert worked
    assert words.splitlines() == [
        "Synapse listed the Spark sessions of pool etl.",
        f"Workspace: {tls_synapse.url} (AzurePublicCloud).",
        f"Signed in as: {who}.",
    ]
    assert tls_synapse.recorded_requests[-1] == ("GET", "/livyApi/versions/2020-12-01/sparkPools/etl/sessions", 200)


def test_test_connection_without_a_pool(connect, tls_synapse):
    """Without a pool, only the token is tested, and the text of the Test button says so."""
    connect(tls_synapse.airflow_connection(None))
    worked, words = SynapseLivyHook().test_connection()
    assert worked
    event, fix, *evidence = words.splitlines()
    assert event.startswith("Microsoft Entra ID issued a token. Synapse was not checked")
    assert fix.startswith("Fix: ")
    assert evidence == [
        f"Workspace: {tls_synapse.url} (AzurePublicCloud).",
        f"Signed in as: the application {CLIENT_ID} (object id {OBJECT_ID}, tenant {TENANT_ID}).",
    ]


def test_test_connection_with_nothing_to_test(connect, synapse):
    """With a ready-made token and no pool there is nothing to test, and that is not green."""
    connect(synapse.airflow_connection(None))
    worked, words = SynapseLivyHook().test_connection()
    assert not worked
    assert words.startswith("Settings: ")
    assert "Spark pool" in words


def test_test_connection_with_a_token_that_names_nobody(connect, synapse):
    """A token need not name its bearer."""
    connect(synapse.airflow_connection("etl"))
    worked, words = SynapseLivyHook().test_connection()
    assert worked
    assert words.endswith("Signed in as: unknown, the token does not say.")


def jwt(**claims):
    """Return a token with claims."""
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
    """A text for a success names who has signed in, as the token does."""
    with ScriptedServer(http(200, {"from": 0, "total": 0, "sessions": []})) as server:
        connect(airflow_connection(server.url).replace("ready-made-token", jwt(**claims)))
        worked, words = SynapseLivyHook().test_connection()
    assert (worked, words.partition("Signed in as: ")[2]) == (True, f"{who}.")


REFUSED = "https://127.0.0.1:9"


@pytest.mark.parametrize(
    ("pool", "extra", "words"),
    [
        ("forbidden", {}, r"Synapse: .*answered 403\b.*Synapse Compute Operator.*Synapse Studio > Manage"),
        ("firewalled", {}, r"Synapse: .*answered 403\b.*Networking.*Client Ip address : 127.0.0.1"),
        ("missing", {}, r"Synapse: .*answered 404\b.*Apache Spark pools"),
        ("etl", {"livy_api_version": "1999-01-01"}, r"Synapse: .*answered 400\b.*livy_api_version"),
        (
            "etl",
            {"scope": "https://vault.example"},
            r"Synapse: .*answered 401\b.*Audience.*is for https://vault.example",
        ),
        ("etl", {"tenantId": "elsewhere"}, "Token: .*gave no token.*AADSTS90002.*correct the tenant id"),
        ("etl", {"authority": REFUSED}, f"Token: The token for Synapse: the server refused the connection.*{REFUSED}"),
        ("etl", {"verify": None}, "Token: .*certificate of the server is not trusted.*verify"),
        ("etl", {"tenantId": None}, "Settings: client_secret needs the tenant id"),
        ("etl", {"timeout": "soon"}, "Settings: the extra \"timeout\" is 'soon'"),
    ],
)
def test_test_connection_names_the_step_that_failed(connect, tls_synapse, pool, extra, words):
    """The Test button is red if the connection would not work, and its text names the step that failed, and the fix."""
    connect(tls_synapse.airflow_connection(pool, **extra))
    worked, words_shown = SynapseLivyHook().test_connection()
    assert not worked
    assert re.match(words, words_shown, re.DOTALL), words_shown
    first, second, *_ = words_shown.split("\n")
    assert len(first) < 120
    assert second.startswith("Fix: ")
    assert CLIENT_SECRET not in words_shown


AZURE = {"auth_type": "token", "spark_pool_name": "etl"}


@pytest.mark.parametrize(
    ("host", "extra", "words"),
    [
        (
            "https://ws.dev.azuresynapse.net/livyApi",
            {},
            "Settings: the host has more than the workspace's address.*https://ws.dev.azuresynapse.net/livyApi",
        ),
        ("ws.dev.azuresynapse.ne", {}, "Settings: the host is not the development endpoint.*'ws.dev.azuresynapse.ne'"),
        (
            "https://no-such-workspace.invalid",
            {"allow_custom_host": True},
            "Synapse: .*the name of the server can't be resolved.*no-such-workspace",
        ),
        (
            "ws",
            {"proxies": "http://127.0.0.1:9"},
            "Synapse: .*not be reached through the proxy.*proxy http://127.0.0.1:9 refused",
        ),
        (REFUSED, {}, f"Synapse: .*the server refused the connection.*{REFUSED}"),
    ],
)
def test_test_connection_names_the_broken_connection(connect, host, extra, words):
    """Where the workspace can't be reached, the text is about the host, its name, the proxy, or the connection."""
    connect(json.dumps({"conn_type": "synapse_livy", "host": host, "password": "x", "extra": AZURE | extra}))
    worked, words_shown = SynapseLivyHook().test_connection()
    assert not worked
    assert re.match(words, words_shown, re.DOTALL), words_shown
    first, second, *_ = words_shown.split("\n")
    assert len(first) < 120
    assert second.startswith("Fix: ")


def test_test_connection_shows_the_error_of_a_task(connect, tls_synapse):
    """After the step, the text is the error that a task would raise."""
    connect(tls_synapse.airflow_connection("etl", tenantId="elsewhere"))
    with pytest.raises(SynapseLivyAuthenticationError) as caught:
        SynapseLivyHook().get_spark_session(0)
    assert SynapseLivyHook().test_connection() == (False, f"Token: {caught.value}")


def test_test_connection_does_not_retry(connect):
    """The Test button makes one attempt, also if the workspace is down."""
    with ScriptedServer(http(503)) as server:
        connect(airflow_connection(server.url))
        worked, words = SynapseLivyHook().test_connection()
    assert not worked
    assert "answered 503" in words
    assert len(server.requests) == 1


def operator(**changes):
    """Return an operator."""
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
    classes = SynapseGetSparkSessionOperator.__mro__[:2]
    given = [item for one in classes for item in list(inspect.signature(one).parameters.items())]
    assert {name: parameter.default for name, parameter in given if name != "kwargs"} == {
        "session_id": inspect.Parameter.empty,
        "spark_pool_name": None,
        "detailed": True,
        "livy_api_version": None,
        "synapse_livy_conn_id": "synapse_livy_default",
    }
    assert SynapseGetSparkSessionOperator.template_fields == (
        "session_id", "spark_pool_name", "livy_api_version", "synapse_livy_conn_id"
    )  # fmt: skip


@pytest.fixture
def whole_life(connect):
    """Return a local Synapse, and a hook for its pool."""
    with SynapseEmulator(time_scale=1) as emulator:
        connect(emulator.airflow_connection("etl"))
        yield emulator, SynapseLivyHook()


OPTIONS = SparkSessionOptions(
    name="etl", driver_memory="28g", driver_cores=4, executor_memory="28g", executor_cores=4, num_executors=2
)


def test_life_of_a_session(whole_life):
    """The hook's methods create, read, keep alive and cancel a session."""
    synapse, hook = whole_life
    session = hook.create_spark_session(OPTIONS)
    assert (session.id, session.name, session.state) == (0, "etl", "not_started")
    hook.reset_spark_session_timeout(session.id)
    hook.cancel_spark_session(session.to_dict())
    assert hook.get_spark_session("0").is_cancelling
    methods = [(request.method, request.path.rpartition("/etl")[2]) for request in synapse.recorded_requests]
    assert methods == [
        ("POST", "/sessions"),
        ("PUT", "/sessions/0/reset-timeout"),
        ("DELETE", "/sessions/0"),
        ("GET", "/sessions/0"),
    ]


@pytest.mark.parametrize("count", [0, 1, 20, 21, 45])
def test_list_of_sessions(whole_life, count):
    """The list has all sessions, page by page, and no more pages are asked for than are used."""
    synapse, hook = whole_life
    for number in range(count):
        synapse.create_session("etl", age=60 * (number % 2))
    assert [session.id for session in hook.get_spark_sessions()] == list(reversed(range(count)))
    assert len(synapse.recorded_requests) == count // 20 + 1
    assert len(list(hook.get_spark_sessions(states={"idle"}))) == count // 2
    synapse.server.recorded_requests.clear()
    assert next(hook.get_spark_sessions(), None) is None or len(synapse.recorded_requests) == 1


def test_list_that_moves_on(whole_life):
    """A session that moved to the next page, since another one was created, is not listed twice."""
    synapse, hook = whole_life
    for _ in range(25):
        synapse.create_session("etl")
    listed = []
    for session in hook.get_spark_sessions():
        if not listed:
            synapse.create_session("etl")
        listed.append(session.id)
    assert listed == list(reversed(range(25)))


def test_any_request(whole_life):
    """Other calls of the API have the base address, the token, the retries and the errors of the others."""
    synapse, hook = whole_life
    synapse.fail_next(503)
    synapse.create_session("etl")
    assert hook.request("get", "sessions/0?detailed=true")["id"] == 0
    assert hook.request("PUT", "sessions/0/reset-timeout") is None
    version = "/livyApi/versions/2020-12-01"
    assert hook.request("GET", f"{version}/sparkPools/etl/sessions")["total"] == 1
    with pytest.raises(SparkSessionNotFoundError, match=r"^GET sessions/0/log: Synapse answered 404"):
        hook.request("GET", "sessions/0/log")
    with pytest.raises(SynapseLivyPermissionError, match=r"^POST sessions: Synapse answered 403"):
        SynapseLivyHook(spark_pool_name="forbidden").request("POST", "sessions", {"name": "x"})
