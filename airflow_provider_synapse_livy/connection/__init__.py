"""
What an Airflow connection of the type ``synapse_livy`` says, checked before any request.

Terms: *fields* are what the user wrote; a *workspace* is where they lead; an *identity* is who signs in; the *auth
type* is how.

- ``synapse_livy`` the whole connection
- ``fields`` the fields as they were written, and how an error about one begins
- ``workspace``, ``clouds`` the endpoint, its cloud, and whether a token may be sent there
- ``host_names`` which texts are the name of a host
- ``network`` proxies, certificates to trust, timeouts
- ``identity`` one table: what each auth type needs, and where it is written
- ``form`` the fields and help texts of Airflow's connection form
"""
