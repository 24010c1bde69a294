"""As much of pyspark as an interpreter of the local Synapse uses, without Spark: for tests of its processes."""
