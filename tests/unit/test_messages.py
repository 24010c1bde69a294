"""The form of all messages: the thing and the event, the fix, the evidence; short lines first, as logs do not wrap."""

from __future__ import annotations

import ast
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_synapse_livy import exceptions
from airflow_provider_synapse_livy.connection.identity import AuthType
from airflow_provider_synapse_livy.connection.network import Network
from airflow_provider_synapse_livy.exceptions import (
    SparkBatchJobCancellationError,
    SparkBatchJobEndedError,
    SparkBatchJobFailedError,
    SparkBatchJobTimeoutError,
    SparkSessionCancellationError,
    SparkSessionCreationError,
    SparkSessionFailedError,
    SparkSessionNotFoundError,
    SparkSessionTimeoutError,
    SparkStatementEndedError,
    SparkStatementFailedError,
    SparkStatementLostError,
    SparkStatementTimeoutError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.livy import error_codes
from airflow_provider_synapse_livy.livy.options import SparkBatchJobOptions, SparkSessionOptions
from airflow_provider_synapse_livy.livy.requests import Pool
from airflow_provider_synapse_livy.livy.resources import SPARK_BATCH, SPARK_SESSION, SPARK_STATEMENT
from airflow_provider_synapse_livy.livy.responses import LivyResponse, Snapshot
from airflow_provider_synapse_livy.models import LivyState, SparkBatchJob, SparkJob, SparkSession, SparkStatement
from airflow_provider_synapse_livy.transport.entra import request_token
from airflow_provider_synapse_livy.transport.failures import connection_error
from airflow_provider_synapse_livy.triggers.base import read_event
from airflow_provider_synapse_livy.waiting.batch_goal import BatchGoal
from airflow_provider_synapse_livy.waiting.goals import SessionGoal
from airflow_provider_synapse_livy.waiting.lost_statement import describe_loss
from airflow_provider_synapse_livy.waiting.messages import describe_failure, describe_timeout
from airflow_provider_synapse_livy.waiting.operator_goals import EndedBatchGoal, EndedGoal, ReadyGoal, RunGoal
from airflow_provider_synapse_livy.waiting.statement_goal import StatementGoal
from tests.support import sample_batches as batches
from tests.support import sample_sessions as samples
from tests.support import sample_statements as statements
from tests.support.connections import connection
from tests.support.project import PROJECT
from tests.support.sample_options import SIZES

#: Names as long as Azure allows, an id as large as a busy workspace's, and an endpoint of a sovereign cloud.
WORKSPACE = "w" * 45
POOL = Pool(f"https://{WORKSPACE}.dev.azuresynapse.usgovcloudapi.net", "p" * 15)
SESSION_ID = 123_456
SUBJECT = f"Spark session {SESSION_ID} in pool {POOL.name}"
LONG_CODE = "ACodeThatIsLongerThanAnyOfTheServiceThatWasEverSeen"


def read(status: int, body: Any = b"", **headers: str) -> Callable[[], object]:
    """Return what reads a response to the request for the session."""
    raw = body if isinstance(body, bytes) else samples.as_json(body)
    response = LivyResponse(status, {"x-ms-activity-id": "0f0e0d0c-0b0a-0908-0706-050403020100"} | headers, raw)
    return lambda: SPARK_SESSION.get(POOL, SESSION_ID).read(response)


def read_list(body: bytes) -> Callable[[], object]:
    """Return what reads a response to the request for the list."""
    return lambda: SPARK_SESSION.page(POOL).read(LivyResponse(200, {}, body))


def configure(**changes: Any) -> Callable[[], object]:
    """Return what reads a connection, and asks it for its pool."""
    return lambda: connection(**changes).pool()


def extra(**fields: Any) -> Callable[[], object]:
    """Return what reads a connection with these fields in its extra."""
    return configure(extra={"tenantId": "tenant", "spark_pool_name": "etl"} | fields)


def broken(cause: Exception) -> Callable[[], object]:
    """Return what raises the error that a broken connection means."""

    def fail() -> None:
        raise connection_error(f"Statement 99 of {SUBJECT}", f"{POOL.url}/x", cause, Network("/ca.pem", 30.0, ()))

    return fail


def ended(body: dict[str, Any], *goal: Any) -> Callable[[], object]:
    """Return what raises the error for an end that is not the goal."""

    def fail() -> None:
        record = SparkSession.from_dict(body | {"id": SESSION_ID, "sparkPoolName": POOL.name})
        raise SparkSessionFailedError(describe_failure(Snapshot(record, "a-b"), SessionGoal.validated(*goal)))

    return fail


def timed_out(body: dict[str, Any] | None, option: str, *goal: Any) -> Callable[[], object]:
    """Return what raises the error for a wait that ran out of time."""

    def fail() -> None:
        record = body and SparkSession.from_dict(body | {"id": SESSION_ID, "sparkPoolName": POOL.name})
        snapshot = Snapshot(record, "a-b") if record else None
        goals = SessionGoal.validated(*goal)
        raise SparkSessionTimeoutError(describe_timeout(snapshot, goals, option, 5400.0, SUBJECT))

    return fail


def by_operator(
    kind: type[Exception], goal: Any, body: dict[str, Any], model: type[SparkJob] = SparkSession
) -> Callable[[], object]:
    """Return what raises the error of an operator whose wait for a session has failed, or timed out."""

    def fail() -> None:
        snapshot = Snapshot(model.from_dict(body | {"id": SESSION_ID, "sparkPoolName": POOL.name}), "a-b")
        is_over = snapshot.record.is_finished
        raise kind(describe_failure(snapshot, goal) if is_over else describe_timeout(snapshot, goal, "timeout", 60.0))

    return fail


def of_batch_job() -> None:
    """Raise the error for a session's id that is a batch job's."""
    error = SparkSessionNotFoundError("Words.\nFix: x.\nSynapse says: none.", status=404)
    record = SparkBatchJob.from_dict(batches.RUNNING | {"id": SESSION_ID, "sparkPoolName": POOL.name})
    raise SPARK_SESSION.mistaken_for(SPARK_BATCH, error, record)


def by_statement(body: dict[str, Any], kind: type[Exception] = SparkStatementFailedError) -> Callable[[], object]:
    """Return what raises the error for a statement that failed, or timed out."""

    def fail() -> None:
        snapshot = Snapshot(SparkStatement.from_dict(body), "a-b")
        is_over = snapshot.record.is_finished
        goal = StatementGoal()
        raise kind(describe_failure(snapshot, goal) if is_over else describe_timeout(snapshot, goal, "timeout", 60.0))

    return fail


def lost(body: dict[str, Any] | None) -> Callable[[], object]:
    """Return what raises the error for a statement whose session has ended, or that is gone."""

    def fail() -> None:
        session = body and SparkSession.from_dict(body | {"id": SESSION_ID, "sparkPoolName": POOL.name})
        snapshot = Snapshot(session, "a-b") if session else None
        raise SparkStatementLostError(describe_loss(f"Statement 99 of {SUBJECT}", snapshot))

    return fail


def refused(**changes: Any) -> Callable[[], object]:
    """Return what requests a token with a connection whose credential does not work."""
    return lambda: request_token(connection(**changes).identity)


OPTIONS: dict[str, Any] = {"name": "n", **SIZES}

UNTRUSTED = ssl.SSLCertVerificationError(1, "self-signed certificate")
END = (None, ["Succeeded"], False)
ALL_STATES = (set(LivyState) - {"idle", "error", "dead", "killed"}, ["Succeeded"], False)

KINDS = list(AuthType)

MESSAGES: dict[str, Callable[[], object]] = {
    "id None": lambda: SPARK_SESSION.get(POOL, None),
    "id True": lambda: SPARK_SESSION.get(POOL, True),
    "id -1": lambda: SPARK_SESSION.get(POOL, -1),
    "id too large": lambda: SPARK_SESSION.get(POOL, "9" * 99),
    "id not rendered": lambda: SPARK_SESSION.get(POOL, "{{ ti.xcom_pull('create') }}" * 10),
    "id dict": lambda: SPARK_SESSION.get(POOL, samples.IDLE | {"id": "x"}),
    "id dict as text": lambda: SPARK_SESSION.get(POOL, str(samples.IDLE)),
    **{
        f"option {name}": lambda name=name, value=value: SparkSessionOptions.validated(**{**OPTIONS, name: value})
        for name, value in {
            "driver_memory": "28",
            "driver_cores": "many" * 100,
            "num_executors": 0,
            "name": " ",
            "conf": {"spark.password" * 20: None},
            "tags": [1],
            "jars": {"a": 1},
            "colour": "red",
            "executor_cores": None,
        }.items()
    },
    "options too long": lambda: SparkSessionOptions.validated(**OPTIONS, conf={"x": "y" * 100_000}).to_body(),
    **{
        f"refusal {words[:20]}": read(400, {"TraceId": "x", "Message": words})
        for words in (
            "Spark Compute not Found",
            "InvalidHttpRequestToLivy: Your Spark job requested 12 vcores. However, the workspace has a 0 core limit.",
            "Job was submitted with resources=[24] when the compute has a capacity of=[12]",
        )
    },
    "id list": lambda: SPARK_SESSION.get(POOL, list(range(100))),
    "id text": lambda: SPARK_SESSION.get(POOL, "x" * 1000),
    "pool": lambda: SPARK_SESSION.get(Pool(POOL.endpoint, "." * 1000), 1),
    "version": lambda: SPARK_SESSION.get(Pool(POOL.endpoint, "etl", None), 1),
    "state": lambda: SessionGoal.validated(["idel"], ["Succeeded"], False),
    "states": lambda: SessionGoal.validated([f"x{n}" for n in range(100)], ["Succeeded"], False),
    "no state": lambda: SessionGoal.validated([], ["Succeeded"], False),
    "result": lambda: SessionGoal.validated(None, ["Uncertain"], False),
    **{
        f"{status} {name}": read(status, body)
        for status in (204, 302, 400, 401, 403, 404, 408, 409, 418, 423, 429, 430, 500, 503, 599)
        for name, body in {
            "empty": b"",
            "text": b"line\nline\r\n" * 1000,
            "code": {"error": {"code": LONG_CODE, "message": "words\n" * 1000}},
            "firewall": {"code": "ClientIpAddressNotAuthorized", "message": "Client Ip address : 192.0.2.1"},
        }.items()
    },
    "redirect": read(307, location="https://elsewhere.example/" + "x" * 1000),
    "HTML": read(200, b"<html><title>Log\nin</title>"),
    "not JSON": read(200, b"x" * 10_000),
    "NaN": read(200, b'{"id": NaN}'),
    "huge number": read(200, b'{"id": 18446744073709551616}'),
    "list": read(200, b"[]"),
    "wrong fields": read(200, {"id": "x", "state": 5, "schedulerInfo": {"cancellationRequestedAt": 5}, "result": []}),
    "another session": read(200, samples.session(id=654_321)),
    "batch": read(200, samples.session(id=SESSION_ID, jobType="SparkBatch")),
    "too large": read(200, b" " * (4 * 2**20 + 1)),
    "truncated": read(200, samples.as_json(samples.IDLE)[:100]),
    "not gzip": read(200, b"no gzip", **{"Content-Encoding": "gzip"}),
    "no list": read_list(b"{}"),
    "truncated list": read_list(b'{"sessions": ['),
    "died": ended(samples.DEAD, *END),
    **{
        f"died of {code}": ended(samples.DEAD | {"errorInfo": [{"errorCode": code}]}, *goal)
        for code in error_codes._FIXES
        for goal in (END, (["idle"], ["Succeeded"], False))
    },
    **{
        f"{name} in {kind.__name__}": by_operator(kind, goal, body)
        for name, body in {"died": samples.DEAD, "idle": samples.IDLE, "cancelled": samples.KILLED}.items()
        for kind, goal in (
            (SparkSessionCreationError, ReadyGoal(frozenset({"idle"}), frozenset({"Succeeded"}), False)),
            (SparkSessionCancellationError, EndedGoal(None, frozenset({"Succeeded"}), True)),
        )
    },
    "died before busy": ended(samples.DEAD, *ALL_STATES),
    "cancelled": ended(samples.KILLED, None, ["Succeeded", "Failed"], True),
    "cancelled before": ended(samples.CANCELLED_IN_QUEUE, ["idle", "busy", "shutting_down"], ["Succeeded"], False),
    "idled out": ended(samples.IDLED_OUT, *END),
    "idled out before": ended(samples.IDLED_OUT, ["busy", "running"], ["Succeeded"], False),
    "succeeded before": ended(samples.SUCCEEDED, ["idle"], ["Succeeded"], False),
    "failed, state unknown": ended(samples.session(state="hibernating", result="Failed"), ["idle"], ["Failed"], True),
    **{f"statement: {name}": by_statement(record) for name, (record, ok, _) in statements.RECORDED.items() if not ok},
    "statement in a sensor": by_statement(statements.RECORDED["error"][0], SparkStatementEndedError),
    "statement that waits": by_statement(statements.RUNNING[0], SparkStatementTimeoutError),
    "statement whose session died": lost(samples.DEAD),
    "statement that is gone": lost(None),
    "no statement": lambda: SPARK_STATEMENT.get(POOL, SESSION_ID, 3).read(LivyResponse(404, {}, b"")),
    **{
        f"batch job in {kind.__name__}: {name}": by_operator(kind, goal, body, SparkBatchJob)
        for name, body in {
            "failed": batches.FAILED,
            "running": batches.RUNNING,
            "killed": batches.KILLED,
            "settling": batches.SETTLING,
        }.items()
        for kind, goal in (
            (SparkBatchJobFailedError, RunGoal(frozenset({"Succeeded"}))),
            (SparkBatchJobEndedError, BatchGoal.validated(["Succeeded"])),
            (SparkBatchJobTimeoutError, BatchGoal.validated(["Succeeded"])),
            (SparkBatchJobCancellationError, EndedBatchGoal(frozenset())),
        )
    },
    "no batch job": lambda: SPARK_BATCH.get(POOL, SESSION_ID).read(LivyResponse(404, {}, b"")),
    "batch job's id": of_batch_job,
    "batch job without its file": lambda: SparkBatchJobOptions.validated(**OPTIONS),
    "timeout": timed_out(samples.NOT_STARTED, "timeout", *END),
    "timeout, idle": timed_out(samples.IDLE, "timeout", *END),
    "timeout, two states": timed_out(samples.STARTING, "timeout", ["idle", "busy"], ["Succeeded"], False),
    "timeout, all states": timed_out(samples.IDLE, "timeout", *ALL_STATES),
    "execution_timeout": timed_out(samples.settling("dead"), "execution_timeout", *END),
    "timeout, nothing seen": timed_out(None, "timeout", *END),
    "event of nothing": lambda: read_event(None, SPARK_SESSION),
    "event of nonsense": lambda: read_event({"resource": "x" * 1000}, SPARK_SESSION),
    "event with a wrong record": lambda: read_event(
        {"resource": "Spark session", "verdict": "success", "record": {"state": 5}, "activity_id": None, "links": {}},
        SPARK_SESSION,
    ),
    "no pool": configure(),
    "no host": configure(host=None),
    "host with a path": configure(host="https://ws.dev.azuresynapse.net/" + "x" * 1000),
    "host in no cloud": configure(host=f"https://{'gateway.' * 20}example.com"),
    "host of Studio": configure(host="https://web.azuresynapse.net"),
    "host over http": configure(host="http://ws.dev.azuresynapse.net"),
    "port": configure(port=99_999),
    "two ports": configure(host="https://ws.dev.azuresynapse.net:1", port=2),
    "two clouds": extra(cloud_environment="AzureChinaCloud"),
    "cloud": extra(cloud_environment="x" * 1000),
    "auth type": extra(auth_type="password"),
    "timeout of a connection": extra(timeout="soon"),
    "verify": extra(verify="/no/such/bundle.pem"),
    "flag": extra(allow_custom_host="perhaps"),
    "resource id": extra(workspace_resource_id="x" * 1000),
    **{f"{kind} without its fields": configure(login=None, password=None, extra={"auth_type": kind}) for kind in KINDS},
    "credential that can't be imported": refused(login=None, password=None, extra={"credential": "no.such.thing"}),
    "credential that is none": refused(login=None, password=None, extra={"credential": "os.getcwd"}),
    "certificate that is missing": refused(
        password=None, extra={"tenantId": "tenant", "certificate_path": "/no/such/file.pem"}
    ),
    "no such name": broken(socket.gaierror(-2, "Name or service not known")),
    "no answer": broken(TimeoutError("timed out")),
    "refused": broken(ConnectionRefusedError("refused")),
    "reset": broken(ConnectionResetError("reset")),
    "certificate": broken(UNTRUSTED),
}  # fmt: skip


def message_of(raising: Callable[[], object]) -> SynapseLivyError | None:
    """Return the error that a function raises; None if it raises none, as where a credential has defaults."""
    try:
        raising()
    except SynapseLivyError as error:
        return error
    return None


@pytest.mark.parametrize("raising", MESSAGES.values(), ids=MESSAGES)
def test_form_of_messages(raising):
    """The first line is the event in under 120 characters, the second a fix that is as short, then the evidence."""
    error = message_of(raising)
    if error is None:
        return
    first, second, *evidence = str(error).split("\n")
    assert len(first) < 120, first
    assert first.endswith((".", "?"))
    assert first == first.strip()
    assert second.startswith("Fix: "), second
    assert len(second) < 120, second
    assert second.endswith((".", "?"))
    assert not second.startswith("Fix: Fix")
    assert all(line.strip() for line in evidence)
    assert error.event == first.removesuffix(".")


def test_every_error_is_in_the_table():
    """The table has a message of each class of error, and a connection of each kind that lacks its fields."""
    raised = {name: message_of(raising) for name, raising in MESSAGES.items()}
    kinds = {type(error).__name__ for error in raised.values() if error}
    assert kinds == set(exceptions.__all__) - {"SynapseLivyError"}
    without_fields = {"default", "managed_identity", "azure_cli"}
    silent = {name for name, error in raised.items() if error is None}
    assert silent <= {f"{kind} without its fields" for kind in without_fields}


def texts():
    """Return the texts in the package that are not docstrings."""
    found = []
    for path in sorted((PROJECT / "airflow_provider_synapse_livy").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        constants = (node for node in nodes if isinstance(node, ast.Constant) and id(node) not in docstrings)
        found += [node.value for node in constants if isinstance(node.value, str)]
    return found


VAGUE = ["try again later", "see whether", "see if ", "trouble", "look at", "something else", "more seldom", "is told"]


def test_words_that_no_text_has():
    """No message says to try again later, or uses the vague words that were replaced."""
    assert [text for text in texts() if any(phrase in text.lower() for phrase in VAGUE)] == []


def test_retries_do_not_say_to_wait():
    """The event of an error that is retried can be followed by the delay of the next try in one line."""
    error = message_of(read(503))
    assert isinstance(error, SynapseLivyUnavailableError)
    assert f"{error.event}, retrying in 0.5 s." == f"{SUBJECT}: Synapse answered 503, retrying in 0.5 s."
