"""
The operators, which create, read and cancel sessions and batch jobs, and run statements.

Terms: to *own* a thing is to answer for it: what a task has created and not handed on, it cancels when it fails; a
task's *key* is part of the name of what it creates, so that a later try finds it again.

- ``spark_session``, ``spark_statement``, ``spark_batch`` the operators of each kind
- ``spark_jobs`` what those of sessions and batch jobs share
- ``statements`` what the operator and the sensor of statements share
- ``owning``, ``creation`` how a task creates one thing, and answers for it
- ``waiting`` how a task waits, on a worker or deferred: also the base of the sensors
"""
