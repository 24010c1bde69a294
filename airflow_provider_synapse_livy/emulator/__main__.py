"""The emulator as a server of its own."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from airflow_provider_synapse_livy.emulator.entra import (
    CLIENT_ID,
    CLIENT_SECRET,
    STATIC_TOKEN,
    TENANT_ID,
    WORKLOAD_SUBJECT,
)
from airflow_provider_synapse_livy.emulator.local import serve, stop_serving
from airflow_provider_synapse_livy.emulator.scenarios import DEFAULT_SCENARIO, SCENARIOS
from airflow_provider_synapse_livy.emulator.server import (
    FIREWALLED_POOL,
    FORBIDDEN_POOL,
    MISSING_POOL,
    SCENARIO_TAG,
    SynapseServer,
)


def _epilog() -> str:
    scenarios = "\n".join(f"  {name:24} {scenario.about}" for name, scenario in SCENARIOS.items())
    return f"""\
A session's scenario is chosen at its creation with the tag "{SCENARIO_TAG}"; without it, {DEFAULT_SCENARIO}:
{scenarios}

Pools exist as soon as they are named, but for these:
  {FORBIDDEN_POOL:24} answers 403, as if a role were missing
  {FIREWALLED_POOL:24} answers 403, as if the workspace's firewall were closed
  {MISSING_POOL:24} answers 404

Who is let in: the bearer token "{STATIC_TOKEN}", and with --tls the tokens that Microsoft Entra ID, at the same
address, gives to tenant "{TENANT_ID}", client id "{CLIENT_ID}", client secret "{CLIENT_SECRET}". Any certificate
of that client will do instead of the secret, and so will a federated token with the subject "{WORKLOAD_SUBJECT}".
"""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_synapse_livy.emulator",
        description="A local Synapse workspace with Spark sessions, for trying out and testing DAGs.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8998, help="the port; 0 for any (default: %(default)s)")
    parser.add_argument("--tls", action="store_true", help="serve https with a certificate made at the start")
    parser.add_argument(
        "--ca-file",
        type=Path,
        default=Path("synapse-livy-emulator-ca.pem"),
        help="with --tls, where to write the certificate that clients must trust (default: %(default)s)",
    )
    parser.add_argument(
        "--time-scale",
        type=float,
        default=0.05,
        help="how long an emulated second lasts; 1 is as slow as Synapse (default: %(default)s)",
    )
    parser.add_argument(
        "--rate-limit", type=int, default=200, help="requests a second before it answers 429 (default: %(default)s)"
    )
    parser.add_argument(
        "--token-lifetime", type=float, default=3600, help="seconds that a token is good (default: %(default)s)"
    )
    arguments = parser.parse_args()
    if arguments.time_scale <= 0:
        parser.error("--time-scale must be more than 0")
    return arguments


async def _run(arguments: argparse.Namespace) -> None:
    server = SynapseServer(
        time_scale=arguments.time_scale,
        rate_limit=arguments.rate_limit,
        token_lifetime=arguments.token_lifetime,
    )
    ca_file = arguments.ca_file if arguments.tls else None
    runner, url = await serve(server, arguments.host, arguments.port, ca_file=ca_file)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    trust = f", certificate to trust: {ca_file}" if ca_file else ""
    print(f"The Synapse emulator is ready at {url}{trust}", flush=True)
    await stop.wait()
    await stop_serving(runner)


def main() -> None:
    """Run the emulator until it is told to stop."""
    try:
        asyncio.run(_run(_arguments()))
    except (OSError, OverflowError) as error:  # the port is taken, or none; the host is not this machine's
        sys.exit(f"The Synapse emulator can't start: {error}")


if __name__ == "__main__":
    main()
