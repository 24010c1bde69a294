"""The links that a trigger's event carries, also one that is about an error."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.triggers.base import links_of_event


@pytest.mark.parametrize(
    ("event", "links"),
    [
        ({"error": {}, "links": {"Spark UI": "https://x"}}, {"Spark UI": "https://x"}),
        ({"error": {}}, {}),
        ({"links": None}, {}),
        ({"links": {"Spark UI": 1, 2: "https://x"}}, {}),
        (None, {}),
        ("links", {}),
    ],
)
def test_links_of_event(event, links):
    """Texts by their names are taken, and nothing else, whatever the event is."""
    assert links_of_event(event) == links
