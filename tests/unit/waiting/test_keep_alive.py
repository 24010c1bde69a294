"""When a session's idle timeout is begun anew."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.waiting.keep_alive import is_keep_alive_due


@pytest.mark.parametrize(
    ("waited", "since_last_poll", "is_due"),
    [
        (0.0, 0.0, False),
        (239.0, 5.0, False),
        (240.0, 5.0, True),
        (244.9, 5.0, True),
        (245.0, 5.0, False),
        (481.0, 60.0, True),
        (3.0, 60.0, False),
        (600.0, 600.0, True),
    ],
)
def test_keep_alive(waited, since_last_poll, is_due):
    """It is done once in four minutes of a wait, by the poll that comes next."""
    assert is_keep_alive_due(waited, since_last_poll) is is_due
