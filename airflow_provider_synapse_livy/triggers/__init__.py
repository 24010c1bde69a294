"""
The triggers, which wait in the triggerer for a task that has deferred, or that starts there.

Terms: the *event* of a trigger is what it ends with, JSON from which the task goes on; the *backstop* is Airflow's own
limit of a deferral, which is later than any end of the wait.

- ``spark_session``, ``spark_statement``, ``spark_batch`` the trigger of each kind
- ``base`` what they share: the wait, its event, and the cancellation if a user ends the task
"""
