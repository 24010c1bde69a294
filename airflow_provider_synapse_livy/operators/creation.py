"""How a task creates one thing and never two, though the service may create one and the response may be lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.livy.errors import SynapseLivyError, error_message
from airflow_provider_synapse_livy.livy.resources import Resource
from airflow_provider_synapse_livy.livy.responses import Page
from airflow_provider_synapse_livy.livy.task_keys import is_of_same_task, key_of, with_key
from airflow_provider_synapse_livy.operators.waiting import seconds_until

__all__ = ["Creation"]

#: How often one run of a task sends the request that creates, if it stays unknown whether the last one did.
_MAX_REQUESTS = 3

#: Seconds between two searches of the list. It was never seen to lag behind, but the service may still be at work on a
#: request whose connection broke; six seconds were seen.
_SEARCH_PAUSE = 10.0

#: How far the service's clock may be behind ours.
_CLOCK_SKEW = timedelta(minutes=5)

#: Seconds to wait for the end of what was cancelled; up to 31 were seen.
_END_TIMEOUT = 120.0

_END_INTERVAL = 5.0


@dataclass
class Creation:
    """
    The creation of one thing for one life of a task.

    :param hook: what sends requests to the pool.
    :param resource: what to create.
    :param key: what it is found by again, in name and tags.
    :param began_at: when the life of the task can have begun at the earliest. What was submitted before is another
        task's: a run that was deleted and made again has the same key.
    :param log: the task's log.
    :param sleep: waits between two searches.
    :param may_exist: whether something may have been created whose id is not known.
    :param own_id: the id of what was created, once it is known.
    :param is_stopped: whether the task was killed, so that nothing more is to be created.
    :param parent_ids: the ids that lead to the list of what is created.
    :param lives_since: when the first life of the task can have begun at the earliest.
    :param deadline: until when, by the monotonic clock, requests may wait that the service asks to come back later;
        None for as long as any request is retried.
    """

    hook: SynapseLivyHook
    resource: Resource[Any]
    key: str
    began_at: datetime | None
    log: Any
    sleep: Callable[[float], None] = time.sleep
    may_exist: bool = False
    own_id: int | None = None
    is_stopped: bool = False
    parent_ids: tuple[int, ...] = ()
    lives_since: datetime | None = None
    deadline: float | None = None

    def marked(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return what to create with this task's key in it.

        :param body: what to create, under the documented names.
        """
        return with_key(body, self.key)

    def key_of(self, item: Mapping[str, Any]) -> str | None:
        """
        Return the key that an item of the list carries; None if it carries none.

        :param item: the item, under the documented names.
        """
        return key_of(item)

    def is_wanted(self, record: Any) -> bool:
        """
        Return whether to go on with what an earlier try has created: it is active, or has done what it was to do.

        What runs once, and has failed, is run again by a retry.

        :param record: what it has created.
        """
        has_run = self.resource.runs_once and (record.has_succeeded or record.is_settling)
        return has_run or _is_active(record)

    def send(self, body: Mapping[str, Any]) -> Any:
        """
        Send the request that creates, once, and return the record.

        :param body: what to create, with the key in it.
        :raises SynapseLivyError: if it is refused, or it is not known whether it was created.
        """
        longest = self._longest_announced
        return self.hook.create(self.resource, *self.parent_ids, body=body, longest_announced=longest).record

    def cancel(self, record_id: int, **options: float) -> None:
        """
        Cancel one that this task has created.

        :param record_id: its id.
        :param options: those of the hook's method.
        :raises SynapseLivyError: if it can't be cancelled.
        """
        self.hook.cancel(self.resource, *self.parent_ids, record_id, **options)

    def name(self, record_id: int) -> str:
        """
        Return the name of one in messages.

        :param record_id: its id.
        """
        return self.resource.name(*self.parent_ids, record_id)

    def find_or_create(self, body: Mapping[str, Any], *, may_exist: bool) -> Any:
        """
        Return what this task has created, or creates now.

        :param body: what to create, under the documented names.
        :param may_exist: whether an earlier try may have created it.
        :raises SynapseLivyError: if it is refused, or it stays unknown whether it was created.
        """
        self.may_exist = may_exist
        earlier = [self._when_ended(record) for record in self._search_twice()] if may_exist else []
        if wanted := list(filter(self.is_wanted, earlier)):
            return self._adopt(wanted)
        ended = {record.id for record in earlier}
        for count in range(1, _MAX_REQUESTS + 1):
            try:
                record = self._create(body, is_first=count == 1)
            except SynapseLivyError as error:
                if not error.may_have_been_processed:
                    raise
                self.log.warning("%s, so it may have been created. Looking for the key %s.", error.event, self.key)
                if found := self._search_twice(ended):
                    return self._adopt(list(filter(self.is_wanted, found)) or found)
                if count == _MAX_REQUESTS:
                    raise
            else:
                # An earlier request that was still at work may have been done by now.
                return record if count == 1 else self._adopt([record, *self._search_twice({record.id, *ended})])
        raise AssertionError("unreachable")

    def _create(self, body: Mapping[str, Any], *, is_first: bool) -> Any:
        """Send the request that creates, once; until it is answered, nobody knows what it has done."""
        if self.is_stopped:
            raise SynapseLivyError(error_message(f"No {self.resource.noun} was created: the task was killed."))
        self.may_exist = True
        try:
            record = self.send(self.marked(body))
        except SynapseLivyError as error:
            self.may_exist = error.may_have_been_processed or not is_first
            raise
        self.own_id = record.id
        self.log.info("Created %s, with the key %s.", record, self.key)
        return record

    def take_up(self) -> None:
        """
        Go on with what an earlier run of this task has created, if there is any to go on with.

        :raises SynapseLivyError: if the list can't be read.
        """
        self.may_exist = True
        found = self._search_twice()
        if wanted := list(filter(self.is_wanted, found)):
            self._adopt(wanted)
        elif found:  # which has ended, and the task is about to tell how
            self.own_id = max(record.id for record in found)

    def end_other_lives(self) -> None:
        """
        Cancel what earlier lives of this task have created and not handed on, since it was never ready.

        That is so after a user has cleared the task while it waited, and nobody else may have noticed.

        :raises SynapseLivyError: if something can't be cancelled, or does not end that must not run beside another.
        """
        others = self._listed(lambda key: key != self.key and is_of_same_task(key, self.key), since=self.lives_since)
        for record in others:
            is_left = _is_active(record) and _was_never_ready(record)
            if is_left:
                self.log.warning("%s was created before this task was cleared. It is cancelled.", record)
                self.cancel(record.id)
            self._when_ended(record, is_cancelled=is_left)

    def _when_ended(self, record: Any, *, is_cancelled: bool = False) -> Any:
        """
        Return what has become of what was cancelled, if it runs a program: not two at once, which may write the same.

        What runs in the same session runs one after the other anyway.
        """
        is_alone = self.resource.runs_once and not self.parent_ids
        if not is_alone or not (is_cancelled or _is_ending(record)):
            return record
        self.log.info("%s was cancelled. Another is created only when it has ended.", record)
        try:
            record = self._settled(record, _END_TIMEOUT)
        except self.resource.not_found:
            return record
        if not record.is_finished:
            event = f"{record} was cancelled and has not ended, so no other is created beside it."
            raise SynapseLivyError(error_message(event, self.resource.harm_fix))
        return record

    def end_own(self, *, timeout: float = _END_TIMEOUT) -> list[str]:
        """
        End all that this task has created, and return the names of what has not ended within the timeout.

        :param timeout: for how many seconds to wait for the end of each.
        :raises SynapseLivyError: if something can't be found or cancelled.
        """
        self.deadline = None
        own_ids = [] if self.own_id is None else [self.own_id]
        if not own_ids and self.may_exist:
            own_ids = [record.id for record in self._search_twice() if _is_active(record)]
        return [self.name(number) for number in own_ids if not self._end(number, timeout)]

    def _end(self, record_id: int, timeout: float) -> bool:
        """Cancel what this task has created, and return whether it has ended within the timeout."""
        try:
            record = self._read(record_id)
            if record.is_finished:  # by itself; no result may ever follow
                return True
            if not record.is_cancelling:
                self.log.info("%s was not handed on, so this task ends it.", self.name(record_id))
                self.cancel(record_id)
            return bool(self._settled(self._read(record_id), timeout).is_finished)
        except self.resource.not_found:
            self.log.info("%s is gone.", self.name(record_id))
        return True

    def _settled(self, record: Any, timeout: float) -> Any:
        """Return what has become of it when it has ended and its result is known, or when the timeout has passed."""
        deadline = time.monotonic() + timeout
        while (not record.is_finished or record.is_settling) and time.monotonic() < deadline:
            self.sleep(_END_INTERVAL)
            record = self._read(record.id)
        return record

    def _read(self, record_id: int) -> Any:
        return self.hook.read(self.resource, *self.parent_ids, record_id).record

    def _adopt(self, records: Iterable[Any]) -> Any:
        """Return the first of several that carry this task's key, and cancel the others, which are its own, too."""
        first, *others = sorted(records, key=lambda record: record.id)
        self.own_id = first.id
        for record in others:
            if _is_active(record):
                self.log.warning("%s was created for this task as well. It is cancelled.", record)
                self.cancel(record.id)
        self.log.info("%s was created for this task, which goes on with it.", first)
        return first

    def _search_twice(self, passed_over: Collection[int] = ()) -> list[Any]:
        """Search the list, and once more after a pause if that shows nothing to go on with."""
        found = self._search(passed_over)
        if not any(map(self.is_wanted, found)):
            self.sleep(_SEARCH_PAUSE)
            found = self._search(passed_over)
        return found

    def _search(self, passed_over: Collection[int] = ()) -> list[Any]:
        """Return what carries this task's key."""
        listed = self._listed(lambda key: key == self.key, since=self.began_at)
        return [record for record in listed if record.id not in passed_over]

    def _listed(self, is_meant: Callable[[str | None], bool], *, since: datetime | None) -> Iterator[Any]:
        """Return what is in the list with a key that is meant, and was submitted since."""
        for page in self._pages():
            for item in page.items.values():
                if is_meant(self.key_of(item)):
                    record = page.model.from_dict(item)
                    if _is_since(_submitted_at(record), since):
                        yield record
            if _is_past(page.items.values(), since):
                return

    @property
    def _longest_announced(self) -> float | None:
        return None if self.deadline is None else seconds_until(self.deadline)

    def _pages(self) -> Iterator[Page[Any]]:
        """Return the pages of the list, as they are needed."""
        return self.hook.pages(self.resource, *self.parent_ids, longest_announced=self._longest_announced)


def _is_since(submitted_at: datetime | None, since: datetime | None) -> bool:
    return submitted_at is None or since is None or submitted_at >= since - _CLOCK_SKEW


def _is_past(items: Iterable[Mapping[str, Any]], since: datetime | None) -> bool:
    """Return whether the pages to come are older: the list has the newest first, or the oldest."""
    times = [_time((item.get("schedulerInfo") or {}).get("submittedAt")) for item in items]
    known = [at for at in times if at]
    newest_first = len(known) > 1 and known == sorted(known, reverse=True) and known[0] > known[-1]
    return newest_first and not _is_since(known[0], since)


def _is_active(record: Any) -> bool:
    return not record.is_finished and not record.is_cancelling


def _is_ending(record: Any) -> bool:
    """Return whether somebody has cancelled it, and its result is not known yet."""
    scheduler = record.scheduler_info
    return record.is_cancelling or (record.is_settling and bool(scheduler and scheduler.cancellation_requested_at))


def _was_never_ready(record: Any) -> bool:
    livy: Any = record.livy_info
    return record.state != "idle" and not getattr(livy, "idle_at", None)


def _submitted_at(record: Any) -> datetime | None:
    return _time(getattr(getattr(record, "scheduler_info", None), "submitted_at", None))


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
