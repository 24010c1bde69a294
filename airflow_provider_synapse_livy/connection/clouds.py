"""Microsoft's clouds: what Synapse and Microsoft Entra ID are called in each of them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CLOUDS", "PUBLIC_CLOUD", "Cloud", "scope_of"]


@dataclass(frozen=True)
class Cloud:
    """
    One of Microsoft's clouds, in which Synapse has its own host names.

    :param name: its name: a value of the connection's ``cloud_environment``.
    :param endpoint_suffix: what follows the workspace's name in its development endpoint.
    :param authority: the host of Microsoft Entra ID.
    :param studio_host: the host of Synapse Studio.
    """

    name: str
    endpoint_suffix: str
    authority: str
    studio_host: str

    @property
    def scope(self) -> str:
        """The scope of a token for Synapse."""
        return scope_of(self.endpoint_suffix)


def scope_of(endpoint_suffix: str) -> str:
    """
    Return the scope of a token for the workspaces below a suffix.

    :param endpoint_suffix: what follows the workspace's name in its development endpoint.
    """
    return f"https://{endpoint_suffix}/.default"


PUBLIC_CLOUD = Cloud(
    "AzurePublicCloud",
    "dev.azuresynapse.net",
    "login.microsoftonline.com",
    "web.azuresynapse.net",
)

CLOUDS = (
    PUBLIC_CLOUD,
    Cloud(
        "AzureChinaCloud",
        "dev.azuresynapse.azure.cn",
        "login.chinacloudapi.cn",
        "web.azuresynapse.azure.cn",
    ),
    Cloud(
        "AzureUSGovernment",
        "dev.azuresynapse.usgovcloudapi.net",
        "login.microsoftonline.us",
        "web.azuresynapse.usgovcloudapi.net",
    ),
)
