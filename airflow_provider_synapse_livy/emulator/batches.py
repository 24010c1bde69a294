"""
The emulated batch jobs: what in their records differs from a session's, and their scenarios.

The durations are those of a recording of the live service from 2021, the failure is one of 2019. That a job which is
cancelled while it runs ends as ``killed`` is deduced from sessions; no recording has it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from airflow_provider_synapse_livy.emulator.scenarios import (
    APPLICATION,
    DEATHS,
    NOW,
    SCENARIOS,
    Scenario,
    Transition,
    cancellation_transitions,
    end_transitions,
    livy_change,
    queue_transitions,
)
from airflow_provider_synapse_livy.emulator.sessions import EmulatedSession

__all__ = ["BATCH_SCENARIOS", "DEFAULT_BATCH_SCENARIO", "EmulatedBatch"]

#: From the creation of a job until it is scheduled.
_QUEUE_SECONDS = 6.3
#: From the start of the resource acquisition to its end.
_ACQUISITION_SECONDS = 2.1
#: From the submission to Livy until the program runs, and from then on until it has ended.
_STARTUP_SECONDS = 24.7
_RUN_SECONDS = 24.2
#: From Livy's final state to the final result.
_RESULT_SECONDS = 1.3

_SUBMITTED_LOG = ["stdout: ", "\nstderr: ", "\nYARN Diagnostics: "]
_FAILED_LOG = [
    "\tat org.apache.spark.deploy.SparkSubmit.main(SparkSubmit.scala)",
    "26/01/01 00:00:00 INFO ShutdownHookManager: Shutdown hook called",
    "\nstderr: ",
    "\nYARN Diagnostics: ",
    "No YARN application is found with tag livy-batch-0-7v8dgkxr in 300 seconds.",
]
_FAILED_ERROR = ("Dependency", "LIVY_JOB_FAILED", "Livy Id=[0]  Job failed during run time with state=[dead].")


class EmulatedBatch(EmulatedSession):
    """One batch job: its record is that of a session, with another ``livyInfo``, and without Livy's own sources."""

    noun: ClassVar[str] = "batch job"
    job_type: ClassVar[str] = "SparkBatch"
    livy_stamps: ClassVar[tuple[str, ...]] = (
        "notStarted", "starting", "running", "dead", "success", "killed", "recovering"
    )  # fmt: skip
    stamped_states: ClassVar[tuple[str, ...]] = ("starting", "running", "dead", "success")
    deaths: ClassVar[Mapping[str, tuple[str, str, str]]] = DEATHS | {"dead": _FAILED_ERROR}
    basic_fields: ClassVar[tuple[str, ...]] = ("id", "appId", "appInfo", "state", "log")
    result_seconds: ClassVar[float] = _RESULT_SECONDS

    def startup(self) -> Iterable[Transition]:
        """Return how its Spark application starts."""
        return _start_transitions()

    def _initial_record(self) -> dict[str, Any]:
        return {name: value for name, value in super()._initial_record().items() if name != "registeredSources"}

    def _application(self) -> dict[str, Any]:
        application = {name: value for name, value in super()._application().items() if name != "registeredSources"}
        return application | {"log": _SUBMITTED_LOG}


def _start_transitions() -> Iterator[Transition]:
    """Yield the transitions from creation until the program runs."""
    yield from queue_transitions(_QUEUE_SECONDS)
    submitted = _QUEUE_SECONDS + 4.0 + _ACQUISITION_SECONDS
    yield Transition(submitted, {"pluginInfo": {"currentState": "Submission", "submissionStartedAt": NOW}})
    # There is no application yet, and the links to it are there all the same, without values.
    no_links = {"appInfo": {"driverLogUrl": None, "sparkUiUrl": None, "isSessionTimedOut": None}}
    yield Transition(submitted + 0.1, livy_change("starting", "startingAt") | no_links | {"log": _SUBMITTED_LOG})
    yield Transition(submitted + 0.2, {"pluginInfo": {"currentState": "Monitoring", "monitoringStartedAt": NOW}})
    running = submitted + _STARTUP_SECONDS
    yield Transition(running, livy_change("running", "runningAt") | {"application": APPLICATION})


_RUNNING_AT = _QUEUE_SECONDS + 4.0 + _ACQUISITION_SECONDS + _STARTUP_SECONDS

_SUCCEEDS = (
    *_start_transitions(),
    Transition(_RUNNING_AT + _RUN_SECONDS, {"livyInfo": {"successAt": NOW}}),
    *end_transitions(_RUNNING_AT + _RUN_SECONDS, "success", "Succeeded", result_seconds=_RESULT_SECONDS),
)

DEFAULT_BATCH_SCENARIO = "succeeds"

#: All scenarios of batch jobs by name.
BATCH_SCENARIOS: dict[str, Scenario] = {
    DEFAULT_BATCH_SCENARIO: Scenario("runs within 40 s, and has succeeded 25 s later", _SUCCEEDS),
    "fails": Scenario(
        "runs within 40 s, and is dead 30 s later; the log's last line says why",
        (
            *_start_transitions(),
            Transition(_RUNNING_AT + 30.0, {"log": _FAILED_LOG}),
            *end_transitions(_RUNNING_AT + 30.0, "dead", "Failed", error=_FAILED_ERROR, result_seconds=_RESULT_SECONDS),
        ),
    ),
    "runs_on": Scenario("runs within 40 s, and on until it is cancelled", tuple(_start_transitions())),
    "cancelled_while_running": Scenario(
        "runs within 40 s, and is cancelled 10 s later: killed/Cancelled",
        (
            *_start_transitions(),
            *cancellation_transitions(
                _RUNNING_AT + 10.0, started=True, result_seconds=_RESULT_SECONDS, shuts_down=False
            ),
        ),
    ),
    "never_closed": Scenario(
        "ends as success, and its result never comes",
        (*_start_transitions(), Transition(_RUNNING_AT + _RUN_SECONDS, livy_change("success", "successAt"))),
    ),
    "flaky": Scenario("succeeds; every other GET fails (503/429/500/reset)", _SUCCEEDS, flaky=True),
    **{
        name: dataclasses.replace(SCENARIOS[name], idle_timeout=None, real_idle_timeout=None)
        for name in ("fails_to_start", "capacity_exceeded", "cluster_times_out", "cancelled_while_queued")
    },
    "refuses_to_end": Scenario("runs within 40 s; no DELETE ends it", tuple(_start_transitions()), refuses_to_end=True),
}
