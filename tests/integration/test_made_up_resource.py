"""Polling and waiting for a resource that is made up: no line of the package knows of it."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import Counter
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import BaseModel

from airflow_provider_synapse_livy.airflow_compat.sdk import AirflowRescheduleException, TaskDeferred
from airflow_provider_synapse_livy.exceptions import (
    SparkSessionFailedError,
    SparkSessionTimeoutError,
    SynapseLivyError,
)
from airflow_provider_synapse_livy.livy.resources import Listing, Resource
from airflow_provider_synapse_livy.polling.watch import Watch
from airflow_provider_synapse_livy.sensors.base import LivySensor
from airflow_provider_synapse_livy.triggers.base import LivyTrigger, read_event
from airflow_provider_synapse_livy.waiting.goals import Verdict
from tests.support.connections import airflow_connection, to_server

#: With it, a session would have a link to its page in Synapse Studio.
WORKSPACE_ID = "/subscriptions/x/resourceGroups/y/providers/Microsoft.Synapse/workspaces/ws"

WIDGET_PATH = re.compile(r"/livyApi/versions/2020-12-01/sparkPools/etl/gadgets/(\d+)/widgets(?:/(\d+))?$")


class WidgetNotFoundError(SynapseLivyError):
    """The gadget has no such widget."""


class Widget(BaseModel):
    """A widget, which is painted and may fall apart."""

    id: int
    colour: str
    weight: int | None = None

    def __str__(self):
        return f"Widget {self.id}"

    @classmethod
    def from_dict(cls, fields):
        """Return the widget that a dict describes."""
        return cls.model_validate(fields)

    def to_dict(self):
        """Return it as JSON values."""
        return self.model_dump()

    @property
    def phase(self):
        """What it is."""
        return self.colour

    @property
    def ending(self):
        """How it ended."""
        return "has fallen apart"

    @property
    def is_finished(self):
        """Whether it has fallen apart."""
        return self.colour == "broken"

    @property
    def is_settling(self):
        """Whether more will be known: never."""
        return False

    @property
    def lifetime(self):
        """How long it lasted."""
        return timedelta(seconds=7) if self.is_finished else None

    def durations(self):
        """Return how long it took to dry."""
        return {"drying": timedelta(seconds=3)}

    def details(self):
        """Return what the service says about it."""
        yield f"It weighs {self.weight} kg."


class WidgetGoal:
    """A widget of some colour."""

    def __init__(self, colour):
        self.colour = colour

    def evaluate(self, record, *, settled=False):
        """Return whether it has the colour."""
        if record.colour == self.colour:
            return Verdict.SUCCESS
        return Verdict.FAILURE if record.is_finished else Verdict.PENDING

    def advice(self):
        """Return what to beware of: nothing."""
        return ""

    def describe(self):
        """Return what is waited for."""
        return f"been {self.colour}"

    def hint(self, record):
        """Return what to do about a widget that fell apart."""
        return "buy another."

    def timeout_hint(self, record, option):
        """Return what to do about one that has another colour."""
        return f"paint it, or raise {option}."


def resource(listing=None):
    """Return the row that describes widgets."""
    return Resource(
        noun="widget",
        title="Widget {1} of gadget {0}",
        path="gadgets/{}/widgets/{}",
        model=Widget,
        not_found=WidgetNotFoundError,
        listing=listing,
        has_details=False,
    )


UNLISTED = resource()
RESOURCES = {
    "no list": UNLISTED,
    "a list of pages": resource(Listing("gadgets/{}/widgets", "items", lambda widget: widget.weight is not None, 20)),
    "a list of one page": resource(Listing("gadgets/{}/widgets", "items", lambda widget: True, None)),
}


class WidgetTrigger(LivyTrigger):
    """Waits for a widget."""

    resource = UNLISTED
    id_fields = ("gadget_id", "widget_id")
    goal_fields = ("colour",)

    def __init__(self, *, gadget_id, widget_id, colour, **kwargs):
        super().__init__(**kwargs)
        self.gadget_id = gadget_id
        self.widget_id = widget_id
        self.colour = colour

    @classmethod
    def goal(cls, **fields):
        """Return the goal."""
        return WidgetGoal(**fields)


class WidgetSensor(LivySensor):
    """Waits for a widget."""

    trigger_class = WidgetTrigger
    failed_error = SparkSessionFailedError
    timeout_error = SparkSessionTimeoutError
    template_fields = ("gadget_id", "widget_id", "colour")

    def __init__(self, *, gadget_id, widget_id, colour, **kwargs):
        super().__init__(synapse_livy_conn_id="synapse_livy_default", **kwargs)
        self.gadget_id = gadget_id
        self.widget_id = widget_id
        self.colour = colour


class Widgets(ThreadingHTTPServer):
    """A service with widgets, whose colours a test sets."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        self.colours = {}
        self.painted_later = {}
        self.asked = Counter()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self._thread.join()
        self.server_close()

    def widget(self, number):
        """Return a widget; one that is painted later has its colour from its third response on."""
        self.asked[number] += 1
        if number in self.painted_later and self.asked[number] >= 3:
            self.colours[number] = self.painted_later[number]
        return {"id": number, "colour": self.colours.get(number, "wet"), "weight": 5}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        """Send a widget, or a page of the list."""
        url = urlsplit(self.path)
        found = WIDGET_PATH.match(url.path)
        status, body = 404, {"code": "NotFound"}
        if found and found[1] == "3" and found[2]:
            self.server.asked["single"] += 1
            if found[2] != "99":
                status, body = 200, self.server.widget(int(found[2]))
        elif found and found[1] == "3":
            self.server.asked["list"] += 1
            query = parse_qs(url.query)
            start, size = int(query.get("from", ["0"])[0]), int(query.get("size", ["1000"])[0])
            items = [self.server.widget(number) for number in range(50)][start : start + size]
            status, body = 200, {"items": items}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-ms-activity-id", "activity-1")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Log nothing."""


