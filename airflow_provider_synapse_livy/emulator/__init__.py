"""
A local Azure Synapse workspace and its Microsoft Entra ID, for testing and trying out DAGs.

It answers the Livy API for Spark sessions, their statements, and batch jobs with the same status codes, headers and
bodies as recordings of the live service. Run it as a server with ``python -m airflow_provider_synapse_livy.emulator``
(see ``--help``), or inside a test with :class:`SynapseEmulator` or the pytest fixture ``synapse_livy_emulator``.

- ``local``: runs the emulator in a thread, for tests; ``__main__``: runs it as a command.
- ``server``: the HTTP routes, the checks before them and the rate limit.
- ``creation``: the checks of the request that creates a session.
- ``errors``: what the service answers to a request that it refuses; ``faults``: what goes wrong on the way.
- ``sessions``: the sessions by Spark pool, and the JSON record of a session at a given time.
- ``batches``: what batch jobs have of their own, and what happens to them.
- ``scenarios``: what happens to a session, and when; ``statements``: the statements that run in it.
- ``spark``: a real Spark that runs statements; ``clock``: the time, which a test may put forward.
- ``entra``: issues and checks tokens; ``tls``: the certificate for https.

Terms: a *scenario* is the list of *transitions* that a session goes through; a *transition* changes fields of the
record at a given time; *emulated seconds* are the seconds of the live service, and ``time_scale`` says how many real
seconds each one lasts; an *injected fault* is an HTTP status, or a closed connection, that a test asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.emulator.batches import BATCH_SCENARIOS
    from airflow_provider_synapse_livy.emulator.local import SynapseEmulator
    from airflow_provider_synapse_livy.emulator.scenarios import (
        NOW,
        SCENARIOS,
        Scenario,
        Transition,
        end_transitions,
        livy_change,
        startup_transitions,
    )

__all__ = [
    "BATCH_SCENARIOS",
    "NOW",
    "SCENARIOS",
    "Scenario",
    "SynapseEmulator",
    "Transition",
    "end_transitions",
    "livy_change",
    "startup_transitions",
]


def __getattr__(name: str) -> Any:
    """Import what is public when it is used: Spark's interpreters, which are in this folder too, need no web server."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = {"SynapseEmulator": "local", "BATCH_SCENARIOS": "batches"}.get(name, "scenarios")
    return getattr(import_module(f"{__name__}.{module}"), name)
