"""
A local Synapse: the Spark sessions of a workspace, and the Microsoft Entra ID that guards it.

It answers as recordings of the live service do, and ages its sessions in the service's proportions, as fast as
one likes. ``python -m airflow_provider_synapse_livy.emulator --help`` runs it as a server of its own;
:class:`SynapseEmulator` runs it inside a test.
"""

from __future__ import annotations

from airflow_provider_synapse_livy.emulator.local import SynapseEmulator
from airflow_provider_synapse_livy.emulator.scenarios import SCENARIOS

__all__ = ["SCENARIOS", "SynapseEmulator"]
