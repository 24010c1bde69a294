"""
Runs a sensor in each of its modes, as Airflow does, but within the test.

What Airflow does in between is done here, with everything written as JSON and read again: it runs the trigger of a
deferred task and resumes the task with the event, and runs a rescheduled task again. Other tests use real schedulers
and triggerers.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from airflow_provider_synapse_livy.airflow_compat.sdk import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor
from airflow_provider_synapse_livy.triggers.spark_session import SynapseSparkSessionTrigger

MODES = ("poke", "reschedule", "deferrable", "start_from_trigger")


class TaskInstance:
    """What the sensor uses of Airflow's task instance."""

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}
        self.first_reschedule: datetime | None = None
        self.try_number = 1
        self.max_tries = 0
        self.task = SimpleNamespace(retries=0)

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep an XCom, which must be JSON."""
        self.xcoms[key] = json.loads(json.dumps(value, allow_nan=False))

    def get_first_reschedule_date(self, context: Any) -> datetime | None:
        """Return when the task ran first, if it was rescheduled since."""
        return self.first_reschedule


@dataclass
class TaskStateStore:
    """Airflow 3.3's memory of a task."""

    values: dict[str, Any] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        """Return a value."""
        return self.values.get(key)

    def set(self, key: str, value: Any) -> None:
        """Keep a value, which must be JSON."""
        self.values[key] = json.loads(json.dumps(value))


@dataclass
class Outcome:
    """
    How a task ended.

    :param state: what Airflow makes of it: success, skipped, failed (at once), or up_for_retry (if there are retries).
    :param returned: what is in XCom.
    :param error: what was raised.
    :param departures: how often the task left the worker.
    """

    state: str
    returned: Any
    error: BaseException | None = None
    departures: int = 0


def make_sensor(mode: str, **options: Any) -> SynapseSparkSessionSensor:
    """Return a sensor for a mode."""
    kwargs: dict[str, Any] = {"task_id": "wait", "session_id": 12, "poke_interval": 0.01, "timeout": 30, **options}
    if mode in ("deferrable", "start_from_trigger"):
        return SynapseSparkSessionSensor(**{mode: True}, **kwargs)
    return SynapseSparkSessionSensor(mode=mode, **kwargs)


def run(mode: str, *, run_loop: Callable[[Any], Any] = asyncio.run, **options: Any) -> Outcome:
    """
    Run a sensor to its end, and return how it ended.

    :param mode: the mode.
    :param run_loop: runs a coroutine on the event loop of the triggerer.
    :param options: the sensor's parameters.
    """
    task_instance = TaskInstance()
    context: Any = {"ti": task_instance, "task_state_store": TaskStateStore()}
    outcome = Outcome("running", None)
    try:
        returned = _run(lambda: make_sensor(mode, **options), context, outcome, run_loop)
        task_instance.xcom_push("return_value", returned)
        outcome.state = "success"
    except AirflowSkipException as error:
        outcome.state, outcome.error = "skipped", error
    except (AirflowFailException, AirflowSensorTimeout) as error:
        outcome.state, outcome.error = "failed", error
    except Exception as error:  # the others are what Airflow would retry
        outcome.state, outcome.error = "up_for_retry", error
    outcome.returned = task_instance.xcoms.get("return_value")
    return outcome


def _run(make: Any, context: Any, outcome: Outcome, run_loop: Any) -> Any:
    began = datetime.now(UTC)
    sensor = make()
    if sensor.start_from_trigger:  # the scheduler sends it to the triggerer, and no worker polls before
        outcome.departures += 1
        start = sensor.start_trigger_args
        event = _run_trigger(run_loop, start.trigger_cls, start.trigger_kwargs, sensor, began + start.timeout)
        return make().resume_execution(start.next_method, {"event": event}, context)
    while True:
        try:
            return make().execute(context)
        except TaskDeferred as deferral:
            outcome.departures += 1
            event = _run_trigger(run_loop, *deferral.trigger.serialize())
            return make().resume_execution(deferral.method_name, {"event": event}, context)
        except AirflowRescheduleException as again:
            outcome.departures += 1
            context["ti"].first_reschedule = began
            time.sleep(max(0.0, (again.reschedule_date - datetime.now(UTC)).total_seconds()))


def started_trigger(kwargs: dict[str, Any], task: Any, timeout_after: datetime, try_number: int = 1) -> Any:
    """Return the trigger of a task that starts in the triggerer, made as Airflow 3.3 makes it."""
    trigger = SynapseSparkSessionTrigger(**json.loads(json.dumps(kwargs)))
    trigger.task_instance = SimpleNamespace(task_id="wait", try_number=try_number, task=task)
    trigger.timeout_after = timeout_after
    trigger.render_template_fields({"params": {"id": 12}})
    return trigger


def _run_trigger(
    run_loop: Any, path: str, kwargs: dict[str, Any], task: Any = None, timeout_after: datetime | None = None
) -> Any:
    """Run a trigger from what the metadata database keeps of it, and return its one event."""
    assert path == "airflow_provider_synapse_livy.triggers.spark_session.SynapseSparkSessionTrigger"

    async def events() -> list[Any]:
        if task:
            trigger = started_trigger(kwargs, task, timeout_after)
        else:
            trigger = SynapseSparkSessionTrigger(**json.loads(json.dumps(kwargs)))
        return [event async for event in trigger.run()]

    (event,) = run_loop(events())
    return json.loads(json.dumps(event.payload))
