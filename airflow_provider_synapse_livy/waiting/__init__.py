"""
When a wait is over: no I/O, no Airflow.

Terms: a *goal* is what is waited for; the *verdict* is what a snapshot means for the wait; a thing *settles* between
its end and the service's final result; the *history* is the phases that a wait has seen.

- ``goals`` goals, and their verdicts; ``batch_goal``, ``statement_goal`` and ``operator_goals`` those of one kind
- ``wait`` one wait: deadline, interval, settling
- ``progress`` phases and durations: the line in the log
- ``messages`` failures and timeouts in words
"""
