"""What to do about the errors that Synapse reports of what it could not run."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.livy.error_codes import error_code_fix


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (["MAXIMUM_WORKSPACE_CAPACITY_EXCEEDED"], "vCore quota"),
        (["LIVY_JOB_STATE_DEAD", "CLUSTER_CREATION_TIMED_OUT"], "no nodes in time"),
        (["MAX_QUEUED_JOBS_PER_COMPUTE_EXCEEDED"], "200 may queue"),
        (["LIBRARY_MANAGEMENT_FAILED", "CLUSTER_CREATION_TIMED_OUT"], "packages"),
    ],
)
def test_known_codes(codes, words):
    """The first code that a remedy is known for has it, whatever other codes stand beside it."""
    assert words in str(error_code_fix(codes))


@pytest.mark.parametrize("codes", [[], ["LIVY_JOB_STATE_DEAD"], [None, 5, [], {}]])
def test_other_codes(codes):
    """Other codes have none, and neither has what is no code."""
    assert error_code_fix(codes) is None