@pytest.fixture
def widgets():
    """Return a service with widgets."""
    with Widgets() as server:
        yield server


def poll_all(url, kind, numbers, *, colour):
    """Poll widgets until all have a colour, and return their snapshots."""

    async def connect(_):
        return to_server(url)

    async def wait(number):
        async with Watch(connect, kind, 3, number) as watch:
            snapshot = await watch.poll()
            while snapshot.record.colour != colour:
                snapshot = await watch.poll(after=0.05, retry_timeout=20)
            return snapshot

    async def scenario():
        async with asyncio.timeout(30):
            return await asyncio.gather(*map(wait, numbers))

    return asyncio.run(scenario())


@pytest.mark.parametrize("kind", RESOURCES.values(), ids=RESOURCES)
def test_made_up_resource_is_polled(widgets, kind):
    """Each wait gets its own record, by list if the row has one, and singly if not."""
    numbers = range(50)
    widgets.painted_later = dict.fromkeys(numbers, "red")
    snapshots = poll_all(widgets.url, kind, numbers, colour="red")
    assert [(type(s.record), s.record.id, s.activity_id) for s in snapshots] == [
        (Widget, number, "activity-1") for number in numbers
    ]
    if kind.listing is None:
        assert widgets.asked["list"] == 0
        assert widgets.asked["single"] >= 150
    else:
        assert widgets.asked["single"] <= 20
        assert widgets.asked["list"] >= 3


def test_made_up_resource_that_is_not_there_is_its_own_error(widgets):
    """A 404 is the not-found error of the row, in its words."""
    with pytest.raises(WidgetNotFoundError, match="^Widget 99 of gadget 3 in pool etl: .*404"):
        poll_all(widgets.url, UNLISTED, [99], colour="red")


@pytest.fixture(params=["poke", "reschedule", "deferrable"])
def run_sensor(request, widgets, connect):
    """Return a function that runs a sensor for a widget to its end, in each mode."""
    connect(airflow_connection(widgets.url, workspace_resource_id=WORKSPACE_ID))
    mode = {"deferrable": True} if request.param == "deferrable" else {"mode": request.param}

    def run(**options):
        kwargs = {"task_id": "wait", "gadget_id": 3, "widget_id": 12, "colour": "red", "timeout": 30, **options}
        xcoms, left = {}, 0
        instance = SimpleNamespace(
            xcom_push=lambda key, value: xcoms.update({key: json.loads(json.dumps(value))}),
            get_first_reschedule_date=lambda _: None,
            try_number=1,
            max_tries=0,
            task=SimpleNamespace(retries=0),
        )
        context = {"ti": instance}
        for _ in range(100):
            sensor = WidgetSensor(**{"poke_interval": 0.05, **kwargs, **mode})
            try:
                return sensor.execute(context), left
            except AirflowRescheduleException:
                left += 1
            except TaskDeferred as deferral:
                event = run_trigger(*deferral.trigger.serialize())
                sensor = WidgetSensor(**{**kwargs, **mode})
                return sensor.resume_execution(deferral.method_name, {"event": event}, context), left + 1
        raise AssertionError("the sensor reschedules without end")

    run.mode = request.param
    return run


def run_trigger(path, kwargs):
    """Run a trigger from what the metadata database keeps of it, and return its one event."""
    assert path.endswith("test_made_up_resource.WidgetTrigger")

    async def events():
        async with asyncio.timeout(30):
            return [event async for event in WidgetTrigger(**json.loads(json.dumps(kwargs))).run()]

    (event,) = asyncio.run(events())
    return json.loads(json.dumps(event.payload))


def test_made_up_resource_is_waited_for_in_every_mode(widgets, run_sensor):
    """The sensor returns the record when it has reached its goal, in every mode."""
    widgets.painted_later = {12: "red"}
    returned, left = run_sensor()
    assert returned == {"id": 12, "colour": "red", "weight": 5}
    assert (left > 0) == (run_sensor.mode != "poke")


def test_made_up_resource_fails_in_its_own_words(widgets, run_sensor):
    """An end that is not the goal is the sensor's error, in the words of the record and of the goal, in every mode."""
    widgets.painted_later = {12: "broken"}
    with pytest.raises(SparkSessionFailedError) as caught:
        run_sensor()
    assert str(caught.value).splitlines() == [
        "Widget 12 has fallen apart before it had been red.",
        "Fix: buy another.",
        "It weighs 5 kg.",
        "Times: drying 3 s, in all 7 s.",
        "Activity id: activity-1",
    ]


def test_made_up_resource_times_out_in_its_own_words(widgets, run_sensor):
    """A wait whose time is over says what it waited for, in every mode."""
    with pytest.raises(SparkSessionTimeoutError, match=r"^Widget 12 had not been red within .*\n.*\nIt is wet\."):
        run_sensor(timeout=0.3 if run_sensor.mode != "reschedule" else 0)


def test_made_up_resource_that_is_not_there_ends_the_task(widgets, run_sensor):
    """The not-found error of the row ends the task, in every mode."""
    with pytest.raises(WidgetNotFoundError, match="^Widget 99 of gadget 3 in pool etl: "):
        run_sensor(widget_id=99)


def test_event_of_another_resource_is_refused(widgets, connect):
    """An event about something else does not pass for one about the record that is waited for."""
    payload = {"resource": "Spark session", "verdict": "success", "record": {"id": 12}, "activity_id": None}
    with pytest.raises(SynapseLivyError, match="does not describe the wait for a widget"):
        read_event({**payload, "links": {}}, UNLISTED)
