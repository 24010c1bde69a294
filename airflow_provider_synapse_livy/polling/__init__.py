"""
Many waits, few requests: how the waits of a triggerer share their polls.

Terms: a *poll* is one wait's question for a fresh snapshot; the *list* is the service's list of a pool's sessions,
whose pages answer twenty polls at once; a *single* request answers one; a *subscriber* is a wait.

- ``schedule`` which polls are due, and whether by list or singly: no asyncio, no clock
- ``poller`` sends what the schedule plans
- ``watch`` one wait's subscription
"""
