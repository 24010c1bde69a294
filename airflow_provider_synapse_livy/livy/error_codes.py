"""
What to do about the errors that Synapse reports of what it accepted and could not run, by their codes.

The codes are open text. They choose words here, and decide nothing.

Sources: recordings of the live service, and the codes that Microsoft's own notebook client (azureml-synapse) knows.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["error_code_fix"]

_CAPACITY = "ask for fewer executors, end what idles, or have the vCore quota raised."

_FIXES = {
    "AVAILABLE_COMPUTE_CAPACITY_EXCEEDED": _CAPACITY,
    "AVAILABLE_WORKSPACE_CAPACITY_EXCEEDED": _CAPACITY,
    "MAXIMUM_WORKSPACE_CAPACITY_EXCEEDED": _CAPACITY,
    "CLUSTER_CREATION_TIMED_OUT": "try again: Azure had no nodes in time. If it lasts, use smaller ones.",
    "MAX_QUEUED_JOBS_PER_COMPUTE_EXCEEDED": "end what is queued or idles in the pool, where 200 may queue.",
    "LIBRARY_MANAGEMENT_FAILED": "check the packages of the pool and the session.",
    "UNABLE_TO_REGISTER_JOB_WITH_TOKEN_PROVIDER": "try again: the session could not sign in, which passes.",
}


def error_code_fix(codes: Iterable[object]) -> str | None:
    """
    Return what to do about the first error that a remedy is known for.

    :param codes: the codes of the errors, in the service's order.
    """
    return next((_FIXES[code] for code in codes if isinstance(code, str) and code in _FIXES), None)
