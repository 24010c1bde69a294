"""The hook for Spark sessions of Azure Synapse."""
