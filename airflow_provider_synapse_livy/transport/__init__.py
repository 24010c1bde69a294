"""
How bytes travel: two HTTP clients, and the tokens that both send.

Terms: an *attempt* is one request with its token, and a second one if Synapse refuses the token; a *retry* is another
attempt.

- ``sync_client`` a worker's client, over requests
- ``async_client`` a triggerer's client, over aiohttp: one attempt, retries are the poller's
- ``entra`` an identity becomes a credential of azure-identity, and its token; what a refusal means
- ``tokens`` one token for each identity and process
- ``retry`` when a worker sends a request again
- ``rate_limit`` how fast an event loop may send requests to a workspace
- ``failures`` broken connections in words: names, TCP, TLS, proxies
"""
