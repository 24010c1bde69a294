"""The kinds of code that a session runs, which are its languages."""

from __future__ import annotations

from typing import Any

from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError, error_message
from airflow_provider_synapse_livy.livy.responses import one_line

__all__ = ["KINDS", "livy_kind"]

#: The kinds in Synapse's specification, one more that Microsoft's clients send, and one more of Livy.
KINDS = ("pyspark", "spark", "sql", "dotnetspark", "csharp", "sparkr")

#: What else Livy takes for one of them.
_OTHER_NAMES = {"python": "pyspark", "scala": "spark", "r": "sparkr"}


def livy_kind(kind: Any) -> str:
    """
    Return a kind as Livy spells it; one that is not known here may be known to the service.

    :param kind: what was given, or rendered.
    :raises SynapseLivyConfigurationError: if it is empty, or no text.
    """
    given = kind.strip() if isinstance(kind, str) else ""
    if not given:
        event = f"kind={one_line(repr(kind), 60)} is no kind of code."
        raise SynapseLivyConfigurationError(error_message(event, f"use one of {', '.join(KINDS)}; spark is Scala."))
    name = given.lower()
    return _OTHER_NAMES.get(name, name if name in KINDS else given)
