"""The command ``synapse-livy-emulator``: run the emulator as a server."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import NoReturn

from airflow_provider_synapse_livy import __version__
from airflow_provider_synapse_livy.emulator.batches import BATCH_SCENARIOS, DEFAULT_BATCH_SCENARIO
from airflow_provider_synapse_livy.emulator.creation import SMALL_POOL_VCORES
from airflow_provider_synapse_livy.emulator.entra import (
    CLIENT_ID,
    CLIENT_SECRET,
    STATIC_TOKEN,
    TENANT_ID,
    WORKLOAD_SUBJECT,
)
from airflow_provider_synapse_livy.emulator.errors import (
    FIREWALLED_POOL,
    FORBIDDEN_POOL,
    MISSING_POOL,
    QUOTA_POOL,
    SMALL_POOL,
)
from airflow_provider_synapse_livy.emulator.local import DEFAULT_POOL, airflow_connection, serve, stop_serving
from airflow_provider_synapse_livy.emulator.scenarios import DEFAULT_SCENARIO, SCENARIOS, Scenario
from airflow_provider_synapse_livy.emulator.server import SCENARIO_TAG, SynapseServer
from airflow_provider_synapse_livy.emulator.spark.requirements import MissingRequirementError


class _ArgumentParser(argparse.ArgumentParser):
    """Reports a wrong argument in two lines, instead of argparse's usage and one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message.removeprefix('argument ')}\nFix: see the options with {self.prog} --help\n")


def _shown(scenarios: dict[str, Scenario]) -> str:
    return "\n".join(f"  {name:23} {scenario.description}" for name, scenario in scenarios.items())


def _epilog() -> str:
    return f"""\
The tag "{SCENARIO_TAG}" in the request that creates a session chooses its
scenario, {DEFAULT_SCENARIO} by default. In emulated time, a session with scenario
{_shown(SCENARIOS)}

A batch job has scenarios of its own, {DEFAULT_BATCH_SCENARIO} by default. One with scenario
{_shown(BATCH_SCENARIOS)}

--time-scale shortens everything that happens to a session, but for the idle
timeout where a scenario is not about it: that is an hour of real time with any
time scale, so that a session stays usable for as long as a person needs.

A Spark pool exists as soon as a request names it. These pools answer errors:
  {FORBIDDEN_POOL:22} 403, as if a Synapse role were missing
  {FIREWALLED_POOL:22} 403, as if the workspace's firewall blocked the client
  {MISSING_POOL:22} 404, as if the pool did not exist; 400 to a creation
  {QUOTA_POOL:22} 400 to a creation, as if the workspace had no vcores
  {SMALL_POOL:22} 400 to the creation of a session with more than {SMALL_POOL_VCORES} vcores

Requests need a bearer token: {STATIC_TOKEN}, which never expires, or, with
--tls, a token of the emulator's own Microsoft Entra ID at the same address:
  tenant                 {TENANT_ID}
  client id              {CLIENT_ID}
  client secret          {CLIENT_SECRET}
  instead of a secret    any certificate, or a federated token with the
                         subject {WORKLOAD_SUBJECT}; signatures are not checked
"""


def _command_name() -> str:
    started_as_module = Path(sys.argv[0]).name == "__main__.py"
    return "python -m airflow_provider_synapse_livy.emulator" if started_as_module else "synapse-livy-emulator"


