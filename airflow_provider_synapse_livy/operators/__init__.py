"""The operator for Spark sessions of Azure Synapse."""
