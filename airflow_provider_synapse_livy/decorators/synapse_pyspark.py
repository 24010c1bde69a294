"""
``@task.synapse_pyspark(session_id=...)``: the function runs in a Spark session of Azure Synapse.

.. code-block:: python

    @task.synapse_pyspark(session_id=create.output)
    def count(day):
        return spark.table("orders").where(f"day = '{day}'").count()

    count("{{ ds }}")

The function's source is sent, its arguments as JSON, and its result comes back as JSON. It has the session's ``spark``
and ``sc``, imports what it needs itself, and can use nothing else of the DAG's file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_synapse_livy.airflow_compat.sdk import (
    KNOWN_CONTEXT_KEYS,
    DecoratedOperator,
    task_decorator_factory,
)
from airflow_provider_synapse_livy.exceptions import SparkStatementLostError
from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError, error_message
from airflow_provider_synapse_livy.livy.remote_function import call_code, printed_by, result_of
from airflow_provider_synapse_livy.operators.spark_statement import SynapseRunSparkStatementOperator

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import Context, TaskDecorator
    from airflow_provider_synapse_livy.livy.responses import Snapshot
    from airflow_provider_synapse_livy.models import SparkStatement

__all__ = ["synapse_pyspark_task"]


class _SynapsePysparkOperator(DecoratedOperator, SynapseRunSparkStatementOperator):
    """
    Run a function in a Livy Spark session of Azure Synapse, and return its result.

    :param python_callable: the function.
    :param op_args: its arguments (templated).
    :param op_kwargs: its arguments by their names (templated).
    :param kwargs: the other parameters are those of ``SynapseRunSparkStatementOperator``, but for ``code`` and
        ``kind``; its ``output_limit`` is how many characters the JSON of the result may have.
    :raises SynapseLivyConfigurationError: if the function or its arguments can't be sent, or if there is a ``kind``.
    :raises SparkStatementLostError: if the function has run, but its result is not there.
    """

    custom_operator_name = "@task.synapse_pyspark"
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(name for name in SynapseRunSparkStatementOperator.template_fields if name not in ("code", "kind")),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"op_args": "py", "op_kwargs": "py"}
    #: An argument that looks like the name of a file is just that.
    template_ext: Sequence[str] = ()

    def __init__(self, *, python_callable: Callable[..., Any], **kwargs: Any) -> None:
        for name in kwargs.keys() & {"code", "kind"}:
            fix = f"leave it out; {SynapseRunSparkStatementOperator.__name__} takes code of every kind."
            raise SynapseLivyConfigurationError(error_message(f"@task.synapse_pyspark takes no {name}.", fix))
        super().__init__(python_callable=python_callable, code="", kind="pyspark", **kwargs)

    def execute(self, context: Context) -> Any:
        """
        Run the function, and return its result.

        Airflow's decorator would do more: it looks for assets in arguments and result, which are JSON here. On Airflow
        3.0 it breaks off, since only Airflow's own operators have the ``xcom_push`` that it asks for.

        :param context: Airflow's context of the task.
        """
        return SynapseRunSparkStatementOperator.execute(self, context)

    def _body(self, context: Context) -> dict[str, Any]:
        self.code = call_code(
            self.python_callable,
            list(self.op_args),
            self.op_kwargs,
            self.output_limit,
            context_keys=KNOWN_CONTEXT_KEYS,
        )
        return super()._body(context)

    def _printed(self, record: SparkStatement) -> str:
        return printed_by(record.text)

    def _fields(self, record: Any) -> Any:
        """Return the function's result, which is the task's; None if it is lost, and nobody gets it anyway."""
        if record.code is None and not self.do_xcom_push:
            return None
        try:
            return result_of(record.text)
        except ValueError:
            event = f"{self._subject} has run, but its output has no result of {self.python_callable.__name__}()."
            fix = "check what the function has written before you run it again."
            raise SparkStatementLostError(error_message(event, fix), record=record) from None

    def _push_record(self, context: Context, snapshot: Snapshot[Any] | None) -> None:
        """Push nothing: a function that has failed has no result."""


def synapse_pyspark_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> TaskDecorator:
    """
    Make a task of a function, which runs it in a Spark session of Azure Synapse.

    :param python_callable: the function.
    :param multiple_outputs: whether each item of a dict that it returns is an XCom of its own.
    :param kwargs: ``session_id``, and the other parameters of ``SynapseRunSparkStatementOperator``.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=_SynapsePysparkOperator,
        **kwargs,
    )
