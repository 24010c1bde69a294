"""What the sensor makes of its parameters when the DAG is parsed, before any request."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from airflow_provider_synapse_livy.airflow_compat import versions
from airflow_provider_synapse_livy.exceptions import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.sensors import base
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor

STARTS_FROM_TRIGGER = versions.STARTS_FROM_TRIGGER


def sensor(**options):
    """Return a sensor with some options."""
    return SynapseSparkSessionSensor(task_id="wait", session_id=12, **options)


@pytest.mark.parametrize("collection", [set, frozenset])
@pytest.mark.parametrize("name", ["target_states", "accepted_results"])
def test_sets_have_one_order(name, collection):
    """A set is kept in one order, as Airflow takes another one for a new version of the DAG."""
    values = {"target_states": ["busy", "idle"], "accepted_results": ["Cancelled", "Failed"]}[name]
    assert getattr(sensor(**{name: collection(values)}), name) == values
    assert getattr(sensor(**{name: collection(values[::-1])}), name) == values


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target_states": {"iddle"}}, "target_states=.*iddle.* is invalid.\nFix: did you mean 'idle'?"),
        ({"target_states": "nonsense"}, "target_states='nonsense' is invalid.\nFix: "),
        ({"target_states": []}, "target_states is empty.\nFix: "),
        ({"accepted_results": ["Succeded"]}, "accepted_results=.*\nFix: did you mean 'Succeeded'?"),
        ({"target_states": 5}, "target_states=5 is invalid.\nFix: "),
        ({"target_states": True}, "target_states=True is invalid.\nFix: "),
        ({"target_states": 1.5}, "target_states=1.5 is invalid.\nFix: "),
        ({"target_states": {"idle", None}}, "target_states=.*None.* is invalid.\nFix: "),
        ({"accepted_results": 5}, "accepted_results=5 is invalid.\nFix: "),
        ({"settle_timeout": "soon"}, "settle_timeout='soon' is not a number of seconds.\nFix: "),
        ({"settle_timeout": -1}, "settle_timeout=-1 is not a number of seconds.\nFix: "),
        ({"settle_timeout": 1e300}, "settle_timeout=1e.300 is too long.\nFix: "),
    ],
)
def test_wrong_constants_are_errors_of_the_dag(options, words):
    """A constant that can't be right is an error when the DAG is parsed."""
    with pytest.raises(SynapseLivyConfigurationError, match=words):
        sensor(**options)


@pytest.mark.parametrize("value", [60, "60", timedelta(minutes=1)])
def test_settle_timeout(value):
    """The time for the final result is seconds, also as text, or a time span."""
    assert sensor(settle_timeout=value)._wait_options.settle_timeout == 60


@pytest.mark.parametrize("value", ["Idle", "IDLE", " idle\n", ["iDle"]])
def test_letter_case_and_white_space_do_not_matter(value):
    """States are taken in any letter case, and with white space around them."""
    assert sensor(target_states=value)._goal.target_states == {"idle"}


@pytest.mark.parametrize("value", ["{{ params.state }}", ["idle", "{{ params.state }}"]])
def test_templates_are_not_checked_when_parsed(value):
    """What is still to be rendered is checked when the task runs."""
    with pytest.raises(SynapseLivyConfigurationError, match="target_states"):
        _ = sensor(target_states=value)._goal


@pytest.mark.parametrize(("options", "seconds"), [({}, 10), ({"deferrable": True}, 10), ({"mode": "reschedule"}, 60)])
def test_default_interval(options, seconds):
    """Polls are ten seconds apart by default, and a minute where each one starts a worker."""
    assert sensor(**options).poke_interval == seconds


@pytest.mark.parametrize(
    ("options", "is_warned"),
    [
        ({"mode": "reschedule", "poke_interval": 5}, True),
        ({"mode": "reschedule", "poke_interval": 15}, False),
        ({"mode": "reschedule", "poke_interval": 5, "deferrable": True}, False),
        ({"mode": "poke", "poke_interval": 5}, False),
    ],
)
def test_short_reschedules_are_warned_about(options, is_warned, caplog, capsys):
    """An interval with which Airflow's own race fails tasks is warned about when the DAG is parsed."""
    with caplog.at_level(logging.WARNING):
        sensor(**options)
    log = caplog.text + capsys.readouterr().out  # Airflow 2 and 3 log in different ways
    assert ("poke_interval is 5 s in reschedule mode" in log) is is_warned


class OwnPoke(SynapseSparkSessionSensor):
    """A sensor whose author decides when the wait is over."""

    def poke(self, context):
        """Be done at the third call."""
        self.calls = getattr(self, "calls", 0) + 1
        return self.calls == 3


@pytest.mark.parametrize("deferrable", [False, True])
def test_overridden_poke_is_called(deferrable, caplog, capsys):
    """A subclass that overrides poke() is asked, on a worker; the log says so if it was to wait in the triggerer."""
    task = OwnPoke(task_id="wait", session_id=12, poke_interval=0.001, deferrable=deferrable)
    with caplog.at_level(logging.INFO):
        task.execute({})
    assert task.calls == 3
    assert ("its poke() is overridden" in caplog.text + capsys.readouterr().out) is deferrable


@pytest.mark.skipif(not STARTS_FROM_TRIGGER, reason="before Airflow 3.3 no task ends in the triggerer")
def test_listeners_keep_a_task_from_ending_in_the_triggerer(monkeypatch):
    """Where a plugin listens to tasks, a task ends on a worker, which tells it, and Airflow accepts the DAG."""
    assert sensor(start_from_trigger=True, end_from_trigger=True).end_from_trigger
    monkeypatch.setattr(base, "has_listeners", lambda: True)
    task = sensor(start_from_trigger=True, end_from_trigger=True)
    assert not task.end_from_trigger
    assert not task.start_trigger_args.trigger_kwargs["end_from_trigger"]
    assert task._cannot_end_from_trigger_because() == "its listeners would not be called"
