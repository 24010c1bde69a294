"""What a session is created with: checked before any request, and written as the service has it."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.models import SparkSessionOptions
from tests.support.sample_options import SIZES


def test_body():
    """The body has the documented names, and nothing that was not given."""
    options = SparkSessionOptions.validated(name="etl", **SIZES, py_files=["a.py"], artifact_id="x")
    assert options.to_body() == {
        "name": "etl",
        "driverMemory": "28g",
        "driverCores": 4,
        "executorMemory": "28g",
        "executorCores": 4,
        "numExecutors": 2,
        "pyFiles": ["a.py"],
        "artifactId": "x",
    }


@pytest.mark.parametrize(
    ("name", "given", "becomes"),
    [
        ("driver_memory", "4G", "4G"),
        ("driver_memory", " 512m ", "512m"),
        ("executor_memory", "56gb", "56gb"),
        ("driver_cores", "4", 4),
        ("num_executors", " 2\n", 2),
        ("conf", {"a": 1, "b": True, "c": 0.5, "d": "x"}, {"a": "1", "b": "true", "c": "0.5", "d": "x"}),
        ("jars", "one.jar", ("one.jar",)),
        ("jars", [" one.jar\n"], ("one.jar",)),
        ("jars", "", None),
        ("artifact_id", " x\n", "x"),
        ("artifact_id", " ", None),
        ("files", [], ()),
        ("name", " etl ", "etl"),
    ],
)
def test_what_is_taken(name, given, becomes):
    """Sizes may be rendered text with white space around it, and settings are written as Spark writes them."""
    options = SparkSessionOptions.validated(**{"name": "etl", **SIZES, name: given})
    assert getattr(options, name) == becomes


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("driver_memory", "28", "driver_memory='28' is invalid.\nFix: write it like 28g."),
        ("executor_memory", "0g", "executor_memory='0g' is invalid"),
        ("executor_memory", 28, "executor_memory=28 is invalid"),
        ("driver_cores", 0, "driver_cores=0 is invalid.\nFix: pass a whole number from 1 up"),
        ("driver_cores", "four", "driver_cores='four' is invalid"),
        ("num_executors", 1.5, "num_executors=1.5 is invalid"),
        ("num_executors", None, "num_executors is missing"),
        ("name", "  ", "name='  ' is invalid"),
        ("conf", {"spark.x": None}, r"conf\['spark.x'\] is invalid.\nFix: pass a dict of texts"),
        ("conf", ["spark.x=1"], "conf is invalid"),
        ("tags", {"a": []}, r"tags\['a'\]"),
        ("jars", [1], "jars=1 is invalid.\nFix: pass a list"),
        (
            "jars",
            "['a.jar', 'b.jar']",
            "is invalid.\nFix: this is a list as text: pass a list, or set render_template_as_native_obj",
        ),
        ("kind", "pyspark", "kind is no option of a session.\nFix: correct its name"),
    ],
)
def test_what_is_refused(name, given, words):
    """Anything else is refused before any request, by the parameter's own name."""
    with pytest.raises(SynapseLivyConfigurationError, match=words):
        SparkSessionOptions.validated(**{"name": "etl", **SIZES, name: given})


def test_what_the_service_would_not_take():
    """A request of more than 100 kB is refused before it is sent."""
    options = SparkSessionOptions.validated(name="etl", **SIZES, conf={"x": "y" * 100_000})
    with pytest.raises(SynapseLivyConfigurationError, match="its options have 100[0-9]{3} bytes"):
        options.to_body()


@pytest.mark.parametrize("conf", [{"spark.password": "s3cr3t-value"}, {"s": ["s3cr3t-value"]}, "s3cr3t-value"])
def test_settings_are_in_no_words(conf):
    """Neither the options' repr nor an error about them repeats a setting's value."""
    try:
        words = repr(SparkSessionOptions.validated(name="etl", **SIZES, conf=conf))
    except SynapseLivyConfigurationError as error:
        words = str(error)
    assert "s3cr3t-value" not in words


def test_settings_are_in_no_words_of_pydantic():
    """Who makes the options without our check gets pydantic's error, which repeats no setting's value either."""
    with pytest.raises(ValueError, match="conf") as caught:
        SparkSessionOptions(name="etl", **SIZES, conf={"spark.password": ["s3cr3t-value"]})
    assert "s3cr3t-value" not in str(caught.value)
