"""The widgets of the connection form before Airflow 3.2, with stand-ins for the libraries of old versions."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from airflow_provider_synapse_livy.airflow_compat.form_widgets import form_widget

TEXT = {"type": ["string", "null"]}


class PasswordWidget:
    """Shows the value that it is given."""

    hide_value = True

    def __call__(self, field, **kwargs):
        """Return what is shown."""
        return kwargs["value"]


@pytest.fixture(autouse=True)
def _libraries(monkeypatch):
    """Put recording stand-ins into the place of flask_appbuilder and wtforms."""

    def field(kind):
        return lambda label, **options: SimpleNamespace(kind=kind, label=label, **options)

    modules = {
        "flask_appbuilder": {},
        "flask_appbuilder.fieldwidgets": {
            "BS3PasswordFieldWidget": PasswordWidget,
            "BS3TextFieldWidget": lambda: "text widget",
        },
        "wtforms": {name: field(name) for name in ("BooleanField", "PasswordField", "StringField")},
    }
    for name, attributes in modules.items():
        module = ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize(
    ("name", "schema", "kind"),
    [
        ("tenantId", TEXT, "StringField"),
        ("timeout", {"type": ["number", "null"]}, "StringField"),
        ("auth_type", TEXT | {"enum": ["auto", "token"]}, "StringField"),
        ("allow_custom_host", {"type": ["boolean", "null"]}, "BooleanField"),
        ("certificate_password", TEXT | {"format": "password"}, "PasswordField"),
        ("proxies", TEXT, "PasswordField"),
    ],
)
def test_widget_follows_from_the_schema(name, schema, kind):
    """Text, switches and secrets have a widget each; a choice is text, since a drop-down would break the form."""
    widget = form_widget(name, label="Label", description="Help.", schema=schema)
    assert (widget.kind, widget.label) == (kind, "Label")


def test_help_of_a_choice_lists_the_values():
    """Whoever types a choice learns from its help text what there is to choose from."""
    widget = form_widget(
        "auth_type", label="", description="How to sign in.", schema=TEXT | {"enum": ["auto", "token"]}
    )
    assert widget.description == "How to sign in. One of auto, token."


@pytest.mark.parametrize(("stored", "shown"), [("s3cr3t", "RATHER_LONG_SENSITIVE_FIELD_PLACEHOLDER"), ("", "")])
def test_secret_is_shown_as_a_placeholder(stored, shown):
    """A stored secret is shown as the placeholder by which Airflow keeps it when the form is saved."""
    field = form_widget("secret", label="", description="", schema=TEXT | {"format": "password"})
    assert field.widget(SimpleNamespace(data=stored)) == shown
    assert field.widget.hide_value is False
