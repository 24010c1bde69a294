"""
What a Spark session is created with, checked before any request.

Source: `Spark Session - Create Spark Session
<https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/create-spark-session>`__
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError, error_message

__all__ = ["SparkSessionOptions"]

#: How long a request may be, in bytes: Azure's documented limit.
_MAX_BYTES = 100_000


def _as_text(value: Any) -> Any:
    """Return a setting as Spark writes it. The service takes text alone, and people write 4 and True."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


Stripped = BeforeValidator(_stripped)
Memory = Annotated[str, Stripped, StringConstraints(pattern=r"^[1-9][0-9]{0,5}[kKmMgGtT][bB]?$")]
Count = Annotated[int, Stripped, Field(ge=1, le=10_000)]
Settings = dict[str, Annotated[str, BeforeValidator(_as_text)]]
Paths = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
Name = Annotated[str, Stripped, AfterValidator(str), StringConstraints(min_length=1, max_length=200)]

#: What is wrong with a value, by the parameter; all others are described by what they have to be.
_FIXES = {
    "driver_memory": "write it like 28g.",
    "executor_memory": "write it like 28g.",
    "driver_cores": "pass a whole number from 1 up, such as 4.",
    "executor_cores": "pass a whole number from 1 up, such as 4.",
    "num_executors": "pass a whole number from 1 up, such as 2.",
    "conf": "pass a dict of texts, such as {'spark.sql.shuffle.partitions': '64'}.",
    "tags": "pass a dict of texts.",
    "name": "pass a text of 1 to 200 characters.",
    "artifact_id": "pass a text.",
}
_LIST_FIX = "pass a list of texts, such as ['abfss://container@account.dfs.core.windows.net/file']."


class SparkSessionOptions(BaseModel):
    """
    What a Spark session is created with.

    The service has no documented default for the sizes, so all five are asked for.

    :param name: the session's name; need not be unique.
    :param driver_memory: the driver's memory, such as ``28g``.
    :param driver_cores: the driver's cores.
    :param executor_memory: the memory of each executor, such as ``28g``.
    :param executor_cores: the cores of each executor.
    :param num_executors: how many executors.
    :param conf: Spark's settings; numbers and booleans become text.
    :param tags: tags of the session.
    :param jars: the addresses of jar files.
    :param py_files: the addresses of Python files.
    :param files: the addresses of other files.
    :param archives: the addresses of archives.
    :param artifact_id: the Synapse artifact that the session belongs to.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    name: Name
    driver_memory: Memory
    driver_cores: Count
    executor_memory: Memory
    executor_cores: Count
    num_executors: Count
    conf: Settings | None = Field(default=None, repr=False)
    tags: Settings | None = None
    jars: Paths | None = None
    py_files: Paths | None = None
    files: Paths | None = None
    archives: Paths | None = None
    artifact_id: str | None = None

    @classmethod
    def validated(cls, **options: Any) -> Self:
        """
        Return the options that a task was given.

        :param options: the parameters of this class; those that are None are left out.
        :raises SynapseLivyConfigurationError: if one is wrong; its message does not repeat a value of ``conf``.
        """
        try:
            return cls(**{name: value for name, value in options.items() if value is not None})
        except ValidationError as error:
            raise _configuration_error(error) from None

    def to_body(self) -> dict[str, Any]:
        """
        Return the body of the request, under the documented names.

        :raises SynapseLivyConfigurationError: if it is longer than the service takes.
        """
        body = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        if (size := len(json.dumps(body).encode())) > _MAX_BYTES:
            event = f"Session {self.name[:60]!r}: its options have {size} bytes, and the service takes {_MAX_BYTES}."
            raise SynapseLivyConfigurationError(error_message(event, "put files in storage, and pass their addresses."))
        return body


def _configuration_error(error: ValidationError) -> SynapseLivyConfigurationError:
    """Return the error for the first wrong option, without values of ``conf``, which may be secrets."""
    first = error.errors()[0]
    name = _parameter(first["loc"])
    if first["type"] == "missing":
        event, fix = f"{name} is missing.", _FIXES.get(name, _LIST_FIX)
    elif first["type"] == "extra_forbidden":
        event = f"{name} is no option of a session."
        fix = "correct its name, or leave it out: the documentation of SparkSessionOptions has those there are."
    else:
        where = f"['{str(first['loc'][1])[:60]}']" if name in ("conf", "tags") and len(first["loc"]) > 1 else ""
        given = "" if name == "conf" else f"={repr(first['input'])[:60]}"
        event, fix = f"{name}{where}{given} is invalid.", _FIXES.get(name, _LIST_FIX)
    return SynapseLivyConfigurationError(error_message(event, fix))


def _parameter(location: tuple[int | str, ...]) -> str:
    """Return the name of the parameter that an error is about: the service's own name leads to it as well."""
    first = str(location[0])
    by_alias = {to_camel(name): name for name in SparkSessionOptions.model_fields}
    return by_alias.get(first, first)
