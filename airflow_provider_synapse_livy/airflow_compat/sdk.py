"""
The names that the supported versions of Airflow have in different places, without their deprecation warnings.

Airflow's own collection of this, ``apache-airflow-providers-common-compat``, will not do: constraints pin the one that
an Airflow was released with, which lacks half of what is here (1.7.3 with 3.0.6 has no ``sdk`` at all, and the
asynchronous reading of a connection is complete from 1.21.0 on).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.triggers.base import BaseTrigger, StartTriggerArgs, TriggerEvent

try:  # Airflow 3 has an interface for those who write DAGs and providers.
    from airflow.sdk import BaseOperator, BaseOperatorLink, BaseSensorOperator, PokeReturnValue
    from airflow.sdk.execution_time.xcom import XCom
except ImportError:
    from airflow.models.baseoperator import BaseOperator  # type: ignore[import-not-found,no-redef]
    from airflow.models.baseoperatorlink import BaseOperatorLink  # type: ignore[import-not-found,no-redef]
    from airflow.models.xcom import XCom  # type: ignore[no-redef]
    from airflow.sensors.base import BaseSensorOperator, PokeReturnValue  # type: ignore[no-redef]

try:
    from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory
except ImportError:
    from airflow.decorators.base import (  # type: ignore[import-not-found,no-redef]
        DecoratedOperator,
        TaskDecorator,
        task_decorator_factory,
    )

try:  # Airflow 3.1 moved it there.
    from airflow.sdk.definitions.context import KNOWN_CONTEXT_KEYS
except ImportError:
    from airflow.utils.context import KNOWN_CONTEXT_KEYS  # type: ignore[attr-defined,no-redef]

try:  # Airflow 3.1 moved it there, and warns about the old place.
    from airflow.sdk import BaseHook
except ImportError:
    from airflow.hooks.base import BaseHook  # type: ignore[attr-defined,no-redef]

try:  # Airflow 3.2 gave tasks a configuration of their own, which loads less.
    from airflow.sdk.configuration import conf
except ImportError:
    from airflow.configuration import conf

try:  # Airflow 3.2 moved them there, and warns about the old place.
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowRescheduleException,
        AirflowSensorTimeout,
        AirflowSkipException,
        TaskDeferralError,
        TaskDeferred,
    )
except ImportError:
    from airflow.exceptions import (  # type: ignore[attr-defined,no-redef]
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowRescheduleException,
        AirflowSensorTimeout,
        AirflowSkipException,
        TaskDeferralError,
        TaskDeferred,
    )

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import TaskInstanceKey

__all__ = [
    "KNOWN_CONTEXT_KEYS",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "BaseTrigger",
    "DecoratedOperator",
    "PokeReturnValue",
    "StartTriggerArgs",
    "TaskDecorator",
    "TaskDeferralError",
    "TaskDeferred",
    "TriggerEvent",
    "XCom",
    "conf",
    "task_decorator_factory",
]

if TYPE_CHECKING:
    __all__ += ["Context", "TaskInstanceKey"]
