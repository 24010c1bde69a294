"""Which of Spark's settings look like secrets, so that they stay out of XCom, logs and the UI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["masked", "secrets_in", "without_secrets"]

_MASK = "***"

#: As Spark's own spark.redaction.regex and Airflow's own list, and what storage accounts and OpenLineage's transports
#: call theirs.
_SECRET_NAME = re.compile(
    r"secret|passw|passphrase|\bpwd\b|token|credential|signature|authoriz|service.?account|keyfile"
    r"|(api|access|account|private).?key|connection.?string|\bsas\b",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(r"(AccountKey|SharedAccessSignature|SharedAccessKey|password|pwd|sig)\s*=", re.IGNORECASE)


def secrets_in(settings: Mapping[str, Any] | None) -> Iterator[str]:
    """
    Return the values of settings that look like secrets, by their name or by what is in them.

    :param settings: Spark's settings.
    """
    for name, value in (settings or {}).items():
        if value not in (None, "") and (_SECRET_NAME.search(str(name)) or _SECRET_VALUE.search(str(value))):
            yield str(value)


def masked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return settings with the values masked that look like secrets.

    :param settings: Spark's settings.
    """
    hidden = set(secrets_in(settings))
    return {name: _MASK if str(value) in hidden else value for name, value in settings.items()}


def without_secrets(record: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return a record's dict with the secrets masked in the settings that it repeats from its creation.

    :param record: the dict, under the documented names.
    """
    livy = record.get("livyInfo")
    request = livy.get("jobCreationRequest") if isinstance(livy, Mapping) else None
    settings = request.get("conf") if isinstance(request, Mapping) else None
    if not (isinstance(livy, Mapping) and isinstance(request, Mapping) and isinstance(settings, Mapping)):
        return dict(record)
    return {**record, "livyInfo": {**livy, "jobCreationRequest": {**request, "conf": masked(settings)}}}
