"""The kinds of code that a session runs, which are its languages."""

from __future__ import annotations

from typing import Any

from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError, error_message
from airflow_provider_synapse_livy.livy.responses import one_line

__all__ = ["KINDS", "validated_kind"]

#: The kinds in Synapse's specification, one more that Microsoft's clients send, and one more of Livy.
KINDS = ("pyspark", "spark", "sql", "dotnetspark", "csharp", "sparkr")


def validated_kind(kind: Any) -> str:
    """
    Return a kind as Livy spells it, which answers 500 to all others.

    :param kind: what was given, or rendered.
    :raises SynapseLivyConfigurationError: if it is none.
    """
    name = str(kind).strip().lower()
    if name in KINDS:
        return name
    event = f"kind={one_line(repr(kind), 60)} is no kind of code."
    raise SynapseLivyConfigurationError(error_message(event, f"use one of {', '.join(KINDS)}; spark is Scala."))
