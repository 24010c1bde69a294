"""
Looking at the sessions of a pool for all who wait for them on an event loop.

A page of the pool's list carries 20 sessions with the same fields as a look at one alone, so a thousand waits cost
what fifty did. What the service promises of the list is little, so nothing here relies on its order, on its length or
on its being there: a session that is not found in it in good time, or not in full, is read by itself.

.. code-block:: text

    one wait     asks for a look at its session, within so many seconds, and for how long to try
    PoolPoller   makes the looks that fall due together: few singly, many by pages of the list
    RateLimit    spaces the requests to the workspace

How a wait goes on is not decided here, but by each wait for itself (``waiting/``).
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeVar
from weakref import WeakKeyDictionary

from tenacity import AsyncRetrying, RetryCallState

from airflow_provider_synapse_livy.connection.synapse_livy import SynapseLivyConnection
from airflow_provider_synapse_livy.livy.errors import (
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.livy.responses import (
    MAX_PAGE_SIZE,
    LivyRequest,
    LivyResponse,
    Snapshot,
    SparkSessionPage,
    SparkSessionPageRequest,
    SparkSessionRequest,
    list_spark_sessions_request,
    read_spark_session,
    read_spark_session_list,
)
from airflow_provider_synapse_livy.transport.async_client import AsyncLivyClient, shared_client
from airflow_provider_synapse_livy.transport.rate_limit import workspace_limit
from airflow_provider_synapse_livy.transport.retry import retry_description

__all__ = ["PoolPoller", "Watch"]

log = logging.getLogger(__name__)

_Request = TypeVar("_Request", bound=LivyRequest)
_Result = TypeVar("_Result")

#: Up to so many sessions are read singly. A page of the list costs about as much as that.
_FEW = 3

#: How many sessions of one pool may be read at once, beside its list: a pool that hangs takes nothing from the others.
_AT_ONCE = 3

#: Seconds to wait for company when a look is asked for at once.
_GATHER = 0.02

#: By which part of its interval a look may come early, at random, so that many triggerers do not ask in step.
_JITTER = 0.05

#: Seconds after which a list that did not pay, and a session that was not in it, get another chance.
_SECOND_CHANCE = 60.0

#: Seconds to pause after a 429 that does not say how long.
_UNASKED_PAUSE = 1.0

#: Seconds to pause if there is no token to be had.
_TOKEN_PAUSE = 3.0

#: Seconds after which the rest of a long list, or of a slow one, is not read: its sessions would wait for too long.
_LONGEST_RUN = 60.0

_TOO_LATE = "Synapse gave no answer in the time that there was. See whether it hangs, or raise the sensor's timeout."


@dataclass(slots=True, eq=False)
class _Look:
    """
    A look that somebody waits for.

    :param due: when it is to be made, by the loop's clock.
    :param interval: how many seconds after it the next one is, if this one tells nothing new.
    :param quiet_until: until when what has not changed need not be told; then, nothing is tried again.
    :param patience: for how many seconds after it is due to try again what may pass.
    :param until: when to stop trying, however often it is put off.
    :param answer: what it shows, and how often the session was seen to change until then.
    """

    due: float
    interval: float
    quiet_until: float
    patience: float
    until: float
    answer: asyncio.Future[tuple[Snapshot, int]]

    @property
    def slack(self) -> float:
        """How many seconds before it is due it may be made, if others are made then."""
        return self.interval / 2

    def accepts(self, now: float) -> bool:
        """Tell whether the look may be made now."""
        return self.due - self.slack <= now

    def again(self, now: float, interval: float) -> bool:
        """
        Have it made once more, unless what it showed must be told.

        :param now: when it was made.
        :param interval: how many seconds later to make it.
        """
        if now >= self.quiet_until:
            return False
        self.due = min(now + interval, self.quiet_until)
        self.until = min(self.due + self.patience, self.quiet_until)
        return True


class Watch:
    """
    One wait's share in the looks at a pool, from ``async with`` to its end.

    All who wait for sessions of a pool on an event loop look together. The first to come starts it, and the last to
    leave stops it, and closes what is open.

    :param connection: the workspace and the identity.
    :param spark_pool_name: the pool.
    :param livy_api_version: the version of the Livy API.
    :param session_id: the session's id.
    :raises SynapseLivyError: if there can be no such session.
    """

    __slots__ = ("_changes", "_key", "_poller", "_request", "_session")

    _poller: PoolPoller
    _session: _PolledSession

    def __init__(
        self, connection: SynapseLivyConnection, spark_pool_name: str, livy_api_version: str, session_id: object
    ) -> None:
        self._key = (connection, spark_pool_name, livy_api_version)
        self._request = connection.spark_session_request(
            session_id, spark_pool_name=spark_pool_name, livy_api_version=livy_api_version
        )
        self._changes = 0

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def open(self) -> None:
        """Begin to wait."""
        pollers = _pollers.setdefault(asyncio.get_running_loop(), {})
        poller = pollers.get(self._key)
        if poller is None or poller.has_ended:
            poller = pollers[self._key] = PoolPoller(*self._key)
        self._poller = poller
        self._session = poller.join(self._request)

    async def close(self) -> None:
        """Wait no longer."""
        if not self._poller.leave(self._session):
            return
        pollers = _pollers[asyncio.get_running_loop()]
        if pollers.get(self._key) is self._poller:
            del pollers[self._key]
        await self._poller.close()

    async def look(self, *, after: float, patience: float, quiet: float = 0.0) -> Snapshot:
        """
        Look at the session, within so many seconds: sooner if it is seen to change, or if others look just before.

        :param after: when to look at the latest, in seconds from now.
        :param patience: for how many seconds from then on to try again what may pass.
        :param quiet: for how many seconds from now it is looked at in the same interval without telling, as long as
            it does not change.
        :raises SynapseLivyError: if there is no good answer.
        """
        self._poller.check()
        if self._changes != self._session.changes:  # there was one that this wait has not been told of
            quiet = 0.0
        now = asyncio.get_running_loop().time()
        due = now + max(self._poller.jittered(after), _GATHER)
        look = _Look(due, after, now + quiet, patience, due + patience, _future())
        try:
            answer, self._changes = await self._session.asked_for(look)
        finally:
            self._session.forget(look)
        return answer


def _future() -> asyncio.Future[tuple[Snapshot, int]]:
    return asyncio.get_running_loop().create_future()


class _PolledSession:
    """
    A session that is waited for, by one or more.

    :param poller: who looks at it.
    :param request: the request for it alone.
    """

    __slots__ = ("_digest", "_looks", "_poller", "busy", "changes", "readers", "request", "trouble", "unlisted_until")

    def __init__(self, poller: PoolPoller, request: SparkSessionRequest) -> None:
        self._poller = poller
        self._looks: list[_Look] = []
        self._digest = 0
        self.changes = 0
        self.request = request
        self.readers = 0
        self.busy = False
        self.trouble: SynapseLivyError | None = None  # in the pause between two tries
        self.unlisted_until = 0.0

    def asked_for(self, look: _Look) -> asyncio.Future[tuple[Snapshot, int]]:
        """Take note of a look, and give what it will show."""
        self._looks.append(look)
        self._poller.expect(look.due)
        return look.answer

    def forget(self, look: _Look) -> None:
        """Look no more for one who has got the answer, or waits no longer."""
        if look in self._looks:
            self._looks.remove(look)

    @property
    def due(self) -> float:
        """When the next look is to be made; never, while one is being made."""
        return min((look.due for look in self._looks), default=math.inf) if not self.busy else math.inf

    @property
    def alarm(self) -> float:
        """When something is to be done about it: a look, or, while one is being made, an end to the wait for it."""
        return min((self._limit(look) for look in self._looks), default=math.inf) if self.busy else self.due

    def _limit(self, look: _Look) -> float:
        """Tell when a look has been waited for too long: between two tries at its end, else when any try has ended."""
        return look.until if self.trouble else look.until + self._poller.longest_try

    def give_up(self, now: float) -> None:
        """
        Give an error to those who have waited too long for what is being done.

        :param now: the time.
        """
        if self.busy and self.alarm <= now:
            error = self.trouble or SynapseLivyUnavailableError(f"{self.request.subject}: {_TOO_LATE}")
            self.fail(error, lambda look: self._limit(look) <= now)

    def slack(self, now: float) -> float:
        """Tell for how many seconds to look ahead for others, if looks at this one are due."""
        return max((look.slack for look in self._looks if look.due <= now), default=0.0)

    def patience(self, now: float) -> float:
        """Tell for how many seconds to try, for the most patient of those who wait for it."""
        return max([0.0, *(look.until - now for look in self._looks if look.due <= now)])

    def accepts(self, now: float) -> bool:
        """Tell whether it may be looked at now."""
        return not self.busy and any(look.accepts(now) for look in self._looks)

    def hand_out(self, digest: int, read: Callable[[], Snapshot | None], now: float) -> bool:
        """
        Give what was seen to those whose look may be made now, and a change to all.

        :param digest: what tells it from what was seen before, which is not kept.
        :param read: gives what was seen, None if it can't be told from this; only called if it is to be told.
        :param now: when it was seen.
        :return: whether it could be told, so that it need not be read by itself.
        """
        changed = digest != self._digest
        jittered = self._poller.jittered
        told = [
            look
            for look in self._looks
            if changed or (look.accepts(now) and not look.again(now, jittered(look.interval)))
        ]
        if changed or told:
            answer = read()
            if answer is None:
                return False
            self._tell(told, answer, changed=changed)
        self._digest = digest
        self.rest()
        return True

    def _tell(self, looks: list[_Look], answer: Snapshot, *, changed: bool) -> None:
        self.changes += changed
        for look in self._take(lambda look: look in looks):
            if not look.answer.done():
                look.answer.set_result((answer, self.changes))

    def fail(self, error: Exception, which: Callable[[_Look], bool]) -> None:
        """
        Give an error to those who wait for it.

        :param error: the error.
        :param which: which looks fail; the others are still to be made.
        """
        for look in self._take(which):
            if not look.answer.done():
                look.answer.set_exception(error)

    def rest(self) -> None:
        """Note that nothing is being done for it any more."""
        self.busy = False
        self._poller.expect(self.due)

    def postpone(self, until: float) -> None:
        """
        Let no look be due before that.

        :param until: when.
        """
        for look in self._looks:
            look.due = max(look.due, until)

    def _take(self, which: Callable[[_Look], bool]) -> list[_Look]:
        taken = [look for look in self._looks if which(look)]
        if taken:
            self._looks = [look for look in self._looks if look not in taken]
        return taken


class PoolPoller:
    """
    Makes the looks at the sessions of one pool. Belongs to the event loop on which it runs.

    :param connection: the workspace and the identity.
    :param spark_pool_name: the pool.
    :param livy_api_version: the version of the Livy API.
    """

    def __init__(self, connection: SynapseLivyConnection, spark_pool_name: str, livy_api_version: str) -> None:
        self._connection = connection
        self._spark_pool_name = spark_pool_name
        self._livy_api_version = livy_api_version
        self._limit = workspace_limit(connection.endpoint)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._queue = asyncio.Lock()
        #: How many seconds a request may take with all that belongs to it: a token and an answer, and a way to each.
        self.longest_try = 4 * connection.network.timeout
        self._sessions: dict[int, _PolledSession] = {}
        self._early = 0.0
        self._alarm = math.inf
        self._wake = asyncio.Event()
        self._reads_list = False
        self._queued: set[_PolledSession] = set()
        self._list_again_at = 0.0
        self._list_again_for = 0
        self._in_trouble = False
        self._list_in_trouble = False
        # Not in the context of a task, since it outlives the one that comes first, whose log is in the context.
        self._run = asyncio.create_task(self._poll(), context=contextvars.Context())
        self._run.add_done_callback(self._tell_the_end)

    def join(self, request: SparkSessionRequest) -> _PolledSession:
        """
        Begin to wait for a session.

        :param request: the request for it.
        """
        session = self._sessions.setdefault(request.session_id, _PolledSession(self, request))
        session.readers += 1
        return session

    def leave(self, session: _PolledSession) -> bool:
        """
        Wait no longer for a session.

        :param session: what :meth:`join` gave.
        :return: whether nobody waits any more.
        """
        session.readers -= 1
        if not session.readers:
            del self._sessions[session.request.session_id]
        return not self._sessions

    @property
    def has_ended(self) -> bool:
        """Whether it looks no more."""
        return self._run.done()

    def check(self) -> None:
        """
        See that it runs.

        :raises SynapseLivyError: if it does not, and so would never answer.
        """
        if self.has_ended:
            raise self._why_it_ended()

    async def close(self) -> None:
        """Stop, and close what is open."""
        self._run.cancel()
        await asyncio.wait([self._run])

    def jittered(self, after: float) -> float:
        """
        Make an interval a little shorter. Short ones, as before a deadline, are kept.

        :param after: the interval, in seconds.
        """
        return after * (1 - self._early) if after > 1 else after

    def expect(self, due: float) -> None:
        """
        Take note that a look is due.

        :param due: when.
        """
        if due < self._alarm:
            self._alarm = due
            self._wake.set()

    async def _poll(self) -> None:
        async with shared_client(self._connection) as client, asyncio.TaskGroup() as tasks:
            while True:
                await self._rest()
                self._start(client, tasks)

    async def _rest(self) -> None:
        """Sleep until a look is due."""
        self._wake.clear()
        self._alarm = min((session.alarm for session in self._sessions.values()), default=math.inf)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._alarm):
                await self._wake.wait()

    def _start(self, client: AsyncLivyClient, tasks: asyncio.TaskGroup) -> None:
        """Begin to make the looks that are due, and with them those that are about to be."""
        now = asyncio.get_running_loop().time()
        for session in self._sessions.values():
            session.give_up(now)
        due = [session for session in self._sessions.values() if session.due <= now]
        if not due:
            return
        listed = self._choose_for_list(due, now)
        for session in (*due, *listed):
            session.busy = True
        if listed and self._reads_list:
            self._queued.update(listed)
            due, listed = [session for session in due if session not in self._queued], []
        self._reads_list |= bool(listed)
        if due:
            tasks.create_task(self._look_at(client, due, listed))
        self._early = random.uniform(0, _JITTER)  # noqa: S311  (no secret)

    def _choose_for_list(self, due: Collection[_PolledSession], now: float) -> list[_PolledSession]:
        """Choose the sessions to look up in the list; none, if they are few or if the list did not pay."""
        if now < self._list_again_at and len(self._sessions) < self._list_again_for:
            return []
        horizon = now + max(session.slack(now) for session in due)
        near = [
            session
            for session in self._sessions.values()
            if session.due <= horizon and session.accepts(now) and session.unlisted_until <= now
        ]
        return near if len(near) > _FEW else []

    async def _look_at(
        self, client: AsyncLivyClient, due: Collection[_PolledSession], listed: Collection[_PolledSession]
    ) -> None:
        try:
            if not await self._has_token(client, {*due, *listed}):
                return
            missing = set(await self._look_in_list(client, listed)) if listed else set()
        finally:
            if listed:
                self._end_list()
        singly = (set(due) - set(listed)) | (set(due) & missing)
        for session in missing - singly:  # which were not due yet
            session.rest()
        await asyncio.gather(*(self._look_singly(client, session) for session in singly))

    async def _look_in_list(
        self, client: AsyncLivyClient, listed: Collection[_PolledSession]
    ) -> Collection[_PolledSession]:
        """Read the list, page by page, as long as it pays; give the sessions that were not in it."""
        missing = {session.request.session_id: session for session in listed}
        pages, found, spare = 0, set[int](), 1 + len(self._sessions) // 10
        was_in_trouble = self._list_in_trouble
        clock = asyncio.get_running_loop().time
        end = clock() + _LONGEST_RUN
        try:
            while missing and (pages - spare) * _FEW <= len(found) and clock() < end:
                page = await self._send(client, self._page_request(pages), read_spark_session_list)
                pages += 1
                found |= self._hand_out_page(page, missing)
                if page.is_last:
                    break
        except SynapseLivyError as error:
            if not self._is_of_the_list_alone(error, missing.values()):
                return ()
            if isinstance(error, SynapseLivyUnavailableError) and not was_in_trouble:
                return missing.values()  # it may have passed when the list is needed next
            found = set()
        self._judge_list(pays=len(found) > pages * _FEW, missing=missing.values())
        return missing.values()

    def _end_list(self) -> None:
        """Let those go on whose page had passed when they came; all read the list together, one after the other."""
        self._reads_list = False
        queued, self._queued = self._queued, set()
        for session in queued:
            session.rest()

    def _page_request(self, number: int) -> SparkSessionPageRequest:
        return list_spark_sessions_request(
            endpoint=self._connection.endpoint,
            spark_pool_name=self._spark_pool_name,
            livy_api_version=self._livy_api_version,
            start=number * MAX_PAGE_SIZE,
            detailed=True,
        )

    def _hand_out_page(self, page: SparkSessionPage, missing: dict[int, _PolledSession]) -> set[int]:
        """Hand out what is on a page, and tell which sessions it was good for, now or later."""
        now = asyncio.get_running_loop().time()
        found = set()
        for session_id in page.items.keys() & self._sessions.keys():
            polled = self._sessions[session_id]
            if polled.busy and session_id not in missing and polled not in self._queued:  # it is being read by itself
                found.add(session_id)
            elif polled.hand_out(page.digest(session_id), partial(page.read, session_id), now):
                found.add(session_id)
                missing.pop(session_id, None)
                self._queued.discard(polled)
        return found

    def _judge_list(self, *, pays: bool, missing: Iterable[_PolledSession]) -> None:
        """Do without the list for a while if it did not pay, and else with the sessions that were not in it."""
        again = asyncio.get_running_loop().time() + _SECOND_CHANCE
        if pays:
            self._list_in_trouble = False
            for session in missing:
                session.unlisted_until = again
        else:
            self._list_again_at = again
            self._list_again_for = 2 * len(self._sessions)  # with so many it may pay after all

    def _is_of_the_list_alone(self, error: SynapseLivyError, missing: Collection[_PolledSession]) -> bool:
        """See whether looks at single sessions may fare better than one at the list; if not, settle it here."""
        now = asyncio.get_running_loop().time()
        if error.status == 429:
            self._postpone(missing, now + (getattr(error, "retry_after", None) or _UNASKED_PAUSE), error)
            return False
        if isinstance(error, SynapseLivyAuthenticationError | SynapseLivyConfigurationError):
            self._fail(missing, error)
            return False
        if not self._list_in_trouble:
            log.info("%s The sessions that are waited for are read one by one.", error)
        self._list_in_trouble = True
        return True

    async def _has_token(self, client: AsyncLivyClient, sessions: Collection[_PolledSession]) -> bool:
        """Get a token first, for trouble with that is neither the list's nor that of the workspace; settle it here."""
        try:
            await client.authenticate()
        except SynapseLivyUnavailableError as error:
            self._postpone(sessions, asyncio.get_running_loop().time() + _TOKEN_PAUSE, error)
        except SynapseLivyError as error:
            self._fail(sessions, error)
        else:
            return True
        return False

    def _fail(self, sessions: Iterable[_PolledSession], error: SynapseLivyError) -> None:
        """Give an error to those who wait for the looks that are being made."""
        now = asyncio.get_running_loop().time()
        for session in sessions:
            session.fail(error, lambda look: look.due <= now)
            session.rest()

    def _postpone(self, sessions: Iterable[_PolledSession], until: float, error: SynapseLivyError) -> None:
        """Look again when the pause that is due has passed; whoever can't wait for that gets the error."""
        self._tell_trouble(error)
        for session in sessions:
            session.fail(error, lambda look: look.until < until)
            session.postpone(until)
            session.rest()

    async def _look_singly(self, client: AsyncLivyClient, session: _PolledSession) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        patience = session.patience(began)
        retries = retry_description(patience) | {"before_sleep": partial(self._between_tries, session)}
        try:
            answer: Snapshot = await AsyncRetrying(sleep=partial(self._pause, session), **retries)(
                self._attempt, client, session.request, patience
            )
        except SynapseLivyError as error:
            session.fail(error, lambda look: look.due <= began)
            session.rest()
        else:
            session.hand_out(answer.digest, lambda: answer, loop.time())

    def _between_tries(self, session: _PolledSession, retry_state: RetryCallState) -> None:
        """Give the error to those whose time is up before the next try."""
        again = asyncio.get_running_loop().time() + retry_state.upcoming_sleep
        error = retry_state.outcome and retry_state.outcome.exception()
        if isinstance(error, SynapseLivyError):
            session.trouble = error
            session.fail(error, lambda look: look.until < again)
            self._tell_trouble(error)

    async def _pause(self, session: _PolledSession, seconds: float) -> None:
        self.expect(session.alarm)  # for who comes meanwhile, and has less time
        try:
            await asyncio.sleep(seconds)
        finally:
            session.trouble = None

    async def _attempt(self, client: AsyncLivyClient, request: SparkSessionRequest, patience: float) -> Snapshot:
        async with self._slot(patience):
            return await self._send(client, request, read_spark_session)

    async def _send(
        self, client: AsyncLivyClient, request: _Request, read: Callable[[_Request, LivyResponse], _Result]
    ) -> _Result:
        """Send a request once, when it is its turn."""
        async with self._queue:  # one at a time, so that a pool whose time is up all at once does not take all turns
            await self._limit.turn(request.subject)
        try:
            result = await client.call(request, read, patience=0)
        except SynapseLivyUnavailableError as error:
            if error.status == 429:
                self._limit.hold(error.retry_after or _UNASKED_PAUSE)
            raise
        self._in_trouble = False
        return result

    @asynccontextmanager
    async def _slot(self, patience: float) -> AsyncIterator[None]:
        """Queue for one of the few requests that may be under way; those whose time is up need not queue any more."""
        try:
            async with asyncio.timeout(patience):
                has_slot: bool = await self._slots.acquire()
        except TimeoutError:
            has_slot = False
        try:
            yield
        finally:
            if has_slot:
                self._slots.release()

    def _tell_trouble(self, error: SynapseLivyError) -> None:
        """Log that looks fail, once until one succeeds: not for each that is tried again."""
        if not self._in_trouble:
            log.warning("%s Trying again, and likewise for the other sessions of the pool that are waited for.", error)
        self._in_trouble = True

    def _tell_the_end(self, _: object) -> None:
        """However polling ends, nobody must go on waiting for it."""
        for session in self._sessions.values():
            session.fail(self._why_it_ended(), lambda _: True)

    def _why_it_ended(self) -> SynapseLivyError:
        cause = None if self._run.cancelled() else self._run.exception()
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        what = f"broke off: {type(cause).__name__}: {cause}" if cause else "was stopped"
        error = SynapseLivyError(f"The looking at the sessions of Spark pool {self._spark_pool_name} {what}")
        error.__cause__ = cause
        return error


_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[object, PoolPoller]] = WeakKeyDictionary()
