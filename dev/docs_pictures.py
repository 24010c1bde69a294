"""
``make docs-pictures``: take the documentation's screenshots anew, in a real browser and a real Airflow.

The connection's host is the local Synapse's while it is tested, and a made-up workspace in the pictures of the form.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from local_airflow import LocalAirflow, wait_for
from playwright.sync_api import Locator, Page, sync_playwright

from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook

PROJECT = Path(__file__).resolve().parent.parent
PICTURES = PROJECT / "docs" / "pictures"
DAG_ID = "example_synapse_spark_session"
CONNECTION_ID = SynapseLivyHook.default_conn_name
CHROMIUM = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]

#: What the pictures of the form show, by the section that it stands in.
FORM = {
    "Standard Fields": {
        "host": "https://myworkspace.dev.azuresynapse.net",
        "login": "0f0e0d0c-0b0a-0908-0706-050403020100",
        "password": "a client secret",
    },
    "Extra Fields": {
        "element_tenantId": "72f988bf-86f1-41af-91ab-2d7cd011db47",
        "element_spark_pool_name": "sparkpool",
    },
}


def save(part: Locator | Page, name: str) -> None:
    """Take a picture of a part of the page."""
    part.screenshot(path=PICTURES / f"{name}.png")
    print(PICTURES.relative_to(PROJECT) / f"{name}.png")


def picture_form(page: Page, url: str) -> None:
    """Take the pictures of the form's two first sections, filled in, and leave it without saving."""
    page.goto(f"{url}/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Connection ID").fill(CONNECTION_ID)
    form.get_by_role("combobox").first.fill(SynapseLivyHook.hook_name)
    page.keyboard.press("Enter")
    for (section, fields), name in zip(FORM.items(), ("form", "form-extra"), strict=True):
        header = form.get_by_role("button", name=section, exact=True)
        if header.get_attribute("aria-expanded") == "false":
            header.click()
        for field, value in fields.items():
            form.locator(f"[name={field}]").fill(value)
        page.wait_for_timeout(700)  # until the section has unfolded
        save(form, name)
    page.keyboard.press("Escape")


def picture_test(page: Page, url: str, name: str) -> None:
    """Press the Test button, and take a picture of the notification."""
    page.goto(f"{url}/connections")
    row = page.get_by_role("row").filter(has_text=CONNECTION_ID)
    row.get_by_role("button", name="Test Connection").click()
    toast = page.locator("[data-scope=toast][data-part=root]").first
    toast.wait_for()
    page.wait_for_timeout(700)  # until it has slid in
    save(toast, name)


def picture_log(page: Page, airflow: LocalAirflow) -> None:
    """Run the DAG of the example, and take a picture of its first task's log."""
    run_id = airflow.trigger(DAG_ID, {})
    wait_for(lambda: airflow.task_states(DAG_ID, run_id).get("create") == "success" or None, "the task", timeout=180)
    page.goto(f"{airflow.url}/dags/{DAG_ID}/runs/{run_id}/tasks/create")
    last = page.get_by_text(" is idle. Waited").last
    last.wait_for()
    page.wait_for_timeout(1500)  # until all lines are there
    first, last_box = page.get_by_text("Creating a session").first.bounding_box(), last.bounding_box()
    assert first
    assert last_box
    left, top = first["x"] - 255, first["y"] - 2
    area = {"x": left, "y": top, "width": 1220, "height": last_box["y"] + last_box["height"] - top + 1}
    page.screenshot(path=PICTURES / "log.png", clip=area)  # type: ignore[arg-type]
    print("docs/pictures/log.png")


def main() -> None:
    """Take all pictures."""
    home = PROJECT / ".airflow" / "pictures"
    with (
        SynapseEmulator(tls=True, time_scale=0.3) as synapse,
        LocalAirflow(home, PROJECT / "example_dags") as airflow,
        sync_playwright() as playwright,
    ):
        good = synapse.airflow_connection("sparkpool")
        browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=CHROMIUM)
        page = browser.new_page(viewport={"width": 1700, "height": 1150}, locale="en-US")
        page.set_default_timeout(30_000)
        picture_form(page, airflow.url)
        airflow.add_connection(CONNECTION_ID, **connection_fields(good))
        picture_test(page, airflow.url, "test")
        picture_log(page, airflow)
        broken = connection_fields(synapse.airflow_connection("forbidden"))
        airflow.call("PATCH", f"connections/{CONNECTION_ID}", json={"connection_id": CONNECTION_ID, **broken})
        picture_test(page, airflow.url, "test-failed")
        browser.close()


def connection_fields(text: str) -> dict[str, object]:
    """Return a connection's fields as Airflow's REST API takes them."""
    fields = json.loads(text)
    host, port = fields["host"].rsplit(":", 1)
    return {**fields, "host": host, "port": int(port), "extra": json.dumps(fields["extra"])}


if __name__ == "__main__":
    main()
