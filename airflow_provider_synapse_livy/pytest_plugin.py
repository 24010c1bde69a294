"""
The fixture ``synapse_livy_emulator``, for tests of DAGs.

pytest loads this in every project that has the package installed, so nothing is imported until the fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.emulator import SynapseEmulator

__all__ = ["synapse_livy_emulator"]


@pytest.fixture
def synapse_livy_emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[SynapseEmulator]:
    """
    Give a local Synapse, to which Airflow's connection ``synapse_livy_default`` leads during the test.

    A session is ready after three seconds, and idles out a minute later. The connection's Spark pool is ``etl``. For
    another connection, set ``AIRFLOW_CONN_...`` to what ``airflow_connection()`` gives.
    """
    from airflow_provider_synapse_livy.emulator import SynapseEmulator

    # If they aged faster, a session would have idled out before the first dag.test() of a process has started a task.
    with SynapseEmulator(time_scale=0.05) as emulator:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", emulator.airflow_connection("etl"))
        yield emulator