def _parse_arguments() -> argparse.Namespace:
    parser = _ArgumentParser(
        prog=_command_name(),
        usage="%(prog)s [options]",
        description="Run a local Synapse workspace with Spark sessions, for testing and trying out DAGs.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_server_arguments(parser)
    _add_service_arguments(parser)
    parser.add_argument("--log-requests", action="store_true", help="print a line for each request")
    parser.add_argument("--version", action="version", version=f"synapse-livy-emulator {__version__}")
    arguments = parser.parse_args()
    if not 0 < arguments.time_scale < math.inf:
        fix = "use 1 for the speed of Synapse, or less to run faster, such as 0.05."
        parser.exit(2, f"--time-scale {arguments.time_scale:g}: must be a number and more than 0.\nFix: {fix}\n")
    return arguments


def _add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says where and how to listen."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8998, help="port to listen on; 0: any free one (default: 8998)")
    parser.add_argument("--tls", action="store_true", help="serve https with a new self-signed certificate")
    parser.add_argument(
        "--ca-file",
        metavar="FILE",
        type=Path,
        default=Path("synapse-livy-emulator-ca.pem"),
        help="with --tls: write the certificate here, for clients to trust (default: %(default)s)",
    )


def _add_service_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says how the service behaves."""
    parser.add_argument(
        "--time-scale",
        metavar="SECONDS",
        type=float,
        default=0.05,
        help="real seconds per emulated second; 1 is the speed of Synapse (default: %(default)s)",
    )
    parser.add_argument(
        "--rate-limit",
        metavar="REQUESTS",
        type=int,
        default=200,
        help="requests per second; answer 429 to further ones (default: %(default)s)",
    )
    parser.add_argument(
        "--token-lifetime",
        metavar="SECONDS",
        type=float,
        default=3600,
        help="real seconds until an issued token expires (default: %(default)s)",
    )
    parser.add_argument(
        "--spark", action="store_true", help="run statements in a real Spark; needs Java and the extra [spark]"
    )


def _first_steps(url: str, ca_file: Path | None, *, spark: bool) -> str:
    """Return how to use the emulator from a shell: the connection for Airflow, and how to create and use a session."""
    connection = shlex.quote(airflow_connection(url, ca_file=ca_file, spark_pool_name=DEFAULT_POOL))
    sessions = f"{url}/livyApi/versions/2020-12-01/sparkPools/{DEFAULT_POOL}/sessions"
    trust = f" --cacert {shlex.quote(str(ca_file))}" if ca_file else ""
    header = shlex.quote(f"Authorization: Bearer {STATIC_TOKEN}")
    body = shlex.quote(json.dumps({"name": "first", "tags": {SCENARIO_TAG: DEFAULT_SCENARIO}}))
    statement = shlex.quote(json.dumps({"kind": "pyspark", "code": "spark.range(5).count()"}))
    how = f"""
When it is idle, run code in it with a real Spark, and read what came of it:
curl{trust} -H {header} -d {statement} {sessions}/0/statements
curl{trust} -H {header} {sessions}/0/statements/0
"""
    return f"""\

For the shell that starts Airflow, the connection to it:
export AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT={connection}

Create a session; "id" in the response is its number, which the task waits for:
curl{trust} -H {header} -d {body} {sessions}
{how if spark else ""}
Ctrl-C stops the emulator.
"""


async def _run(arguments: argparse.Namespace) -> None:
    server = SynapseServer(
        time_scale=arguments.time_scale,
        rate_limit=arguments.rate_limit,
        token_lifetime=arguments.token_lifetime,
        spark=arguments.spark,
    )
    ca_file = arguments.ca_file.absolute() if arguments.tls else None
    runner, url = await serve(server, arguments.host, arguments.port, ca_file=ca_file)
    stop = asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    certificate = f", certificate to trust: {ca_file}" if ca_file else ""
    print(f"The Synapse emulator is ready at {url}{certificate}")
    print(_first_steps(url, ca_file, spark=arguments.spark), flush=True)
    await stop.wait()
    await stop_serving(runner)


def _start_failure(error: OSError | OverflowError, arguments: argparse.Namespace) -> str:
    if isinstance(error, OSError) and error.filename:
        reason = f"cannot write {error.filename}: {error.strerror}"
        fix = "set --ca-file to a file that this user can write."
    else:
        # Before the last colon, asyncio repeats the address; some versions of Python add the error number after it.
        cause = re.sub(r"^\[errno -?\d+\] ", "", str(error).rpartition(": ")[2], flags=re.IGNORECASE)
        reason = f"cannot listen on {arguments.host}:{arguments.port}: {cause}"
        fix = "set --host to an address of this machine and --port to a free port (0: any)."
    return f"Synapse emulator: {reason}\nFix: {fix}"


def main() -> None:
    """Run the emulator until SIGINT or SIGTERM; exit with 1 if it cannot start and with 2 on a wrong argument."""
    arguments = _parse_arguments()
    if arguments.log_requests:
        # Of our own requests only: with DEBUG for all, asyncio and others would write as well.
        logging.basicConfig(stream=sys.stdout, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
        logging.getLogger("airflow_provider_synapse_livy.emulator").setLevel(logging.DEBUG)
    try:
        asyncio.run(_run(arguments))
    except MissingRequirementError as error:
        sys.exit(f"Synapse emulator: {error}")
    except (OSError, OverflowError) as error:  # asyncio raises OverflowError for a port outside 0 to 65535
        sys.exit(_start_failure(error, arguments))


if __name__ == "__main__":
    main()
