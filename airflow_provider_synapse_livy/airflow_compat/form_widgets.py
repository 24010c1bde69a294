"""The widgets of the connection form before Airflow 3.2; later versions read the provider info."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["form_widget"]

#: What Airflow 2's form shows in place of a secret; where it comes back unchanged, Airflow keeps the stored secret.
_SECRET_PLACEHOLDER = "RATHER_LONG_SENSITIVE_FIELD_PLACEHOLDER"

#: Fields that may hold a secret. Airflow 2's form recognizes a secret by its widget, later versions by its name.
_MAY_BE_SECRET = ("proxies",)


def form_widget(name: str, *, label: str, description: str, schema: Mapping[str, Any]) -> Any:
    """
    Return the widget for one field of the connection form.

    Airflow 2.11 shows no form at all if it has a drop-down, so a choice is a text field whose help lists the values. It
    has no sections either, so the label begins with the field's group.

    :param name: the field's name.
    :param label: the field's label.
    :param description: the field's help text.
    :param schema: the JSON schema of the field's value.
    """
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
    from wtforms import BooleanField, PasswordField, StringField

    if "section" in schema:
        label = f"{schema['section']}: {label}"
    if "enum" in schema:
        description += f" One of {', '.join(schema['enum'])}."
    if "boolean" in schema["type"]:
        return BooleanField(label, description=description)
    if schema.get("format") == "password" or name in _MAY_BE_SECRET:
        return PasswordField(label, description=description, widget=_secret_keeping_widget(BS3PasswordFieldWidget))
    return StringField(label, description=description, widget=BS3TextFieldWidget())


def _secret_keeping_widget(password_widget: Any) -> Any:
    """Return a widget whose secret survives saving: a password field of WTForms comes back empty, which deletes it."""

    class SecretKeepingWidget(password_widget):  # type: ignore[misc]
        def __call__(self, field: Any, **kwargs: Any) -> Any:
            return super().__call__(field, **kwargs | {"value": _SECRET_PLACEHOLDER if field.data else ""})

    widget = SecretKeepingWidget()
    widget.hide_value = False  # WTForms sets it when a widget is made
    return widget
