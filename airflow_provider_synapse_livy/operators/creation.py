"""How a task creates one thing and never two, though the service may create one and the response may be lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.livy.errors import SynapseLivyError
from airflow_provider_synapse_livy.livy.resources import Resource
from airflow_provider_synapse_livy.livy.task_keys import carries_key, with_key

__all__ = ["END_TIMEOUT", "Creation"]

#: How often one run of a task sends the request that creates, if it stays unknown whether the last one did.
_MAX_REQUESTS = 3

#: Seconds between two searches of the list. It was never seen to lag behind, but the service may still be at work on a
#: request whose connection broke; six seconds were seen.
_SEARCH_PAUSE = 10.0

#: How far the service's clock may be behind ours.
_CLOCK_SKEW = timedelta(minutes=5)

#: Seconds to wait for the end of what was cancelled; up to 31 were seen.
END_TIMEOUT = 120.0

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
    :param may_exist: whether something may have been created that is not known.
    :param parent_ids: the ids that lead to the list of what is created.
    """

    hook: SynapseLivyHook
    resource: Resource[Any]
    key: str
    began_at: datetime | None
    log: Any
    sleep: Callable[[float], None] = time.sleep
    may_exist: bool = False
    parent_ids: tuple[int, ...] = ()

    def marked(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return what to create with this task's key in it.

        :param body: what to create, under the documented names.
        """
        return with_key(body, self.key)

    def is_mine(self, item: Mapping[str, Any]) -> bool:
        """
        Return whether an item of the list carries this task's key.

        :param item: the item, under the documented names.
        """
        return carries_key(item, self.key)

    def is_wanted(self, record: Any) -> bool:
        """
        Return whether to go on with what an earlier try has created.

        :param record: what it has created.
        """
        return _is_active(record)

    def create(self, body: Mapping[str, Any]) -> Any:
        """
        Send the request that creates, once.

        :param body: what to create, with the key in it.
        :raises SynapseLivyError: if it is refused, or it is not known whether it was created.
        """
        return self.hook.create(self.resource, *self.parent_ids, body=body).record

    def cancel(self, record_id: int, **options: float) -> None:
        """
        Cancel what this task has created.

        :param record_id: its id.
        :param options: those of the hook's method.
        :raises SynapseLivyError: if it can't be cancelled.
        """
        self.hook.cancel(self.resource, *self.parent_ids, record_id, **options)

    def name(self, record_id: int) -> str:
        """Return the name in messages of what this task has created."""
        return self.resource.name(*self.parent_ids, record_id)

    def find_or_create(self, body: Mapping[str, Any], *, may_exist: bool) -> Any:
        """
        Return what this task has created, or creates now.

        :param body: what to create, under the documented names.
        :param may_exist: whether an earlier try may have created it.
        :raises SynapseLivyError: if it is refused, or it stays unknown whether it was created.
        """
        self.may_exist = may_exist
        earlier = self._search_twice() if may_exist else []
        if wanted := [record for record in earlier if self.is_wanted(record)]:
            return self._adopt(wanted)
        ended = {record.id for record in earlier}
        for count in range(1, _MAX_REQUESTS + 1):
            try:
                record = self.create(self.marked(body))
            except SynapseLivyError as error:
                if not error.may_have_been_processed:
                    raise
                self.may_exist = True
                self.log.warning("%s, so it may have been created. Looking for the key %s.", error.event, self.key)
                if found := self._search_twice(ended):
                    return self._adopt([record for record in found if self.is_wanted(record)] or found)
                if count == _MAX_REQUESTS:
                    raise
            else:
                self.log.info("Created %s, with the key %s.", record, self.key)
                # An earlier request that was still at work may have been done by now.
                return record if count == 1 else self._adopt([record, *self._search_twice({record.id, *ended})])
        raise AssertionError("unreachable")

    def active(self) -> list[Any]:
        """Return what this task has created and what has not ended, nor is about to."""
        return [record for record in self._search() if _is_active(record)]

    def end(self, record_id: int, *, timeout: float = END_TIMEOUT) -> bool:
        """
        Cancel what this task has created, and return whether it has ended within the timeout.

        :param record_id: its id.
        :param timeout: for how many seconds to wait for its end.
        :raises SynapseLivyError: if it can't be cancelled.
        """
        deadline = time.monotonic() + timeout
        try:
            if _is_active(self._read(record_id)):
                self.cancel(record_id)
            while not _has_ended(self._read(record_id)):
                if time.monotonic() > deadline:
                    return False
                self.sleep(_END_INTERVAL)
        except self.resource.not_found:
            self.log.info("%s is gone.", self.name(record_id))
        return True

    def _read(self, record_id: int) -> Any:
        return self.hook.read(self.resource, *self.parent_ids, record_id).record

    def _adopt(self, records: Iterable[Any]) -> Any:
        """Return the first of several that carry this task's key, and cancel the others, which are its own, too."""
        first, *others = sorted(records, key=lambda record: record.id)
        for record in others:
            if _is_active(record):
                self.log.warning("%s was created for this task as well. It is cancelled.", record)
                self.cancel(record.id)
        self.log.info("%s was created for this task, which goes on with it.", first)
        return first

    def _search_twice(self, passed_over: Collection[int] = ()) -> list[Any]:
        found = self._search(passed_over)
        if not found:
            self.sleep(_SEARCH_PAUSE)
            found = self._search(passed_over)
        self.may_exist = bool(found)
        return found

    def _search(self, passed_over: Collection[int] = ()) -> list[Any]:
        """Return what carries this task's key, and was submitted since its life began."""
        found = []
        for page in self.hook.pages(self.resource, *self.parent_ids):
            mine = [item for item in page.items.values() if self.is_mine(item)]
            records = [page.model.from_dict(item) for item in mine if item["id"] not in passed_over]
            found += [record for record in records if self._is_since(_submitted_at(record))]
            if self._is_past(page.items.values()):
                break
        return found

    def _is_since(self, submitted_at: datetime | None) -> bool:
        return submitted_at is None or self.began_at is None or submitted_at >= self.began_at - _CLOCK_SKEW

    def _is_past(self, items: Iterable[Mapping[str, Any]]) -> bool:
        """Return whether the pages to come are older than the task: the list has the newest first, or the oldest."""
        times = [_time((item.get("schedulerInfo") or {}).get("submittedAt")) for item in items]
        known = [at for at in times if at]
        newest_first = len(known) > 1 and known == sorted(known, reverse=True) and known[0] > known[-1]
        return newest_first and not self._is_since(known[0])


def _is_active(record: Any) -> bool:
    return not record.is_finished and not record.is_cancelling


def _has_ended(record: Any) -> bool:
    return record.is_finished and not record.is_settling


def _submitted_at(record: Any) -> datetime | None:
    return _time(getattr(getattr(record, "scheduler_info", None), "submitted_at", None))


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
