"""The decorator that runs a function in a Spark session of Azure Synapse."""
