"""What is left when all tests of this folder are over; its name has it run last, behind all others."""

from __future__ import annotations

import os

import psutil
import pytest

from airflow_provider_synapse_livy.emulator.entra import CLIENT_SECRET
from tests.distributed.cluster import is_open
from tests.distributed.conftest import HOME
from tests.support.secrets_search import EMULATOR_TOKEN, find_secrets

pytestmark = pytest.mark.distributed


def test_nothing_is_left(airflow, synapse):
    """After all, neither database nor logs hold a secret, and no process or socket is left."""
    assert synapse.server.entra.issued > 10
    assert find_secrets([CLIENT_SECRET, EMULATOR_TOKEN], database=airflow.database, folders=[HOME]) == []
    airflow._stop()
    groups = {process.pid for process in psutil.process_iter() if group_of(process) in airflow.groups}
    assert groups == set()
    assert not is_open(airflow._database_port)
    assert not is_open(airflow._redis_port)
    assert not airflow._data.exists()


def group_of(process):
    """Return the group of a process, which may be gone."""
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None
