"""Which templates the triggerer renders as a worker does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_provider_synapse_livy.airflow_compat.trigger_templates import can_be_rendered_in_triggerer

PULLED = "{{ ti.xcom_pull('create') }}"
PULLED_BY_INDEX = "{{ ti.xcom_pull('create', map_indexes=-1) }}"


@pytest.mark.parametrize("value", [None, 0, 12, True, "etl", "", ["idle", "busy"], {"idle"}, (), frozenset({"idle"})])
def test_values_without_a_template_can_be_rendered(value):
    """What is no template stays as it is, there as here."""
    assert can_be_rendered_in_triggerer(value)


@pytest.mark.parametrize(
    "template",
    [
        "{{ params.id }}",
        "{{ params.pool | lower }}-{{ ds }}",
        "{{ macros.ds_add(ds, 1) }}",
        "{% if params.big %}big{% else %}{{ run_id }}{% endif %}",
        "{% for pool in params.pools %}{{ pool }}{% endfor %}",
    ],
)
def test_known_names_and_filters_can_be_rendered(template):
    """The triggerer has these parts of the context, Jinja's own filters, and what the template itself defines."""
    assert can_be_rendered_in_triggerer(template)


@pytest.mark.parametrize(
    "template",
    [
        "etl{{ a_macro_of_the_dag }}",
        "{{ params.pool | a_filter_of_the_dag }}",
        "{{ triggering_asset_events }}",
        "{{ var.value.pool }}",
        "{{ conn.synapse.host }}",
        "{{ unclosed",
    ],
)
def test_unknown_names_and_filters_can_not_be_rendered(template):
    """What the triggerer may not have, or render differently, is left to a worker."""
    assert not can_be_rendered_in_triggerer(template)


@pytest.mark.parametrize(
    "template",
    [
        PULLED_BY_INDEX,
        "{{ task_instance.xcom_pull(task_ids='create', map_indexes=-1) }}",
        "{{ ti.xcom_pull('a', map_indexes=-1) ~ ti.xcom_pull('b', map_indexes=[0, 1]) }}",
        "{{ ti.xcom_pull('create', map_indexes=-1)['id'] | int }}",
        "{{ ti.xcom_pull('create', key=ti.xcom_pull('key', map_indexes=-1), map_indexes=-1) }}",
    ],
)
def test_xcoms_pulled_by_index_can_be_rendered(template):
    """An XCom that is pulled with map_indexes comes out in the triggerer, too."""
    assert can_be_rendered_in_triggerer(template)


@pytest.mark.parametrize(
    "template",
    [
        PULLED,
        PULLED_BY_INDEX + PULLED,
        "{{ ti.xcom_pull('create', map_indexes=None) }}",
        "{{ ti.xcom_pull('a', map_indexes=-1) ~ ti.xcom_pull('b') }}",
        "{{ task_instance.xcom_pull('a', map_indexes=-1) ~ ti.xcom_pull('b') }}",
        "{{ ti.xcom_pull('create', key=ti.task_id, map_indexes=-1) }}",
        "{{ ti.xcom_pull('create', **params.options) }}",
        "{{ ti.xcom_pull | string }}",
        "{{ params.format(ti.xcom_pull, map_indexes=-1) }}",
        "{{ ti.get_ti_count(dag_id='x') }}",
        "{{ ti.try_number }}",
        "{{ ti }}",
        "{% set task = ti %}{{ task.xcom_pull('create') }}",
    ],
)
def test_other_uses_of_the_task_instance_can_not_be_rendered(template):
    """An XCom that is pulled without map_indexes hangs in the triggerer, and all else of the task instance may."""
    assert not can_be_rendered_in_triggerer(template)


@pytest.mark.parametrize("collection", [list, tuple, set, frozenset])
def test_collections_are_as_good_as_their_items(collection):
    """One item that can't be rendered leaves the whole field to a worker."""
    assert can_be_rendered_in_triggerer(collection(["idle", "{{ params.state }}"]))
    assert not can_be_rendered_in_triggerer(collection(["idle", PULLED]))


@pytest.mark.parametrize("value", [SimpleNamespace(output="an XComArg"), object(), 1.5, {"id": 12}, b"12"])
def test_other_values_can_not_be_rendered(value):
    """What is not known to travel to the triggerer unchanged, such as an XComArg, is left to a worker."""
    assert not can_be_rendered_in_triggerer(value)
