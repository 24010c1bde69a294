"""
What Spark sessions and batch jobs are created with, checked before any request.

Sources: `Spark Session - Create Spark Session
<https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/create-spark-session>`__, `Spark Batch - Create
Spark Batch Job <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-batch/create-spark-batch-job>`__
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError, error_message

__all__ = ["SparkBatchJobOptions", "SparkJobOptions", "SparkSessionOptions"]

#: How long a request may be, in bytes: Azure's documented limit.
_MAX_BYTES = 100_000


def _as_text(value: Any) -> Any:
    """Return a setting as Spark writes it. The service takes text alone, and people write 4 and True."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _as_list(value: Any) -> Any:
    """Return a list of the one text that may stand for it; not of a list that was rendered as text."""
    if isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]"):
        raise PydanticCustomError(_LIST_AS_TEXT, "a list as text")
    return [value] if isinstance(value, str) else value


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


Stripped = BeforeValidator(_stripped)
Memory = Annotated[str, Stripped, StringConstraints(pattern=r"^[1-9][0-9]{0,5}[kKmMgGtT][bB]?$")]
Count = Annotated[int, Stripped, Field(ge=1, le=10_000)]
Settings = dict[str, Annotated[str, BeforeValidator(_as_text)]]
Text = Annotated[str, Stripped]
Paths = Annotated[tuple[Text, ...], BeforeValidator(_as_list)]
Name = Annotated[str, Stripped, AfterValidator(str), StringConstraints(min_length=1, max_length=200)]
File = Annotated[str, Stripped, StringConstraints(min_length=1)]
Texts = Annotated[tuple[Annotated[str, BeforeValidator(_as_text)], ...], BeforeValidator(_as_list)]

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
    "file": "pass the address of the jar or the .py file, such as abfss://container@account.dfs.core.windows.net/job.py.",
    "class_name": "pass the name of the jar's main class.",
    "args": "pass a list of texts, such as ['--day', '2025-03-01'].",
}
_LIST_AS_TEXT = "list_as_text"
_LIST_AS_TEXT_FIX = "this is a list as text: pass a list, or set render_template_as_native_obj; ['[...]'] for a text."
_LIST_FIX = "pass a list of texts, such as ['abfss://container@account.dfs.core.windows.net/file']."


class SparkJobOptions(BaseModel):
    """
    What a Spark session or a batch job is created with.

    The service has no documented default for the sizes, so all five are asked for.

    :param name: its name; need not be unique.
    :param driver_memory: the driver's memory, such as ``28g``.
    :param driver_cores: the driver's cores.
    :param executor_memory: the memory of each executor, such as ``28g``.
    :param executor_cores: the cores of each executor.
    :param num_executors: how many executors.
    :param conf: Spark's settings; numbers and booleans become text.
    :param tags: its tags.
    :param jars: the addresses of jar files.
    :param py_files: the addresses of Python files.
    :param files: the addresses of other files.
    :param archives: the addresses of archives.
    :param artifact_id: the Synapse artifact that it belongs to.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    #: What is created with them, in messages.
    noun: ClassVar[str] = "session"

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
    artifact_id: Text | None = None

    @classmethod
    def validated(cls, **options: Any) -> Self:
        """
        Return the options that a task was given.

        :param options: the parameters of this class; those that are None, or optional and empty, are left out.
        :raises SynapseLivyConfigurationError: if one is wrong; its message does not repeat a value of ``conf``.
        """
        try:
            return cls(**{name: value for name, value in options.items() if not cls._is_left_out(name, value)})
        except ValidationError as error:
            raise cls._configuration_error(error) from None

    @classmethod
    def _is_left_out(cls, name: str, value: Any) -> bool:
        field = cls.model_fields.get(name)
        is_empty = isinstance(value, str) and not value.strip()
        return value is None or (is_empty and field is not None and not field.is_required())

    def to_body(self) -> dict[str, Any]:
        """
        Return the body of the request, under the documented names.

        :raises SynapseLivyConfigurationError: if it is longer than the service takes.
        """
        body = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        if (size := len(json.dumps(body).encode())) > _MAX_BYTES:
            event = (
                f"The {self.noun} {self.name[:50]!r}: its options have {size} bytes; the service takes {_MAX_BYTES}."
            )
            raise SynapseLivyConfigurationError(error_message(event, "put files in storage, and pass their addresses."))
        return body

    @classmethod
    def _configuration_error(cls, error: ValidationError) -> SynapseLivyConfigurationError:
        """Return the error for the first wrong option, without values of ``conf`` and ``args``: they may be secrets."""
        first = error.errors()[0]
        name = cls._parameter(first["loc"])
        if first["type"] == "missing":
            event, fix = f"{name} is missing.", _FIXES.get(name, _LIST_FIX)
        elif first["type"] == "extra_forbidden":
            event = f"{name} is no option of a {cls.noun}."
            fix = f"correct its name, or leave it out: the documentation of {cls.__name__} has those there are."
        else:
            where = f"['{str(first['loc'][1])[:60]}']" if name in ("conf", "tags") and len(first["loc"]) > 1 else ""
            given = "" if name in ("conf", "args") else f"={repr(first['input'])[:60]}"
            event, fix = f"{name}{where}{given} is invalid.", _FIXES.get(name, _LIST_FIX)
            if first["type"] == _LIST_AS_TEXT:
                fix = _LIST_AS_TEXT_FIX
        return SynapseLivyConfigurationError(error_message(event, fix))

    @classmethod
    def _parameter(cls, location: tuple[int | str, ...]) -> str:
        """Return the name of the parameter that an error is about: the service's own name leads to it as well."""
        first = str(location[0])
        by_alias = {to_camel(name): name for name in cls.model_fields}
        return by_alias.get(first, first)


class SparkSessionOptions(SparkJobOptions):
    """What a Spark session is created with."""


class SparkBatchJobOptions(SparkJobOptions):
    """
    What a Spark batch job is created with; the other parameters are those of :class:`SparkJobOptions`.

    :param file: the address of the program: a jar, or a ``.py`` file.
    :param class_name: the jar's main class.
    :param args: the program's arguments; numbers and booleans become text.
    """

    noun: ClassVar[str] = "batch job"

    file: File
    class_name: Text | None = None
    args: Texts | None = None
