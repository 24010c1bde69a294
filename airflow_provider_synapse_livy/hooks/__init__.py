"""
The hook: the Livy API as methods, with the identity of an Airflow connection.

- ``synapse_livy`` the hook, and its methods for sessions
- ``statements``, ``batches`` its methods for statements and batch jobs
- ``session_guard`` polls a statement as long as its session lives
- ``connection_check`` what the Test button of a connection checks
"""
