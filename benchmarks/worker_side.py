"""Measure what a task on a worker costs: the CPU of one poll, and the import of the sensor's module."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

_POLLS = 300
_IMPORTS = 5

_HEAVY = ("azure", "aiohttp", "requests")

#: Modules that Airflow itself imports are not counted.
_TIMED_IMPORT = """
import sys, time
from airflow.providers.common.compat.sdk import BaseHook, BaseOperatorLink, BaseSensorOperator, XCom, conf
from airflow.triggers.base import BaseTrigger, StartTriggerArgs
before = {{name.partition(".")[0] for name in sys.modules}}
began = time.process_time()
import {module}
took = time.process_time() - began
loaded = {{name.partition(".")[0] for name in sys.modules}} - before
print(took, *sorted(loaded & {heavy}))
"""

_SENSOR = "airflow_provider_synapse_livy.sensors.spark_session"
_AZURE = "airflow.providers.microsoft.azure.operators.synapse"


def _cpu_of(poll: Callable[[], Any]) -> float:
    """Return the milliseconds of CPU that a poll takes, after ten to warm up."""
    for _ in range(10):
        poll()
    began = time.process_time()
    for _ in range(_POLLS):
        poll()
        time.sleep(0.005)  # to stay below the service's rate limit
    return 1000 * (time.process_time() - began) / _POLLS


def _ours() -> Callable[[], Any]:
    from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook

    hook = SynapseLivyHook("ours", spark_pool_name="pool0")
    return lambda: hook.get_spark_session(0)


def sdk_client(url: str) -> Any:
    """Return a client of azure-synapse-spark, whose identity trusts the service's Microsoft Entra ID."""
    from azure.identity import ClientSecretCredential
    from azure.synapse.spark import SparkClient

    from benchmarks.service import CLIENT_ID, CLIENT_SECRET, TENANT_ID

    authority = {"authority": url, "disable_instance_discovery": True}
    credential = ClientSecretCredential(TENANT_ID, CLIENT_ID, CLIENT_SECRET, **authority)
    return SparkClient(credential, url, "pool0")


def _sdk(url: str) -> Callable[[], Any]:
    client = sdk_client(url)
    return lambda: client.spark_session.get_spark_session(0, detailed=True)


def _import(module: str) -> tuple[float, list[str]]:
    """Return the milliseconds of CPU that an import takes beyond Airflow's own, and which heavy packages it loads."""
    program = _TIMED_IMPORT.format(module=module, heavy=set(_HEAVY))
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        .stdout.split("\n")[-2]
        .split()
        for _ in range(_IMPORTS)
    ]
    return 1000 * median(float(took) for took, *_ in runs), runs[0][1:]


def service_url() -> str:
    """Return the URL of the service that the command line names, whose certificate is trusted from then on."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--ca-file", required=True)
    arguments = parser.parse_args()
    os.environ["REQUESTS_CA_BUNDLE"] = arguments.ca_file
    return str(arguments.url)


def main() -> None:
    """Print the measurements as JSON."""
    import requests

    url = service_url()
    requests.post(f"{url}/bench/sessions", json={"n": 1, "pools": 1, "listed": True}, timeout=10)
    (ours, ours_loaded), (azure, _) = _import(_SENSOR), _import(_AZURE)
    result = {
        "poll": _cpu_of(_ours()),
        "sdk_poll": _cpu_of(_sdk(url)),
        "import": ours,
        "azure_import": azure,
        "loaded": ours_loaded,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
