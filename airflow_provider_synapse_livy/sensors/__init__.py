"""
The sensors, which wait for what somebody else has created, and cancel nothing.

Terms: the *mode* of a sensor is where it waits: on a worker (``poke``), on a worker for each poll (``reschedule``), or
in the triggerer (*deferrable*).

- ``spark_session``, ``spark_statement``, ``spark_batch`` the sensor of each kind
- ``base`` what they share: one outcome in every mode, and tasks that start or end in the triggerer
"""
