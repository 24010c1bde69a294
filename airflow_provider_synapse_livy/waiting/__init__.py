"""
When a wait is over: no I/O, no Airflow.

Terms: a *goal* is what is waited for; the *verdict* is what a snapshot means for the wait; a thing *settles* between
its end and the service's final result; the *history* is the phases that a wait has seen.

- ``goals`` goals, and their verdicts; ``batch_goal``, ``statement_goal`` and ``operator_goals`` those of one kind
- ``wait`` one wait: deadline, interval, settling
- ``keep_alive`` when to begin the idle timeout of a statement's session anew
- ``lost_statement`` code of which it can't be known whether it ran
- ``progress`` phases and durations: the line in the log
- ``messages`` failures and timeouts in words
"""
