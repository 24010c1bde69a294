"""The key by which a task finds again what it has created."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.livy.task_keys import KEY_TAG, carries_key, task_key, with_key

TASK = ("dag", "run", "task", -1, 0)


def test_key_is_the_same_for_all_tries():
    """One life of a task has one key, which letters and digits make up."""
    assert task_key(*TASK) == task_key(*TASK)
    assert task_key(*TASK).isalnum()


@pytest.mark.parametrize("index", range(5))
def test_each_part_makes_another_key(index):
    """Another DAG, run, task, map index or life has another key, and parts can't run into each other."""
    changed = [*TASK[:index], "other", *TASK[index + 1 :]]
    assert task_key(*changed) != task_key(*TASK)
    assert task_key("ab", "c") != task_key("a", "bc")


def test_key_is_in_name_and_tags():
    """The key ends the name, however long that is, and is a tag beside those that were given."""
    body = with_key({"name": "n" * 500, "tags": {"team": "a"}, "driverCores": 4}, "k3y")
    assert body == {"name": "n" * 100 + "_k3y", "tags": {"team": "a", KEY_TAG: "k3y"}, "driverCores": 4}
    assert carries_key(body, "k3y")


@pytest.mark.parametrize(
    ("item", "is_ours"),
    [
        ({"name": "etl_k3y"}, True),
        ({"name": "other", "tags": {KEY_TAG: "k3y"}}, True),
        ({"name": "etl_k3y", "tags": None}, True),
        ({"name": "k3y"}, False),
        ({"name": "etl_k3y_2"}, False),
        ({"name": None, "tags": {"other": "k3y"}}, False),
        ({"name": 5, "tags": "k3y"}, False),
        ({}, False),
    ],
)
def test_what_carries_a_key(item, is_ours):
    """The name or the tag will do, and anything else is another task's."""
    assert carries_key(item, "k3y") is is_ours
