"""
What the models of documented records share: names, unknown fields, and values of another type than documented.

Annotations are no texts here: before 2.12, pydantic looks up what they name in the module of the class that inherits.
"""

import logging
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    JsonValue,
    StrictInt,
    TypeAdapter,
    ValidationInfo,
)
from pydantic.alias_generators import to_camel

__all__ = ["NULLS_LEFT_OUT", "Documented", "FailFastItems", "JsonObject", "Lenient", "Number", "Text", "Texts"]

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Marks a list from which nulls, which say nothing, are left out.
NULLS_LEFT_OUT = BeforeValidator(
    lambda entries: [entry for entry in entries if entry is not None] if isinstance(entries, list) else entries
)


class FailFastItems(FailFast):
    """Ends the validation of a list at its first wrong entry: an error for each of a million would take gigabytes."""

    __hash__ = object.__hash__  # which a part of a union needs


_JSON: TypeAdapter[Any] = TypeAdapter(JsonValue)

#: The fields that were logged for having another type than documented: the model's name, and the field's.
_logged: set[tuple[str, str]] = set()


def _keep(value: Any, info: ValidationInfo) -> Any:
    """Return a value of another type than documented as it is, and log its field once in this process."""
    kept = _JSON.validate_python(value)
    model = str((info.config or {}).get("title"))
    field = str(info.field_name)
    if (model, field) not in _logged:
        _logged.add((model, field))
        kind = type(value).__name__
        log.warning("%s.%s: Synapse sent another type than documented (%s). It is kept.", model, to_camel(field), kind)
    return kept


#: What a field holds that no decision depends on: the documented type, else whatever JSON value came.
Lenient = Annotated[T | Annotated[Any, AfterValidator(_keep)], Field(union_mode="left_to_right")]

Text = Lenient[str | None]
Texts = Lenient[Annotated[tuple[str, ...], FailFastItems(), NULLS_LEFT_OUT] | None]
JsonObject = Lenient[dict[str, JsonValue] | None]
Number = Lenient[StrictInt | None]


class Documented(BaseModel):
    """What all models share: documented names as aliases, unknown fields kept, frozen."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow", frozen=True)
    __pydantic_extra__: dict[str, JsonValue]
