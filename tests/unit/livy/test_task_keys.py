"""The key by which a task finds again what it has created."""

from __future__ import annotations

import re

import pytest

from airflow_provider_synapse_livy.livy.task_keys import KEY_TAG, is_of_same_task, key_of, task_key, with_key

TASK = ("dag", "run", "task", -1)
KEY = "0123456789abcdef-1"


def test_key_is_the_same_for_all_tries():
    """One life of a task has one key, which letters and digits make up."""
    assert task_key(*TASK, life=1) == task_key(*TASK, life=1)
    assert re.fullmatch("[0-9a-f]{16}-1", task_key(*TASK, life=1))


@pytest.mark.parametrize("index", range(4))
def test_each_part_makes_another_key(index):
    """Another DAG, run, task, map index or life has another key, and parts can't run into each other."""
    changed = [*TASK[:index], "other", *TASK[index + 1 :]]
    assert task_key(*changed, life=0) != task_key(*TASK, life=0)
    assert task_key("ab", "c", life=0) != task_key("a", "bc", life=0)
    assert not is_of_same_task(task_key(*changed, life=0), task_key(*TASK, life=0))


def test_lives_of_a_task():
    """Another life has another key, which is seen to be the same task's."""
    first, second = (task_key(*TASK, life=life) for life in (1, 12))
    assert first != second
    assert is_of_same_task(first, second)
    assert not is_of_same_task(None, second)


def test_key_is_in_name_and_tags():
    """The key ends the name, however long that is, and is a tag beside those that were given."""
    body = with_key({"name": "n" * 500, "tags": {"team": "a"}, "driverCores": 4}, KEY)
    assert body == {"name": "n" * 100 + f"_{KEY}", "tags": {"team": "a", KEY_TAG: KEY}, "driverCores": 4}
    assert key_of(body) == KEY


@pytest.mark.parametrize(
    ("item", "key"),
    [
        ({"name": f"etl_{KEY}"}, KEY),
        ({"name": "other", "tags": {KEY_TAG: KEY}}, KEY),
        ({"name": f"etl_{KEY}", "tags": None}, KEY),
        ({"name": KEY}, None),
        ({"name": f"etl_{KEY}_2"}, None),
        ({"name": "etl_0123"}, None),
        ({"name": None, "tags": {"other": KEY}}, None),
        ({"name": 5, "tags": KEY}, None),
        ({"tags": {KEY_TAG: 5}}, None),
        ({}, None),
    ],
)
def test_key_of_an_item(item, key):
    """The tag or the name will do, and anything else is another task's."""
    assert key_of(item) == key
