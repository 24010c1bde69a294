"""What each HTTP status of the Livy API means: which error, what to do, whether the request may have been processed."""

from __future__ import annotations

from typing import NamedTuple

from airflow_provider_synapse_livy.livy.errors import (
    SynapseLivyAuthenticationError,
    SynapseLivyError,
    SynapseLivyPermissionError,
    SynapseLivyResponseError,
    SynapseLivyUnavailableError,
)

__all__ = ["FIREWALL_CODE", "UNDOCUMENTED_FIX", "StatusRule", "refusal_fix", "status_rule"]


class StatusRule(NamedTuple):
    """
    What a status means. :class:`SynapseLivyUnavailableError` is what may pass, all else lasts.

    :param error: the error to raise; None for the not-found error of what was asked for.
    :param fix: what to do about it.
    :param may_have_been_processed: whether the service may have done what the request asked for.
    """

    error: type[SynapseLivyError] | None
    fix: str
    may_have_been_processed: bool = False


#: The remedy for a response that can't be from Synapse.
UNDOCUMENTED_FIX = "check the host and any proxy in between: the response does not look like Synapse's."

_STATUS_RULES: dict[int, StatusRule] = {
    400: StatusRule(SynapseLivyResponseError, "check livy_api_version and spark_pool_name."),
    401: StatusRule(
        SynapseLivyAuthenticationError,
        "check the identity's tenant and cloud, or the age of a ready-made token. A renewed token was refused too.",
    ),
    403: StatusRule(
        SynapseLivyPermissionError,
        'give the identity the role "Synapse Compute Operator" (Synapse Studio > Manage > Access control).',
    ),
    404: StatusRule(None, "check the id, and that the pool exists (Synapse Studio > Manage > Apache Spark pools)."),
    408: StatusRule(SynapseLivyUnavailableError, "if this persists, check Azure's status page for Synapse.", True),
    # To Azure, 409 and 423 mean that something else is at work on the resource, which ends.
    409: StatusRule(
        SynapseLivyUnavailableError, "if this persists, find out what changes the pool or workspace.", True
    ),
    423: StatusRule(SynapseLivyUnavailableError, "if this persists, find out who locked the pool or workspace.", True),
    429: StatusRule(
        SynapseLivyUnavailableError,
        "use longer intervals, or fewer tasks at once: the workspace gets too many requests.",
    ),
    # Not in any standard: the Livy API of Microsoft Fabric says so that Spark is asked for too much, or too often
    # (https://learn.microsoft.com/fabric/data-engineering/spark-job-concurrency-and-queueing).
    430: StatusRule(SynapseLivyUnavailableError, "use fewer or smaller sessions: Spark's limits are reached."),
}
_SERVER_ERROR = _STATUS_RULES[408]
_UNKNOWN = StatusRule(SynapseLivyResponseError, UNDOCUMENTED_FIX, True)

#: The one 403 that has nothing to do with roles.
FIREWALL_CODE = "ClientIpAddressNotAuthorized"
_FIREWALL = StatusRule(
    SynapseLivyPermissionError,
    "allow this address in the workspace's firewall (Azure portal > the workspace > Networking). It takes a minute.",
)


#: What to do about refusals whose status does not say enough, by a piece of the service's own words.
_REFUSAL_FIXES = {
    "spark compute not found": (
        "check spark_pool_name: the workspace has no such pool (Synapse Studio > Manage > Apache Spark pools)."
    ),
    "vcore": "ask for fewer or smaller executors, end sessions that idle, or have the workspace's vCore quota raised.",
    "when the compute has a capacity": "ask for fewer or smaller executors, or let the pool have more nodes.",
    "invalid kind": "use one of pyspark, spark (Scala), sql, dotnetspark, csharp, sparkr as kind.",
    "is not running": "wait until the session is idle, or create another: this one takes no code.",
}


def refusal_fix(words: str) -> str | None:
    """
    Return what to do about a refusal that the service explains; None where its status says it all.

    :param words: the service's own words.
    """
    return next((fix for piece, fix in _REFUSAL_FIXES.items() if piece in words.lower()), None)


def status_rule(status: int, code: str | None, words: str = "") -> StatusRule:
    """
    Return what a status other than 200 means.

    :param status: the HTTP status.
    :param code: the service's error code, if it gave one.
    :param words: the service's own words.
    """
    if code == FIREWALL_CODE:
        return _FIREWALL
    if status == 500 and "IllegalArgumentException: Invalid kind" in words:
        return _STATUS_RULES[400]
    return _STATUS_RULES.get(status, _SERVER_ERROR if status >= 500 else _UNKNOWN)
