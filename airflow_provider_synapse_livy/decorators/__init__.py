"""
The decorators, which make a task of a function.

- ``synapse_pyspark`` ``@task.synapse_pyspark``: the function runs in a Spark session
"""
