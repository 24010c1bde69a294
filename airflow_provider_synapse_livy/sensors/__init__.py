"""The sensor for Spark sessions of Azure Synapse."""
