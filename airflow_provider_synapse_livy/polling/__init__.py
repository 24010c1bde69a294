"""
Many waits, few requests: how the waits of a triggerer share their polls.

Terms: a *poll* is one wait's question for a fresh snapshot; the *list* is the service's list of a pool's sessions,
whose pages answer twenty polls at once; a *single* request answers one; a *flight* is a request under way, or all those
that read a list; a *subscriber* is a wait.

- ``schedule`` which polls are due, and whether by list or singly: no asyncio, no clock
- ``polls`` what the schedule is about: polls, records, flights and their queues
- ``health`` whether a pool fails as a whole, and whether its list is worthwhile
- ``poller`` sends what the schedule plans
- ``watch`` one wait's subscription
"""
