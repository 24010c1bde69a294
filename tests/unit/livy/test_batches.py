"""Batch jobs: their records, what they are created with, and how they are told from sessions."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from airflow_provider_synapse_livy.livy.errors import (
    SparkBatchJobNotFoundError,
    SynapseLivyConfigurationError,
    SynapseLivyResponseError,
)
from airflow_provider_synapse_livy.livy.options import SparkBatchJobOptions
from airflow_provider_synapse_livy.livy.requests import Pool
from airflow_provider_synapse_livy.livy.resources import SPARK_BATCH, SPARK_SESSION
from airflow_provider_synapse_livy.livy.responses import LivyResponse
from airflow_provider_synapse_livy.models import SparkBatchJob, SparkJobType, SparkSession
from tests.support import sample_batches as samples
from tests.support.sample_options import SIZES
from tests.support.sample_sessions import as_json, is_part_of

POOL = Pool("https://ws.dev.azuresynapse.net", "etl")
OPTIONS = {"name": "count", "file": "abfss://c@a.dfs.core.windows.net/count.py", **SIZES}


@pytest.mark.parametrize("body", samples.BATCHES.values(), ids=samples.BATCHES)
def test_batch_job_survives_its_dict(body):
    """Nothing that the service sends is lost or changed on its way to XCom and back."""
    job = SparkBatchJob.from_json(as_json(body))
    written = job.to_dict()
    assert is_part_of(body, written)
    assert SparkBatchJob.from_dict(json.loads(json.dumps(written, allow_nan=False))) == job


@pytest.mark.parametrize(
    ("body", "phase", "ending"),
    [
        (samples.NOT_STARTED, "queued", "ended"),
        (samples.STARTING, "starting", "ended"),
        (samples.RUNNING, "running", "ended"),
        (samples.SETTLING, "success (result pending)", "ended without a known result"),
        (samples.NOT_CLOSED, "success (result pending)", "succeeded"),
        (samples.SUCCEEDED, "success (Succeeded)", "succeeded"),
        (samples.FAILED, "dead (Failed)", "failed"),
        (samples.KILLED, "killed (Cancelled)", "was cancelled"),
        (samples.CANCELLED_IN_QUEUE, "error (Cancelled)", "was cancelled"),
    ],
)
def test_phases_and_endings(body, phase, ending):
    """A job says what it is doing and how it has ended in the words that a session has."""
    job = SparkBatchJob.from_dict(body)
    assert (job.phase, job.ending) == (phase, ending)
    assert str(job) == "Spark batch job 12 in pool etl"
    assert job.job_type is SparkJobType.SPARK_BATCH


def test_durations():
    """The time that the program took to start and to run is known from Livy, the rest as for a session."""
    job = SparkBatchJob.from_dict(samples.SUCCEEDED)
    assert job.durations()["running"] == timedelta(seconds=24.5)
    assert list(job.durations()) == ["queued", "acquiring nodes", "submitting", "starting", "running"]
    assert job.lifetime == timedelta(seconds=71.3)
    assert "running" not in SparkBatchJob.from_dict(samples.RUNNING).durations()
    assert SparkBatchJob.from_dict(samples.KILLED).durations()["running"] > timedelta(0)


def test_requests():
    """A batch job is found under batches, whose list has its items under sessions."""
    assert SPARK_BATCH.get(POOL, 3).url == f"{POOL.url}/batches/3?detailed=true"
    assert SPARK_BATCH.cancel(POOL, 3).method == "DELETE"
    assert SPARK_BATCH.page(POOL).url == f"{POOL.url}/batches?from=0&size=20&detailed=true"
    page = SPARK_BATCH.page(POOL).read(LivyResponse(200, {}, as_json({"sessions": [samples.RUNNING], "total": 1})))
    assert [type(job) for job in page.records()] == [SparkBatchJob]
    create = SPARK_BATCH.create(POOL, body={"name": "n"})
    assert (create.method, create.url, create.is_idempotent) == ("POST", f"{POOL.url}/batches?detailed=true", False)


@pytest.mark.parametrize(("body", "is_complete"), [(samples.RUNNING, True), (samples.FAILED, True),
    (samples.FAILED | {"errorInfo": None}, False), (samples.RUNNING | {"jobType": "SparkSession"}, False)])  # fmt: skip
def test_items_of_the_list(body, is_complete):
    """A failure without its error, and what says that it is a session, are read singly."""
    assert SPARK_BATCH.listing.is_complete(SparkBatchJob.from_dict(body)) is is_complete


def test_session_in_place_of_a_batch_job():
    """The record of a session is not taken for a batch job, and the fix says what reads sessions."""
    with pytest.raises(SynapseLivyResponseError) as caught:
        SPARK_BATCH.get(POOL, 12).read(LivyResponse(200, {}, as_json(samples.RUNNING | {"jobType": "SparkSession"})))
    event, fix = str(caught.value).split("\n")
    assert event.endswith("describes a Spark session, not a Spark batch job.")
    assert fix == "Fix: wait for it with SynapseSparkSessionSensor, or pass the id of a Spark batch job."


def test_id_of_a_sibling():
    """The error for an id that is a session's has the kind of the error before, its status, and the cause in words."""
    before = SparkBatchJobNotFoundError("Words.\nFix: x.\nSynapse says: none.", status=404, activity_id="a-b")
    session = SparkSession.from_dict({"id": 12, "state": "idle"})
    error = SPARK_BATCH.mistaken_for(SPARK_SESSION, before, session)
    assert (type(error), error.status, error.activity_id) == (SparkBatchJobNotFoundError, 404, "a-b")
    assert str(error).split("\n") == [
        "Spark batch job 12: there is none, 12 is the id of a Spark session.",
        "Fix: wait for it with SynapseSparkSessionSensor, or pass the id of a Spark batch job.",
        "Spark session 12 is idle.",
        "Synapse says: none.",
    ]


def test_options():
    """A batch job is created under the documented names; numbers among the arguments become text."""
    body = SparkBatchJobOptions.validated(**OPTIONS, class_name="C", args=["--n", 3, True], py_files="a.py").to_body()
    assert (body["file"], body["className"], body["args"]) == (OPTIONS["file"], "C", ["--n", "3", "true"])
    assert body["pyFiles"] == ["a.py"]


@pytest.mark.parametrize(
    ("changes", "event"),
    [
        ({"file": None}, "file is missing."),
        ({"file": " "}, "file=' ' is invalid."),
        ({"class_name": 5}, "class_name=5 is invalid."),
        ({"args": {"password": "x"}}, "args is invalid."),
        ({"colour": "red"}, "colour is no option of a batch job."),
    ],
)
def test_wrong_options(changes, event):
    """A wrong option is named before anything is sent; arguments, which may be secrets, are not repeated."""
    with pytest.raises(SynapseLivyConfigurationError) as caught:
        SparkBatchJobOptions.validated(**OPTIONS | changes)
    assert str(caught.value).startswith(f"{event}\nFix: ")
