"""The text that the Test button shows; with a real request it is tested in tests/integration/test_hook.py."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace

import pytest

from airflow_provider_synapse_livy.hooks import connection_check
from airflow_provider_synapse_livy.hooks.connection_check import ConnectionCheck
from airflow_provider_synapse_livy.livy.errors import (
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    error_message,
)
from airflow_provider_synapse_livy.transport import sync_client
from tests.support.connections import connection

CLAIMS = {"appid": "app", "oid": "1", "tid": "t", "aud": "https://vault.example"}


def jwt(claims):
    """Return a token with some claims."""
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.x"


class Session:
    """A requests session that can be closed."""

    closed = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True


class Client:
    """A client that sends nothing."""

    def __init__(self, error=None):
        self.error = error
        self.sent = []
        self.session = Session()

    def send(self, request, *, retry_timeout):
        """Keep the request, and fail if it is to."""
        self.sent.append((request.method, request.url, retry_timeout))
        if self.error:
            raise self.error


@pytest.fixture
def check(monkeypatch):
    """Return a function that runs the check of a connection without sending anything."""

    def run(token=None, client=None, spark_pool_name=None, livy_api_version=None, **fields):
        def get():
            if isinstance(token, Exception):
                raise token
            return jwt(CLAIMS) if token is None else token

        monkeypatch.setattr(connection_check, "token_cache", lambda identity: SimpleNamespace(get=get))
        monkeypatch.setattr(sync_client, "LivyClient", lambda connection: client or Client())
        return ConnectionCheck(lambda: connection(**fields), spark_pool_name, livy_api_version).run()

    return run


POOL = {"tenantId": "tenant", "spark_pool_name": "etl"}


def test_working_connection(check):
    """A connection that works is reported with its workspace, its cloud, and who has signed in."""
    works, text = check(extra=POOL)
    assert works
    assert text.split("\n") == [
        "Synapse listed the Spark sessions of pool etl.",
        "Workspace: https://ws.dev.azuresynapse.net (AzurePublicCloud).",
        "Signed in as: the application app (object id 1, tenant t).",
    ]


def test_one_session_is_requested_once(check):
    """The check requests a list of one session, does not retry, and closes its HTTP session."""
    client = Client()
    check(client=client, extra=POOL)
    ((method, url, retry_timeout),) = client.sent
    assert (method, retry_timeout) == ("GET", 0)
    assert url == (
        "https://ws.dev.azuresynapse.net/livyApi/versions/2020-12-01/sparkPools/etl/sessions"
        "?from=0&size=1&detailed=false"
    )
    assert client.session.closed


def test_pool_and_version_of_the_hook_go_first(check):
    """The pool and the version that the hook was given are checked instead of the connection's."""
    client = Client()
    assert check(client=client, extra=POOL, spark_pool_name="adhoc", livy_api_version="1")[0]
    assert "/versions/1/sparkPools/adhoc/" in client.sent[0][1]


def test_without_a_pool_only_the_token_is_checked(check):
    """A connection without a pool is checked as far as its token, and the text says that this was all."""
    client = Client()
    works, text = check(client=client)
    assert works
    first, second, *_ = text.split("\n")
    assert first == "Microsoft Entra ID issued a token. Synapse was not checked: the connection names no Spark pool."
    assert second == 'Fix: fill in the field "Spark pool" to check the workspace as well.'
    assert client.sent == []


def test_ready_made_token_without_a_pool_fails(check):
    """Having a ready-made token proves nothing, so there must be a pool to use it on."""
    works, text = check(login=None, password="ready-made", extra={"auth_type": "token"})
    assert not works
    assert "Settings: Connection synapse_livy_default: no Spark pool is named." in text


ERROR = SynapseLivyError(error_message("The thing broke.", "mend it.", "evidence"))


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({"token": ERROR}, "Token"),
        ({"client": Client(ERROR)}, "Synapse"),
    ],
)
def test_text_names_the_step_that_failed(check, options, step):
    """The first line is the step and the event, the second the fix, and the evidence follows."""
    assert check(extra=POOL, **options) == (False, f"{step}: The thing broke.\nFix: mend it.\nevidence")


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (f"The list of Spark sessions in pool {'p' * 90}: it broke.", "it broke."),
        (
            f"https://{'w' * 90}.example:443 broke in its very middle.",
            f"https://{'w' * 28}...{'w' * 33}.example:443 broke",
        ),
    ],
)
def test_first_line_is_short(check, event, shown):
    """A first line that the step makes too long is shortened, so that the fix is seen; the whole text comes last."""
    text = check(extra=POOL, client=Client(SynapseLivyError(error_message(event, "mend it.", "evidence"))))[1]
    first, *others = text.split("\n")
    assert len(first) < 120
    assert first.startswith(f"Synapse: {shown}")
    assert others == ["Fix: mend it.", "evidence", event]


def test_settings_are_the_first_step(check):
    """A connection that can't be read fails in the step Settings."""

    def read():
        raise SynapseLivyConfigurationError("The host is wrong.")

    assert ConnectionCheck(read).run() == (False, "Settings: The host is wrong.")


@pytest.mark.parametrize(
    ("claims", "last_line"),
    [
        (CLAIMS, "The token is for https://vault.example, issued by the tenant t."),
        ({"aud": "https://vault.example"}, "The token is for https://vault.example."),
        ({}, "Fix: mend it."),
    ],
)
def test_refused_token_is_described(check, claims, last_line):
    """If Synapse refuses the token, the text says what the token is for, which shows a wrong cloud or tenant."""
    error = SynapseLivyAuthenticationError("Synapse answered 401.\nFix: mend it.", status=401)
    works, text = check(jwt(claims), Client(error), extra=POOL)
    assert not works
    assert text.split("\n")[-1] == last_line


@pytest.mark.parametrize(
    ("token", "bearer"),
    [
        (jwt({"upn": "ada@example.org", "oid": "1", "appid": "cli"}), "the user ada@example.org (object id 1)"),
        (jwt({"unique_name": "ada"}), "the user ada"),
        (jwt({"azp": "app", "oid": "1", "tid": "t"}), "the application app (object id 1, tenant t)"),
        (jwt({"azp": "app"}), "the application app"),
        (jwt({"tid": "t"}), "unknown, the token does not say (tenant t)"),
        (jwt(["no claims"]), "unknown, the token does not say"),
        ("opaque", "unknown, the token does not say"),
        ("a.b.c", "unknown, the token does not say"),
    ],
)
def test_text_says_who_signed_in(check, token, bearer):
    """The text names the user or application that the token was issued to, if the token says so."""
    assert check(token, extra=POOL)[1].split("\n")[-1] == f"Signed in as: {bearer}."
