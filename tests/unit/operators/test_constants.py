"""What the operators make of their parameters when the DAG is parsed, before any request."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.operators.spark_batch import SynapseRunSparkBatchOperator
from airflow_provider_synapse_livy.operators.spark_session import SynapseCreateSparkSessionOperator
from airflow_provider_synapse_livy.operators.waiting import in_one_order
from tests.support.sample_options import SIZES

FILES = ("jars", "py_files", "files", "archives")


@pytest.mark.parametrize("collection", [set, frozenset])
@pytest.mark.parametrize(
    ("kind", "names", "options"),
    [
        (SynapseCreateSparkSessionOperator, FILES, {}),
        (SynapseRunSparkBatchOperator, (*FILES, "args"), {"file": "main.py"}),
    ],
)
def test_sets_have_one_order(kind, names, options, collection):
    """A set is kept in one order, as Airflow takes another one for a new version of the DAG."""
    values = ["c", "a", "{{ params.b }}", "b"]
    task = kind(task_id="create", **SIZES, **options, **{name: collection(values) for name in names})
    assert {name: getattr(task, name) for name in names} == dict.fromkeys(names, sorted(values))


@pytest.mark.parametrize("values", [["b", "a"], ("b", "a"), "ba", None, 5])
def test_order_of_what_is_no_set_is_kept(values):
    """What is no set has an order, which is kept."""
    assert in_one_order(values) == values


def test_values_of_several_types_have_an_order():
    """A set may hold values that can't be compared: what is wrong with them is said in words, elsewhere."""
    assert in_one_order({"idle", None, 5}) == [5, None, "idle"]
