"""The connections page of Airflow's UI, as a person uses it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Locator, Page

#: The section of the form that a standard field stands in; all others are extra fields.
_STANDARD = ("host", "login", "password", "port", "description")


class ConnectionsPage:
    """
    Adds, edits and tests connections.

    :param page: a page of the browser.
    :param url: Airflow's address.
    :param pictures: the folder for a picture of each step.
    """

    def __init__(self, page: Page, url: str, pictures: Path) -> None:
        self.page = page
        self._url = f"{url}/connections"
        self._pictures = pictures
        self._steps = itertools.count(1)

    def add(self, connection_id: str, connection_type: str, fields: Mapping[str, str]) -> None:
        """Add a connection with the form."""
        self.page.goto(self._url)
        self.page.get_by_role("button", name="Add Connection").click()
        form = self.page.get_by_role("dialog")
        form.get_by_label("Connection ID").fill(connection_id)
        form.get_by_role("combobox").first.fill(connection_type)
        self.page.keyboard.press("Enter")
        self._fill(form, fields)
        self._save(form)

    def edit(self, connection_id: str, fields: Mapping[str, str]) -> None:
        """Open a connection in the form, change some of its fields, and save it."""
        self.page.goto(self._url)
        self._row(connection_id).get_by_role("button", name="Edit Connection").click()
        form = self.page.get_by_role("dialog")
        self._fill(form, fields)
        self._save(form)

    def test(self, connection_id: str) -> str:
        """Press the Test button of a connection, and give what is said then, for some seconds, in a corner."""
        self.page.goto(self._url)
        self._row(connection_id).get_by_role("button", name="Test Connection").click()
        toast = self.page.locator("[data-scope=toast][data-part=root]").first
        toast.wait_for()
        told = toast.inner_text()
        self._picture("test")
        return told

    def expect_failure(self, connection_id: str, words: str) -> None:
        """Press the Test button of a connection that does not work, and see that the words are right."""
        told = self.test(connection_id)
        assert told.startswith("Test Connection Failed"), told
        assert re.search(words, told), told

    def _picture(self, name: str) -> None:
        self.page.screenshot(path=self._pictures / f"{next(self._steps)}-{name}.png")

    def _row(self, connection_id: str) -> Locator:
        return self.page.get_by_role("row").filter(has_text=connection_id)

    def _fill(self, form: Locator, fields: Mapping[str, str]) -> None:
        sections = {
            "Standard Fields": {name: value for name, value in fields.items() if name in _STANDARD},
            "Extra Fields": {name: value for name, value in fields.items() if name not in _STANDARD},
        }
        for section, values in sections.items():
            header = form.get_by_role("button", name=section, exact=True)
            if values and header.get_attribute("aria-expanded") == "false":
                header.click()
            for name, value in values.items():
                form.locator(f"[name={name if name in _STANDARD else f'element_{name}'}]").fill(value)

    def _save(self, form: Locator) -> None:
        self._picture("form")
        form.get_by_role("button", name="Save").click()
        form.wait_for(state="hidden")
