"""
The Livy API of Synapse: no I/O, no Airflow, no clock.

Terms: a *resource* is a kind of thing that Livy runs and describes, such as a Spark session; a *record* is one
description of it; a *snapshot* is a record together with the response that it came in; a *pool* is a Spark pool of a
workspace, at one version of the API.

- ``resources`` what there is to ask for, as data
- ``requests`` what one request is: method, URL, body, whether it may be sent again
- ``statuses`` what each HTTP status means: which error, whether it may pass, what to do
- ``responses`` reading responses: a record, a page of a list, an error body, ``Retry-After``
- ``errors`` the exceptions that need no Airflow
- ``retry_after`` when the service asks to come back
- ``error_codes`` what helps against the errors that a session or a batch job died of
- ``spark_jobs``, ``statements`` the models of records: sessions and batch jobs, statements
- ``options`` what is sent to create a session or a batch job
- ``outputs`` what a statement printed and returned, in a length that XCom and log can hold
- ``task_keys``, ``code_keys`` the key of a task, in names and tags, and in code
- ``remote_function`` a Python function as code for a session
- ``secrets`` which Spark settings look like secrets
- ``documented`` what the models of records share: lenient where nothing is decided
- ``strict_json`` JSON that Airflow and PostgreSQL can hold
"""
