"""A task that runs code in the session 0 of the connection's pool, and what becomes of the code."""

from __future__ import annotations

from typing import Any

from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.operators.spark_statement import SynapseRunSparkStatementOperator


def operator(**options: Any) -> SynapseRunSparkStatementOperator:
    """Return the operator."""
    given = {"session_id": 0, "code": "df.count()", "poll_interval": 0.1, **options}
    return SynapseRunSparkStatementOperator(task_id="run", **given)


def states(synapse: SynapseEmulator) -> list[str]:
    """Return the states of the session's statements."""
    return [statement["state"] for statement in synapse.statements("etl", 0)]
