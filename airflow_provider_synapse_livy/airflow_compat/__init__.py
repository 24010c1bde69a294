"""
What the supported versions of Airflow do differently, each difference with its reason, and nowhere else.

Terms: a *run* of a task is one stay on a worker; a *try* is all runs from the start of a task until it succeeds, is
skipped or fails, so a deferral or a reschedule goes on with the same try, and a retry begins the next; a *life* is all
tries between two clearings of the task.

- ``sdk`` Airflow's own classes, wherever this version has them
- ``versions`` moved names, what starts in the triggerer, deferrals that timed out
- ``task_state`` what a task remembers from one of its runs to the next
- ``connections`` reading a connection on an event loop
- ``kills`` what a trigger knows of the end of its task, and work that outlives the trigger
- ``openlineage`` what Spark's OpenLineage listener is told of a task
- ``form_widgets`` the connection form before Airflow 3.2
- ``trigger_templates`` which templates the triggerer renders as a worker does
"""
