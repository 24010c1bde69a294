"""
The pytest fixture ``synapse_livy_emulator``, for tests of DAGs.

pytest loads this module in every project that has the package installed, so the emulator is imported only when the
fixture is used.
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
    Run a local Synapse during the test, and point the Airflow connection ``synapse_livy_default`` at it.

    The connection's Spark pool is ``etl``. By default a session is idle after three seconds, and reaches its idle
    timeout a minute later. For another connection, set ``AIRFLOW_CONN_...`` to the result of
    ``airflow_connection()``.
    """
    from airflow_provider_synapse_livy.emulator import SynapseEmulator

    # With a smaller time_scale, a session would reach its idle timeout before the first dag.test() of a process, which
    # takes seconds to start, has run a task.
    with SynapseEmulator(time_scale=0.05) as emulator:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", emulator.airflow_connection("etl"))
        yield emulator
