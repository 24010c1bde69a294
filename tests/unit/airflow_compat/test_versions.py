"""What differs by name, exception and event between the versions of Airflow."""

from __future__ import annotations

from types import SimpleNamespace

import airflow
import pytest

from airflow_provider_synapse_livy.airflow_compat import versions


def test_version_is_the_installed_one():
    """The version is that of the Airflow around, as numbers that can be compared."""
    assert airflow.__version__.startswith("{}.{}.".format(*versions.AIRFLOW_VERSION))
    assert (versions.AIRFLOW_VERSION >= (3, 3)) is versions.STARTS_FROM_TRIGGER


class TaskDeferralTimeout(Exception):  # noqa: N818  (Airflow's name)
    """Airflow 3's exception, which Airflow 2 does not have."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (versions.TaskDeferralError("Trigger timeout"), True),
        (versions.TaskDeferralError("Trigger failure"), False),
        (TaskDeferralTimeout("whatever it says"), True),
        (TimeoutError("Trigger timeout"), False),
    ],
)
def test_deferral_timeout(error, expected):
    """The timeout of a deferral is known by its message in Airflow 2, by its class in Airflow 3."""
    assert versions.is_deferral_timeout(error) is expected


@pytest.mark.parametrize(
    ("version", "event", "expected"),
    [
        ((3, 0), {"try_number": 1}, True),
        ((3, 0), {"try_number": 2}, False),
        ((3, 0), {"try_number": None}, False),
        ((3, 0), {}, False),
        ((3, 0), None, False),
        ((3, 0), "text", False),
        ((2, 11), {"try_number": 1}, False),
        ((3, 1), {"try_number": 1}, False),
    ],
)
def test_event_of_an_earlier_try(monkeypatch, version, event, expected):
    """Airflow 3.0 alone hands a retry the event of the try before; another version's event is always of this try."""
    monkeypatch.setattr(versions, "AIRFLOW_VERSION", version)
    assert versions.is_of_earlier_try(event, {"ti": SimpleNamespace(try_number=2)}) is expected
