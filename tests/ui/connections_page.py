"""The connections page of Airflow's UI, driven as a user would."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Locator, Page

from airflow_provider_synapse_livy.connection.form import CONNECTION_FIELDS

#: The fields in the form's section "Standard Fields".
_STANDARD = ("host", "login", "password", "port", "description")


def _section(name: str) -> str:
    """Return the section of the form that a field is in. Those that name none are in Airflow's own for extra fields."""
    if name in _STANDARD:
        return "Standard Fields"
    return CONNECTION_FIELDS[name]["schema"].get("section", "Extra Fields")


class ConnectionsPage:
    """
    Adds, edits and tests connections.

    :param page: a page of the browser.
    :param url: Airflow's URL.
    :param pictures: the folder for a screenshot of each step.
    """

    def __init__(self, page: Page, url: str, pictures: Path) -> None:
        self.page = page
        self._url = f"{url}/connections"
        self._pictures = pictures
        self._steps = itertools.count(1)

    def add(self, connection_id: str, connection_type: str, fields: Mapping[str, str]) -> None:
        """Add a connection in the form."""
        self.page.goto(self._url)
        self.page.get_by_role("button", name="Add Connection").click()
        form = self.page.get_by_role("dialog")
        form.get_by_label("Connection ID").fill(connection_id)
        form.get_by_role("combobox").first.fill(connection_type)
        self.page.keyboard.press("Enter")
        self._fill(form, fields)
        self._save(form)

    def edit(self, connection_id: str, fields: Mapping[str, str]) -> None:
        """Open a connection in the form, change some fields, and save it."""
        self.page.goto(self._url)
        self._row(connection_id).get_by_role("button", name="Edit Connection").click()
        form = self.page.get_by_role("dialog")
        self._fill(form, fields)
        self._save(form)

    def test(self, connection_id: str) -> str:
        """Press the Test button of a connection, and return the text of the notification, which stays for seconds."""
        self.page.goto(self._url)
        self._row(connection_id).get_by_role("button", name="Test Connection").click()
        toast = self.page.locator("[data-scope=toast][data-part=root]").first
        toast.wait_for()
        text = toast.inner_text()
        self._picture("test")
        return text

    def expect_failure(self, connection_id: str, pattern: str) -> None:
        """Press the Test button of a connection that does not work, and check the text of the notification."""
        text = self.test(connection_id)
        assert text.startswith("Test Connection Failed"), text
        assert re.search(pattern, text, re.DOTALL), text

    def _picture(self, name: str) -> None:
        self.page.screenshot(path=self._pictures / f"{next(self._steps)}-{name}.png")

    def _row(self, connection_id: str) -> Locator:
        return self.page.get_by_role("row").filter(has_text=connection_id)

    def _fill(self, form: Locator, fields: Mapping[str, str]) -> None:
        for name, value in fields.items():
            self._open(form, _section(name))
            form.locator(f"[name={name if name in _STANDARD else f'element_{name}'}]").fill(value)

    def _open(self, form: Locator, section: str) -> None:
        header = form.get_by_role("button", name=section, exact=True)
        if header.get_attribute("aria-expanded") == "false":
            header.click()

    def _save(self, form: Locator) -> None:
        self._picture("form")
        form.get_by_role("button", name="Save").click()
        form.wait_for(state="hidden")
