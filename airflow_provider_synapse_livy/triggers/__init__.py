"""The trigger for Spark sessions of Azure Synapse."""
